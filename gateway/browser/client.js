// Client for event streams that reconnects: no event is lost or repeated where the route keeps its
// streams. No dependencies; runs in browsers and in Node 20. docs/resume.md describes its use.

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 8000;
/** Time to wait for a response head that names the generation, so that it can be cancelled. */
const NAME_WAIT_MS = 300;
/** Ends of the API paths below which a route's `streams/` are. */
const API = /(?:chat\/completions|completions|messages|responses)$/;
/** Errors that end one connection, but not the stream. */
const RECONNECT = ["gateway_draining", "credential_expired", "stream_expired", "follower_behind"];
/** Errors after which nothing of the stream can be read any more. */
const LOST = ["stream_lost", "stream_trimmed", "stream_cancelled", "stream_not_found"];
/** Headers of a request that mean nothing when its stream is read again. */
const ONCE = ["content-type", "idempotency-key", "x-on-disconnect"];

/** The stream ended with an error: `code`, `status` of the response, `requestId`, `retryAfter` in ms. */
export class StreamError extends Error {
  constructor(message, { code = "", status = 0, requestId = "", retryAfter = null, cause } = {}) {
    super(message, { cause });
    this.name = new.target.name;
    Object.assign(this, { code, status, requestId, retryAfter });
  }
}

/** The request was refused, and repeating it is of no use now. */
export class Refused extends StreamError {}

/** The rest of the stream cannot be read: it is trimmed, cancelled, forgotten, or was never kept. */
export class StreamLost extends StreamError {}

/** Reason for `signal` that closes the connection, and lets the generation go on. */
export class Detached extends Error {}

/** One attempt failed. The next one may succeed. */
class Interrupted extends Error {
  constructor(cause, retryAfter = null) {
    super("interrupted", { cause });
    this.retryAfter = retryAfter;
  }
}

/** One event: `type`, `data`, and `id`, the last event id as of this event. */
export class StreamEvent {
  constructor(type, data, id, numbered) {
    Object.assign(this, { type, data, id, numbered });
  }

  json() {
    return JSON.parse(this.data);
  }
}

/** Parser of the event stream format (WHATWG HTML, section 9.2.6), from bytes split anywhere. */
export class EventParser {
  /** `onEvent` is called with each StreamEvent, `onComment` with the text of each comment. */
  constructor(onEvent, onComment = () => {}) {
    this.onEvent = onEvent;
    this.onComment = onComment;
    this.id = ""; // as of the last blank line
    this.retry = null; // milliseconds, likewise
    this.decoder = new TextDecoder();
    this.pieces = []; // of the incomplete line
    this.endedByCR = false; // an LF that follows belongs to the same line end
    this.fields = { type: "", data: [], id: null, retry: null };
  }

  feed(bytes) {
    const text = this.decoder.decode(bytes, { stream: true });
    if (!text) return;
    const ends = /\r\n?|\n/g;
    let start = this.endedByCR && text[0] === "\n" ? 1 : 0;
    this.endedByCR = text.endsWith("\r");
    ends.lastIndex = start;
    for (let end; (end = ends.exec(text)); start = ends.lastIndex) {
      this.pieces.push(text.slice(start, end.index));
      this.line(this.pieces.join(""));
      this.pieces = [];
    }
    if (start < text.length) this.pieces.push(text.slice(start));
  }

  line(line) {
    if (line === "") {
      this.dispatch();
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) {
      this.onComment(line.slice(1).trim());
      return;
    }
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (name === "data") this.fields.data.push(value);
    else if (name === "event") this.fields.type = value;
    else if (name === "id" && !value.includes("\0")) this.fields.id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.fields.retry = Number(value);
  }

  dispatch() {
    const { type, data, id, retry } = this.fields;
    this.fields = { type: "", data: [], id: null, retry: null };
    this.id = id ?? this.id;
    this.retry = retry ?? this.retry;
    if (data.length) this.onEvent(new StreamEvent(type || "message", data.join("\n"), this.id, id !== null));
  }
}

/** Parser of JSON lines, with the interface of EventParser: each line is an event of type "line". */
export class LineParser {
  constructor(onEvent) {
    this.onEvent = onEvent;
    this.id = "";
    this.retry = null;
    // Not a TextDecoderStream, which forgets what it holds when the connection breaks.
    this.decoder = new TextDecoder();
    this.rest = "";
  }

  feed(bytes) {
    const lines = (this.rest + this.decoder.decode(bytes, { stream: true })).split("\n");
    this.rest = lines.pop();
    for (const line of lines) if (line.trim()) this.onEvent(new StreamEvent("line", line, "", false));
  }
}

const FORMATS = {
  events: { accept: "text/event-stream", types: ["text/event-stream"], Parser: EventParser },
  lines: { accept: "application/x-ndjson", types: ["application/x-ndjson", "application/jsonl"], Parser: LineParser },
};

/**
 * Iterate over the events of a stream, over as many connections as it takes. Options, besides those
 * of `fetch`:
 *
 * - `headers`: an object, or a function that returns one, or a promise of one, for each request.
 * - `body`: an object that is sent as JSON, or a string, FormData or Blob. The method is then POST.
 * - `signal`: ends the iteration with its reason, and cancels the generation that `body` began,
 *   unless the reason is a Detached.
 * - `streams`: URL of the route's kept streams; found by itself for the paths of OpenAI and Anthropic.
 * - `lastEventId`: continue after this event.
 * - `follow`: reconnect after a complete response as well, until the server answers 204.
 * - `retries`: failed attempts in a row. `longestWait`: the longest Retry-After to wait for, in ms.
 * - `idle`: silence in ms, heartbeats included, after which the connection counts as broken.
 * - `format`: "lines" reads JSON lines, as of Ollama, and not server-sent events.
 * - `onState`: called with "connecting", "open", "waiting" or "offline".
 * - `onResponse`: called with each response, once its head is there.
 * - `onComment`: called with the text of each comment. Heartbeats are comments.
 *
 * Throws Refused, StreamLost, StreamError, and the reason of `signal`.
 */
export async function* stream(url, options = {}) {
  const { signal, retries = 10, follow = false, onState = () => {} } = options;
  const reading = new Reading(url, options);
  let failures = 0;
  try {
    for (;;) {
      let least = null;
      await online(signal, onState);
      const attempt = new Attempt(reading, options);
      try {
        onState("connecting");
        for await (const event of attempt.events(onState)) {
          failures = 0;
          yield event;
        }
        if (!follow || attempt.nothingLeft) return;
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof Interrupted)) throw error;
        if (!reading.canContinue && !error.retryable) throw unkept(error.cause);
        if (failures >= retries) throw gaveUp(error.cause);
        least = error.retryAfter;
      } finally {
        attempt.close();
      }
      onState("waiting");
      await pause(Math.max(least ?? 0, reading.retry) + jitter(failures), signal);
      failures += 1;
    }
  } finally {
    if (signal?.aborted && !(signal.reason instanceof Detached)) reading.cancel();
  }
}

/** What is to be asked for next. */
class Reading {
  constructor(url, { method, body, headers, streams, lastEventId = "", ...options }) {
    this.url = new URL(url, globalThis.location?.href);
    this.isForm = [globalThis.FormData, globalThis.Blob].some((kind) => kind && body instanceof kind);
    this.body = body === undefined || typeof body === "string" || this.isForm ? body : JSON.stringify(body);
    this.method = method ?? (body === undefined ? "GET" : "POST");
    this.headers = headers;
    this.options = options;
    this.begins = this.method !== "GET";
    this.lastId = lastEventId;
    this.retry = 0;
    this.streamId = null;
    this.delivered = false;
    this.sent = {};
    const found = API.test(this.url.pathname) ? this.url.pathname.replace(API, "streams/") : null;
    this.streams = streams ?? found ? new URL(streams ?? found, this.url) : null;
  }

  /** True if the next request neither begins a second generation nor repeats an event. */
  get canContinue() {
    if (!this.begins || this.kept || (this.streamId && this.lastId)) return true;
    return "idempotency-key" in this.sent && !this.delivered;
  }

  /** True for an event of a channel, which has an id: an error in it is what somebody published. */
  isData(event) {
    return event.numbered && !this.begins && !this.streamId;
  }

  /** URL of the kept stream, or null. */
  get kept() {
    return this.begins && this.streamId && this.streams ? new URL(this.streamId, this.streams) : null;
  }

  async ask(signal) {
    const given = typeof this.headers === "function" ? await this.headers() : this.headers;
    this.sent = Object.fromEntries(new Headers(given));
    const headers = { accept: FORMATS[this.options.format ?? "events"].accept, ...this.sent };
    if (this.lastId) headers["last-event-id"] = this.lastId;
    const { credentials, mode } = this.options;
    const common = { credentials, mode, cache: "no-store", headers, signal };
    if (this.kept) {
      for (const name of ONCE) delete headers[name];
      return await fetch(this.kept, common);
    }
    if (this.body !== undefined && !this.isForm) headers["content-type"] ??= "application/json";
    return await fetch(this.url, { ...common, method: this.method, body: this.body });
  }

  /** End the generation that this client began, which could go on without a reader. */
  cancel() {
    if (!this.kept) return;
    const headers = { ...this.sent };
    for (const name of ONCE) delete headers[name];
    const { credentials, mode } = this.options;
    fetch(this.kept, { method: "DELETE", headers, credentials, mode, keepalive: true }).catch(() => {});
  }
}

/** One request and its response. */
class Attempt {
  constructor(reading, { signal, idle = 60_000, longestWait = 60_000, format = "events", onResponse, onComment }) {
    this.reading = reading;
    this.format = FORMATS[format];
    this.onResponse = onResponse;
    this.onComment = onComment;
    this.naming = null;
    this.idle = idle;
    this.longestWait = longestWait;
    this.nothingLeft = false;
    this.controller = new AbortController();
    this.signal = signal;
    this.stop = async () => {
      if (this.naming && !(signal.reason instanceof Detached)) await soon(this.naming);
      this.controller.abort(signal.reason);
    };
    this.cut = () => {
      if (this.reading.canContinue) this.controller.abort(new Error("offline"));
    };
    signal?.addEventListener("abort", this.stop);
    globalThis.addEventListener?.("offline", this.cut);
  }

  close() {
    this.signal?.removeEventListener("abort", this.stop);
    globalThis.removeEventListener?.("offline", this.cut);
    this.controller.abort();
  }

  async* events(onState) {
    const { reading } = this;
    const response = await this.open();
    if (response.status === 204) {
      this.nothingLeft = true;
      return;
    }
    onState("open");
    const ready = [];
    const parser = new this.format.Parser((event) => ready.push(event), this.onComment);
    parser.id = reading.lastId;
    const reader = response.body.getReader();
    for (let piece; !(piece = await this.read(reader)).done;) {
      parser.feed(piece.value);
      reading.retry = parser.retry ?? reading.retry;
      for (const event of ready.splice(0)) {
        const error = reading.isData(event) ? null : errorIn(event);
        if (error) throw this.meaning(error, event);
        reading.lastId = event.id;
        reading.delivered = true;
        yield event;
      }
      reading.lastId = parser.id;
    }
  }

  async open() {
    const { reading } = this;
    const asking = reading.ask(this.controller.signal);
    if (reading.begins && !reading.kept) this.naming = asking;
    let response;
    try {
      response = await asking;
    } catch (error) {
      throw new Interrupted(error);
    }
    this.naming = null;
    this.onResponse?.(response);
    reading.streamId = response.headers.get("X-Stream-Id") ?? reading.streamId;
    this.signal?.throwIfAborted();
    const type = response.headers.get("Content-Type") ?? "";
    const isStream = this.format.types.some((one) => type.startsWith(one));
    if (response.status === 204 || (response.ok && isStream)) return response;
    throw await this.refusal(response);
  }

  async refusal(response) {
    const { reading } = this;
    if (response.ok) return new Refused("The response is not a stream of this format.", { status: response.status });
    const retryAfter = milliseconds(response.headers.get("Retry-After"));
    const said = told(await response.json().catch(() => null)) ?? {};
    const error = new (reading.kept && LOST.includes(said.code) ? StreamLost : Refused)(
      said.message ?? `The request was refused with ${response.status}.`,
      { code: said.code, status: response.status, requestId: response.headers.get("X-Request-ID") ?? "", retryAfter },
    );
    const busy = [429, 503].includes(response.status); // the request was not served
    const broken = [502, 504].includes(response.status) && reading.canContinue;
    if (!(busy || broken) || response.headers.get("X-Should-Retry") === "false") return error;
    if ((retryAfter ?? 0) > this.longestWait) return error;
    return Object.assign(new Interrupted(error, retryAfter), { retryable: busy });
  }

  async read(reader) {
    const stop = () => this.controller.abort(new Error("idle"));
    const watch = this.reading.canContinue && Number.isFinite(this.idle) ? setTimeout(stop, this.idle) : null;
    try {
      return await reader.read();
    } catch (error) {
      throw new Interrupted(error);
    } finally {
      clearTimeout(watch);
    }
  }

  /** The exception for an error event. An error without an id concerns this connection alone. */
  meaning({ message = "The stream ended with an error.", code = "", request_id: requestId }, event) {
    const error = new (LOST.includes(code) ? StreamLost : StreamError)(message, { code, requestId });
    const { streamId, lastId } = this.reading;
    return !event.numbered && (streamId || lastId) && RECONNECT.includes(code) ? new Interrupted(error) : error;
  }
}

/** The error that an event reports, in the shapes of OpenAI and Anthropic, or null. */
function errorIn({ type, data }) {
  if (type !== "error" && !/^\{\s*"(?:error"|type":\s*"error")/.test(data)) return null;
  try {
    return told(JSON.parse(data));
  } catch {
    return null;
  }
}

/** The error of a document: `{"error": {…}}`, `{"error": "…"}`, or OpenAI's `{"type": "error", …}`. */
function told(document) {
  const error = document?.error ?? (document?.type === "error" ? document : null);
  if (!error) return null;
  if (typeof error === "string") return { message: error, code: document.code };
  return { ...error, code: error.code ?? error.type, request_id: error.request_id ?? document.request_id };
}

function unkept(cause) {
  if (cause instanceof StreamError) return cause;
  return new StreamLost("The connection broke, and the stream cannot be resumed: the route does not keep it.",
    { code: "connection_lost", cause });
}

function gaveUp(cause) {
  if (cause instanceof StreamError) return cause;
  return new StreamLost("The gateway cannot be reached.", { code: "unreachable", cause });
}

/** Settle with a promise, or after a moment. Never throws. */
async function soon(promise) {
  let timer;
  const late = new Promise((resolve) => { timer = setTimeout(resolve, NAME_WAIT_MS); });
  await Promise.race([promise.catch(() => {}), late]);
  clearTimeout(timer);
}

/** Full jitter, so that the clients of a restarted server do not return all at once. */
function jitter(failures) {
  return Math.random() * Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** failures);
}

/** Retry-After in milliseconds (RFC 9110, section 10.2.3), or null. */
function milliseconds(value) {
  if (!value) return null;
  if (/^[0-9]+$/.test(value)) return Number(value) * 1000;
  const at = Date.parse(value);
  return Number.isNaN(at) ? null : Math.max(0, at - Date.now());
}

/** Wait while the device is offline. */
async function online(signal, onState) {
  if (globalThis.navigator?.onLine !== false) return;
  onState("offline");
  await pause(null, signal);
}

/** Wait for a time, or for the network to return if that is sooner. Throws the reason of `signal`. */
async function pause(ms, signal) {
  signal?.throwIfAborted();
  const waiting = new AbortController();
  await new Promise((resolve) => {
    const once = { signal: waiting.signal };
    globalThis.addEventListener?.("online", resolve, once);
    signal?.addEventListener("abort", resolve, once);
    if (ms !== null) {
      const timer = setTimeout(resolve, ms);
      waiting.signal.addEventListener("abort", () => clearTimeout(timer));
    }
  });
  waiting.abort();
  signal?.throwIfAborted();
}
