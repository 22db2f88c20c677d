// One answer: asked for, read as it comes, left and continued, stopped; with what is measured of it.

import { signIn } from "../api.js";
import { Detached, stream } from "../client.js";
import { h } from "../dom.js";
import { own } from "../place.js";
import { target } from "./apis.js";
import { BridgeSocket } from "./bridge.js";

const PROXY = "/play/api";
const EVENTS_CAP = 1000;
const SILENT_MS = 120_000;

export class Run {
  /** `asked` is { place, api, model, body, file, token, fault, leaving, over }; `changed` is called often. */
  constructor(asked, changed) {
    Object.assign(this, {
      asked, changed, state: "idle", text: "", thought: "", error: null, status: null, requestId: null, streamId: null,
      lastId: "", events: [], moments: [], begun: 0, first: null, last: null, ended: null, tokens: null, finish: null,
      complete: false, resumed: 0, heartbeats: 0, picture: null, canvas: null,
    });
  }

  get busy() {
    return this.state === "asking" || this.state === "streaming";
  }

  get canResume() {
    return this.state === "disconnected" && Boolean(this.streamId);
  }

  async send() {
    const { place, api, body, file, fault, leaving, over } = this.asked;
    this.state = "asking";
    this.begun = performance.now();
    this.changed();
    const headers = { ...api.headers };
    if (fault) headers["X-Demo-Fault"] = fault;
    if (place.resume && leaving) headers["X-On-Disconnect"] = leaving;
    if (place.bridge && over === "socket") await this.converse({ op: "create", body, headers });
    else await this.receive(target(place, api), { headers, body: api.takesFile ? form(body, file) : body, streams: own(PROXY + place.streams) });
  }

  /** Close the connection; what the gateway keeps goes on. */
  disconnect() {
    this.state = "disconnected";
    if (this.socket) this.socket.close();
    else this.controller.abort(new Detached());
    this.changed();
  }

  async resume() {
    this.state = "streaming";
    this.resumed += 1;
    this.changed();
    const { place } = this.asked;
    if (this.socket) await this.converse({ op: "resume", stream: this.streamId, after: this.lastId || undefined });
    else await this.receive(place.streams + encodeURIComponent(this.streamId), { headers: {}, lastEventId: this.lastId });
  }

  /** Stop the model, too. */
  stop() {
    this.state = "stopped";
    this.ended = performance.now();
    if (this.socket) this.socket.cancel();
    else this.controller?.abort();
    this.changed();
  }

  async receive(path, { headers, ...options }) {
    const { token, api } = this.asked;
    this.controller = new AbortController();
    let opened = 0;
    let admitted = true;
    try {
      const events = stream(own(PROXY + path), {
        ...options, format: api.format, signal: this.controller.signal, idle: SILENT_MS, longestWait: 0,
        headers: token ? { ...headers, Authorization: `Bearer ${token}` } : headers,
        onResponse: (response) => {
          admitted = response.status !== 401 || response.headers.has("X-From-Gateway");
          this.status = response.status;
          this.requestId = response.headers.get("X-Request-ID") ?? this.requestId;
          this.streamId = response.headers.get("X-Stream-Id") ?? this.streamId;
        },
        onComment: (comment) => this.heard({ comment }),
        onState: (state) => {
          if (state === "open" && (opened += 1) > 1) this.resumed += 1;
          this.changed();
        },
      });
      for await (const event of events) this.heard(event);
      this.finished();
    } catch (error) {
      if (!admitted) { // by the dashboard's own session
        await signIn();
        await this.receive(path, { headers, ...options });
      } else if (this.busy) this.fail({ ...error, message: error.message, wait: error.retryAfter === null ? null : Math.ceil(error.retryAfter / 1e3) });
    }
    this.changed();
  }

  /** The same over the WebSocket of a bridge. */
  async converse(message) {
    const { place, token } = this.asked;
    const socket = new BridgeSocket(place.bridge, token, (said) => this.told(said));
    this.socket = socket;
    try {
      const last = await socket.ask(message);
      if (last.type === "error") {
        this.status = last.status ?? this.status;
        this.fail({ ...(typeof last.error === "string" ? { message: last.error } : last.error), wait: last.retry_after });
      } else this.complete = true;
      this.finished();
    } catch (fault) {
      if (this.busy) this.fail({ message: fault.message, code: "no clean end" });
    }
    socket.close();
    this.changed();
  }

  told(said) {
    this.requestId = said.request_id ?? this.requestId;
    if (said.type === "created") {
      this.status = 200;
      this.streamId = said.stream ?? this.streamId;
    } else if (said.type === "event") {
      this.heard({ type: said.event ?? "message", data: said.text ?? JSON.stringify(said.data), id: said.event_id ?? "" });
    }
    this.changed();
  }

  /** Take an event, or a comment. */
  heard(event) {
    const at = (performance.now() - this.begun) / 1e3;
    this.events.push({ ...event, at });
    if (this.events.length > EVENTS_CAP) this.events.shift();
    this.changed();
    if (event.comment !== undefined) {
      this.heartbeats += 1;
      return;
    }
    if (event.id) this.lastId = event.id;
    let said;
    try {
      said = this.asked.api.read(event);
    } catch {
      return; // not of this dialect: it is among the raw events
    }
    if (said.text || said.thought || said.image) this.piece(said, at);
    if (said.whole !== undefined) this.text = said.whole;
    if (said.tokens) this.tokens = said.tokens;
    if (said.finish) this.finish = said.finish;
    if (said.error) this.fail(said.error);
    else if (said.done) this.complete = true;
  }

  piece({ text, thought, image }, at) {
    this.text += text ?? "";
    this.thought += thought ?? "";
    if (image) this.draw(image);
    this.moments.push(at);
    this.first ??= at;
    this.last = at;
    if (this.state === "asking") this.state = "streaming";
  }

  /** Draw a preview, or the picture. On a canvas, the policy of the page needs no exception for images. */
  async draw({ data, format, words }) {
    this.canvas ??= h("canvas", { "data-keep": "", "data-key": "picture", class: "picture", role: "img" });
    this.pictures = (this.pictures ?? 0) + 1;
    const number = this.pictures;
    try {
      const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
      const bitmap = await createImageBitmap(new Blob([bytes], { type: `image/${format}` }));
      if (number < this.pictures) return; // a later one is drawn already
      Object.assign(this.canvas, { width: bitmap.width, height: bitmap.height });
      this.canvas.getContext("2d").drawImage(bitmap, 0, 0);
      this.picture = `${words}, ${bitmap.width} × ${bitmap.height}`;
      this.canvas.setAttribute("aria-label", `Picture, ${this.picture}`);
    } catch {
      this.picture = `${words}: not a picture`;
    }
    this.changed();
  }

  /** The response has ended without an error. 204: there is no more of it than was read. */
  finished() {
    if (!this.busy) return;
    if (!this.complete && this.status !== 204) {
      this.fail({ message: "The answer ended without its end.", code: "incomplete" });
      return;
    }
    this.state = "done";
    this.ended = performance.now();
  }

  fail(error) {
    this.state = "failed";
    this.error = error;
    this.ended = performance.now();
  }
}

function form(body, file) {
  const found = new FormData();
  for (const [name, value] of Object.entries(body)) found.set(name, String(value));
  if (file) found.set("file", file);
  return found;
}
