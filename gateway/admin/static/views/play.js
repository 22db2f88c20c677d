// The playground: one question to a model through the gateway's own door, and how the answer comes.

import { get, signIn } from "../api.js";
import { BridgeSocket } from "../bridge.js";
import { EventParser } from "../client.js";
import { DIALECTS, places } from "../dialects.js";
import { h } from "../dom.js";
import { number, seconds } from "../format.js";
import { empty, heading, loading, state as mark } from "./parts.js";
import { stalls, timeline } from "./timeline.js";

const TOKEN = "gateway-play-token";
const EVENTS_CAP = 1000;
const STALL_S = 0.5;
const NAME_MS = 300;
const STATES = {
  idle: ["off", "ready"],
  asking: ["warn", "waiting for the first token"],
  streaming: ["good", "streaming"],
  disconnected: ["warn", "disconnected; the gateway may hold the rest"],
  done: ["good", "complete"],
  stopped: ["off", "stopped"],
  failed: ["bad", "failed"],
};

const play = {
  places: null, place: null, models: null, modelsOf: null, problem: null,
  token: "", model: "", over: "sse", leaving: "grace=1m", prompt: "Explain in three sentences what a reverse proxy is.", fault: "",
};
let run = fresh();

function fresh() {
  return {
    state: "idle", text: "", thought: "", error: null, status: null, requestId: null, streamId: null,
    lastId: "", events: [], moments: [], begun: 0, first: null, last: null, ended: null, tokens: null,
    finish: null, controller: null, socket: null, resumed: 0, heartbeats: 0,
  };
}

export const view = {
  topics: [],

  start(context) {
    takeToken();
    if (!play.places) load(context);
  },

  moved(context) {
    takeToken();
    if (play.place) models(context);
  },

  close(context) {
    if (busy()) stop(context);
  },

  render(context) {
    if (play.problem) return [heading("Playground"), h("p", { class: "problem", role: "alert" }, play.problem)];
    if (!play.places) return [heading("Playground"), loading()];
    if (!play.places.length) {
      return [heading("Playground"), empty("No route takes a chat.",
        "A route of the openai, anthropic or ollama dialect whose path ends in / is needed.")];
    }
    return [
      heading("Playground", h("p", { class: "sum", role: "status" }, mark(...STATES[run.state]))),
      h("div", { class: "play" }, form(context), result(context)),
      raw(),
    ];
  },
};

/** A link may bring the caller's token behind the #, which is never sent anywhere. */
function takeToken() {
  const brought = new URLSearchParams(location.hash.slice(1)).get("token");
  try {
    if (brought) sessionStorage.setItem(TOKEN, brought);
    play.token = brought ?? sessionStorage.getItem(TOKEN) ?? "";
  } catch {
    play.token = brought ?? play.token;
  }
  if (brought) history.replaceState(null, "", location.pathname + location.search);
}

async function load(context) {
  try {
    const [{ routes }, { config }] = await Promise.all([get("/api/routes"), get("/api/config")]);
    play.places = places(routes, config);
    play.demo = Boolean(config.demo);
    play.place = play.places[0] ?? null;
    await models(context);
  } catch (refused) {
    play.problem = refused.message;
  }
  context.refresh();
}

/** What the gateway lists for this caller; without an answer, what the route names. */
async function models(context) {
  const { place, token } = play;
  const which = `${place.name} ${token}`;
  if (play.modelsOf === which) return;
  play.modelsOf = which;
  let found = place.models;
  if (place.dialect === "openai" && token) {
    try {
      const response = await call("GET", `${place.base}models`);
      if (response.ok) found = (await response.json()).data.map((one) => one.id);
    } catch {
      // those of the route will do
    }
  }
  if (play.modelsOf !== which) return;
  play.models = found;
  if (found.length && !found.includes(play.model)) [play.model] = found;
  context.refresh();
}

async function call(method, target, { body, headers = {}, signal } = {}) {
  if (play.token) headers.Authorization = `Bearer ${play.token}`;
  const response = await fetch(`/play/api${target}`, { method, headers, body, signal });
  if (response.status === 401 && !response.headers.has("X-From-Gateway")) {
    await signIn();
    return await call(method, target, { body, headers, signal });
  }
  return response;
}

// -- what is asked ---------------------------------------------------------------------------

function form(context) {
  const { place } = play;
  return h("form", {
    class: "card ask-form",
    onsubmit: (event) => {
      event.preventDefault();
      if (!busy()) send(context);
    },
    onkeydown: (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !busy()) send(context);
    },
  },
  h("div", { class: "fields" },
    h("label", { class: "field" }, h("span", {}, "Route"),
      h("select", {
        name: "route", value: place.name,
        onchange: (event) => {
          play.place = play.places.find((one) => one.name === event.target.value);
          play.models = null;
          models(context);
          context.refresh();
        },
      }, play.places.map((one) => h("option", { value: one.name, selected: one === place },
        `${one.name} · ${DIALECTS[one.dialect].target(one.base)}`)))),
    h("label", { class: "field" }, h("span", {}, "Model"),
      play.models && !play.models.length ? h("input", {
        name: "model", value: play.model, autocomplete: "off", oninput: (event) => { play.model = event.target.value; },
      }) : h("select", { value: play.model, name: "model", onchange: (event) => { play.model = event.target.value; } },
        (play.models ?? []).map((name) => h("option", { value: name, selected: name === play.model }, name)))),
    play.demo && h("label", { class: "field" }, h("span", {}, "Demo fault"),
      h("input", {
        value: play.fault, placeholder: "none; e.g. reset@20", name: "fault", autocomplete: "off",
        oninput: (event) => { play.fault = event.target.value; },
      })),
    place.bridge && h("label", { class: "field" }, h("span", {}, "Over"),
      h("select", { name: "over", value: play.over, onchange: (event) => { play.over = event.target.value; } },
        [["sse", "HTTP, server-sent events"], ["socket", `WebSocket · ${place.bridge}`]]
          .map(([value, words]) => h("option", { value, selected: value === play.over }, words)))),
    place.resume && h("label", { class: "field" }, h("span", {}, "When I disconnect"),
      h("select", { name: "leaving", value: play.leaving, onchange: (event) => { play.leaving = event.target.value; } },
        [["grace=1m", "it goes on for a minute"], ["cancel", "it is cancelled"], ["", `as the route says: ${place.resume.on_disconnect}`]]
          .map(([value, words]) => h("option", { value, selected: value === play.leaving }, words))))),
  h("label", { class: "field" }, h("span", {}, "Token, as a caller has it"),
    h("input", {
      type: "password", name: "caller-token", value: play.token, autocomplete: "off", spellcheck: "false",
      placeholder: "JWT or API key; `gateway token` makes one",
      onchange: (event) => {
        play.token = event.target.value.trim();
        try {
          sessionStorage.setItem(TOKEN, play.token);
        } catch {
          // until the page is left, then
        }
        models(context);
      },
    })),
  h("label", { class: "field" }, h("span", {}, "Prompt"),
    h("textarea", { rows: "5", name: "prompt", value: play.prompt, oninput: (event) => { play.prompt = event.target.value; } })),
  h("p", { class: "actions" },
    h("button", { class: "primary", disabled: busy(), title: "Ctrl+Enter" }, "Send"),
    h("button", { type: "button", disabled: !busy(), onclick: () => stop(context), title: "Esc" }, "Stop"),
    h("button", { type: "button", disabled: run.state !== "streaming", onclick: () => disconnect(context) }, "Disconnect"),
    h("button", { type: "button", disabled: !(run.state === "disconnected" && run.streamId), onclick: () => resume(context) }, "Resume")),
  !place.resume && h("p", { class: "hint" }, "This route keeps no streams to come back to: ", h("code", {}, "resume"), " is not set."));
}

const busy = () => run.state === "asking" || run.state === "streaming";

async function send(context) {
  const { place, model, prompt } = play;
  const dialect = DIALECTS[place.dialect];
  run = fresh();
  run.place = place;
  run.state = "asking";
  run.begun = performance.now();
  context.refresh();
  const headers = {};
  if (play.fault) headers["X-Demo-Fault"] = play.fault;
  if (place.resume && play.leaving) headers["X-On-Disconnect"] = play.leaving;
  if (place.dialect === "anthropic") headers["Anthropic-Version"] = "2023-06-01";
  const body = dialect.body(model, prompt);
  if (place.bridge && play.over === "socket") {
    await converse(context, run, { op: "create", body, headers });
    return;
  }
  headers["Content-Type"] = "application/json";
  await receive(context, run, (signal) => call("POST", dialect.target(place.base), {
    headers, signal, body: JSON.stringify(body),
  }));
}

async function resume(context) {
  const here = run;
  here.state = "streaming";
  here.resumed += 1;
  context.refresh();
  if (here.socket) {
    await converse(context, here, { op: "resume", stream: here.streamId, after: here.lastId || undefined });
    return;
  }
  const headers = { Accept: "text/event-stream" };
  if (here.lastId) headers["Last-Event-ID"] = here.lastId;
  await receive(context, here, (signal) => call("GET", here.place.streams + encodeURIComponent(here.streamId), { headers, signal }));
}

function disconnect(context) {
  run.state = "disconnected";
  run.controller.abort();
  context.refresh();
}

async function stop(context) {
  const here = run;
  here.state = "stopped";
  here.ended = performance.now();
  context.refresh();
  if (here.socket) {
    here.socket.cancel();
    return;
  }
  // A stream that can be resumed goes on without its reader: it is ended by its name, which may be
  // on its way here just now.
  if (here.place.resume && !here.streamId) {
    const soon = new Promise((done) => { setTimeout(done, NAME_MS); });
    await Promise.race([here.head.catch(() => {}), soon]);
  }
  here.controller?.abort();
  if (here.streamId) call("DELETE", here.place.streams + encodeURIComponent(here.streamId)).catch(() => {});
}

async function receive(context, here, open) {
  const dialect = DIALECTS[here.place.dialect];
  const controller = new AbortController();
  here.controller = controller;
  try {
    here.head = open(controller.signal).then((response) => {
      here.streamId = response.headers.get("X-Stream-Id") ?? here.streamId;
      return response;
    });
    const response = await here.head;
    if (here.state === "stopped") return;
    here.status = response.status;
    here.requestId = response.headers.get("X-Request-ID") ?? here.requestId;
    if (response.status === 204) {
      here.state = "done"; // there is no more of it than was read
    } else if (!response.ok) {
      const said = await response.json().catch(() => ({}));
      const error = typeof said.error === "string" ? { message: said.error } : said.error ?? { message: response.statusText };
      fail(here, { ...error, wait: response.headers.get("Retry-After") });
    } else {
      await read(context, here, response, dialect);
    }
  } catch (fault) {
    if (fault.name !== "AbortError" && busy()) fail(here, { message: "The connection broke off.", code: "no clean end" });
  }
  context.refresh();
}

/** The same over a bridge. */
async function converse(context, here, message) {
  const dialect = DIALECTS[here.place.dialect];
  const socket = new BridgeSocket(here.place.bridge, play.token, (said, at) => {
    told(here, said, at, dialect);
    context.refresh();
  });
  here.socket = socket;
  here.controller = { abort: () => socket.close() };
  try {
    const last = await socket.ask(message);
    if (last.type === "error") {
      here.status = last.status ?? here.status;
      const error = typeof last.error === "string" ? { message: last.error } : last.error;
      fail(here, { ...error, wait: last.retry_after });
    } else if (busy()) {
      here.state = "done";
      here.ended = performance.now();
    }
  } catch (fault) {
    if (busy()) fail(here, { message: fault.message, code: "no clean end" });
  }
  socket.close();
  context.refresh();
}

function told(here, said, at, dialect) {
  here.requestId = said.request_id ?? here.requestId;
  if (said.type === "created") {
    here.status = 200;
    here.streamId = said.stream ?? here.streamId;
  } else if (said.type === "event") {
    const data = said.text ?? JSON.stringify(said.data);
    heard(here, { type: said.event ?? "message", data, id: said.event_id ?? "", at }, dialect);
  }
}

function fail(here, error) {
  here.state = "failed";
  here.error = error;
  here.ended = performance.now();
}

async function read(context, here, response, dialect) {
  const reader = response.body.getReader();
  const take = (event) => {
    take.done ||= heard(here, { ...event, at: performance.now() }, dialect);
  };
  const parser = dialect.lines ? new LineParser(take) : new EventParser(take, (comment) => take({ comment }));
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parser.feed(value);
    context.refresh();
  }
  if (here.state === "asking" || here.state === "streaming") {
    if (take.done) {
      here.state = "done";
      here.ended = performance.now();
    } else fail(here, { message: "The answer ended without its end.", code: "incomplete" });
  }
}

/** Parser of JSON lines. */
class LineParser {
  constructor(onLine) {
    this.onLine = onLine;
    this.rest = "";
    // Not a TextDecoderStream, which forgets what it holds when the connection breaks.
    this.decoder = new TextDecoder();
  }

  feed(bytes) {
    const lines = (this.rest + this.decoder.decode(bytes, { stream: true })).split("\n");
    this.rest = lines.pop();
    for (const data of lines) if (data) this.onLine({ type: "line", data, id: "" });
  }
}

/** True at the last event of an answer. */
function heard(here, event, dialect) {
  const at = (event.at - here.begun) / 1e3;
  here.events.push({ ...event, at });
  if (here.events.length > EVENTS_CAP) here.events.shift();
  if (event.comment !== undefined) {
    here.heartbeats += 1;
    return false;
  }
  if (event.id) here.lastId = event.id;
  let said;
  try {
    said = dialect.read(event);
  } catch {
    return false; // not of this dialect: it is among the raw events
  }
  if (said.error) {
    fail(here, said.error);
    return false;
  }
  if (said.text || said.thought) {
    here.text += said.text;
    here.thought += said.thought;
    here.moments.push(at);
    here.first ??= at;
    here.last = at;
    if (here.state === "asking") here.state = "streaming";
  }
  if (said.tokens) here.tokens = said.tokens;
  if (said.finish) here.finish = said.finish;
  return Boolean(said.done);
}

// -- what came -------------------------------------------------------------------------------

function result(context) {
  const count = run.tokens ?? run.moments.length;
  const span = run.last !== null ? run.last - run.first : 0;
  const total = ((run.ended ?? performance.now()) - run.begun) / 1e3;
  if (busy()) setTimeout(() => context.refresh(), 200);
  return h("section", { class: "card answer", "aria-label": "Answer" },
    h("dl", { class: "figures" },
      figure("TTFT", run.first !== null ? seconds(run.first) : "–"),
      figure("Tokens/s", span > 0 ? number((count - 1) / span) : "–"),
      figure(run.tokens !== null ? "Tokens" : "Events", count ? number(count) : "–"),
      figure("Time", run.begun ? seconds(total) : "–"),
      figure("Resumed", run.resumed ? `${run.resumed} ×` : "–")),
    run.thought && h("details", {}, h("summary", {}, "Thoughts"), h("p", { class: "thought" }, run.thought)),
    h("div", { class: "text", tabindex: "0", "aria-live": "polite", "aria-busy": String(busy()), role: "log", "aria-label": "Text" },
      run.text || (run.state === "idle" ? h("span", { class: "quiet-text" }, "The answer comes here.") : "")),
    run.error && h("p", { class: "problem", role: "alert" },
      h("b", {}, [run.status && run.status !== 200 ? `${run.status} ` : "", run.error.code ?? run.error.type ?? ""].join("")), " ",
      run.error.message ?? "", run.error.wait ? ` Again in ${run.error.wait} s.` : ""),
    run.moments.length > 1 && timeline({
      total: busy() || run.state === "failed" ? total : Math.max(run.last, 0.001), first: run.first, last: run.last,
      moments: run.moments, silent: stalls(run.moments, STALL_S),
      broken: run.state === "failed" ? run.error?.code ?? "broken off" : null,
    }),
    run.begun > 0 && h("p", { class: "facts" },
      run.status && h("span", {}, `HTTP ${run.status}`),
      run.finish && h("span", {}, `finish ${run.finish}`),
      run.requestId && h("span", {}, "request ", h("a", { href: `/requests/${encodeURIComponent(run.requestId)}` }, h("code", {}, run.requestId.slice(0, 12)))),
      run.streamId && h("span", {}, "stream ", h("code", {}, run.streamId.slice(0, 12))),
      run.lastId && h("span", {}, "last event id ", h("code", {}, run.lastId)),
      run.heartbeats > 0 && h("span", {}, `${run.heartbeats} heartbeats`)));
}

function figure(name, value) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, value));
}

function raw() {
  return h("details", { class: "section raw" }, h("summary", {}, h("h2", {}, "Events as they came"), " ",
    h("span", { class: "quiet-text" }, run.events.length ? `the last ${run.events.length}` : "none yet")),
  h("pre", { tabindex: "0", "aria-label": "Events" }, run.events.slice(-200).map((one) => h("span", { class: one.comment !== undefined ? "line none" : "line" },
    `${one.at.toFixed(3).padStart(8)}  ${(one.id ? `id ${one.id}` : "").padEnd(one.id ? 8 : 0)}  ${one.comment !== undefined ? `: ${one.comment || "(heartbeat)"}` : `${one.type === "message" || one.type === "line" ? "" : `${one.type} `}${one.data}`}\n`))));
}
