// The playground: a question to a model, or to two, through the gateway's own door, and how the
// answers come.

import { get } from "../api.js";
import { h } from "../dom.js";
import { number, seconds } from "../format.js";
import { own } from "../place.js";
import { APIS, places, target } from "../play/apis.js";
import { Run } from "../play/run.js";
import { LANGUAGES, snippet } from "../play/snippets.js";
import { copyButton, empty, heading, loading, state as mark } from "./parts.js";
import { stalls, timeline } from "./timeline.js";

const TOKEN = "gateway-play-token";
const STALL_S = 0.5;
const TICK_MS = 200;
const STATES = {
  idle: ["off", "ready"],
  asking: ["warn", "waiting for the first token"],
  streaming: ["good", "streaming"],
  disconnected: ["warn", "disconnected; the gateway may hold the rest"],
  done: ["good", "complete"],
  stopped: ["off", "stopped"],
  failed: ["bad", "failed"],
};
const PARAMETERS = {
  temperature: ["Temperature", { inputmode: "decimal", placeholder: "the model's own" }],
  top_p: ["Top p", { inputmode: "decimal", placeholder: "the model's own" }],
  max_tokens: ["Longest answer, tokens", { inputmode: "numeric", placeholder: "no limit" }],
  size: ["Size", { placeholder: "1024x1024" }],
};
const SIDES = ["Model", "Second model"];

const play = {
  places: null, problem: null, demo: false, api: "chat", token: "", compares: false, over: "sse", leaving: "grace=1m", fault: "",
  file: null, language: "curl", models: new Map(),
  asked: { system: "", prompt: "Explain in three sentences what a reverse proxy is.", extra: "" },
  sides: [{ place: null, model: "" }, { place: null, model: "" }],
};
let runs = [];

export const view = {
  topics: [],

  start(context) {
    takeToken();
    if (!play.places) load(context);
  },

  moved(context) {
    takeToken();
    if (play.places) listModels(context);
  },

  close() {
    runs.filter(({ busy }) => busy).forEach((run) => run.stop());
  },

  render(context) {
    if (play.problem) return [heading("Playground"), h("p", { class: "problem", role: "alert" }, play.problem)];
    if (!play.places) return [heading("Playground"), loading()];
    if (!play.places.length) {
      return [heading("Playground"), empty("No route takes a chat.",
        "A route of the openai, anthropic or ollama dialect whose path ends in / is needed.")];
    }
    const panes = sides().map((_, index) => runs[index] ?? null);
    if (busy()) setTimeout(() => context.refresh(), TICK_MS);
    return [
      heading("Playground", h("p", { class: "sum", role: "status" }, panes.map((run, index) => h("span", { class: "part" },
        panes.length > 1 && `${index + 1}. `, mark(...STATES[run?.state ?? "idle"]))))),
      h("div", { class: `play ${panes.length > 1 ? "two" : ""}` }, form(context), h("div", { class: "answers" }, panes.map((run, index) => result(run, index, panes.length)))),
      program(context),
      panes.map((run, index) => raw(run, panes.length > 1 ? `${index + 1}. ` : "")),
    ];
  },
};

const sides = () => play.sides.slice(0, play.compares ? 2 : 1);
const busy = () => runs.some((run) => run.busy);
const offering = (name) => play.places.filter(({ dialect }) => dialect === APIS[name].dialect);

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
    const [first] = play.places;
    if (first) choose(context, Object.keys(APIS).find((name) => APIS[name].dialect === first.dialect));
  } catch (refused) {
    play.problem = refused.message;
  }
  context.refresh();
}

/** Speak another API: each side keeps its route and model, where these offer it. */
function choose(context, name) {
  play.api = name;
  const found = offering(name);
  for (const side of play.sides) if (!found.includes(side.place)) side.place = found[0] ?? null;
  listModels(context);
}

/** What the gateway lists for this caller; without an answer, what the route names. */
async function listModels(context) {
  await Promise.all([...new Set(play.sides.map(({ place }) => place))].filter(Boolean).map(async (place) => {
    const key = `${place.name} ${play.token}`;
    if (play.models.has(key)) return;
    play.models.set(key, place.models);
    if (place.dialect !== "openai" || !play.token) return;
    try {
      const response = await fetch(own(`/play/api${place.base}models`), { headers: { Authorization: `Bearer ${play.token}` } });
      if (response.ok) play.models.set(key, (await response.json()).data.map((one) => one.id));
    } catch {
      // those of the route will do
    }
  }));
  play.sides.forEach((side, index) => {
    const known = modelsOf(side);
    if (known.length && !known.includes(side.model)) side.model = known[Math.min(index, known.length - 1)];
  });
  context.refresh();
}

const modelsOf = ({ place }) => (place && play.models.get(`${place.name} ${play.token}`)) ?? place?.models ?? [];

// -- what is asked ---------------------------------------------------------------------------

function select(context, label, name, value, options, onchange) {
  return h("label", { class: "field", "data-key": name }, h("span", {}, label), h("select", {
    name, value,
    onchange: (event) => {
      onchange(event.target.value);
      context.refresh();
    },
  }, options.map(([one, words]) => h("option", { value: one, selected: one === value }, words))));
}

function field(label, name, value, oninput, attributes = {}) {
  return h("label", { class: "field", "data-key": name }, h("span", {}, label),
    h("input", { name, value, autocomplete: "off", spellcheck: "false", oninput: (event) => oninput(event.target.value), ...attributes }));
}

function form(context) {
  const api = APIS[play.api];
  const [{ place }] = sides();
  const offered = Object.entries(APIS).filter(([name]) => offering(name).length);
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
    select(context, "API", "api", play.api, offered.map(([name, { label }]) => [name, label]), (name) => choose(context, name)),
    sides().map((side, index) => sideFields(context, side, index)),
    h("label", { class: "check", "data-key": "compare" }, h("input", {
      type: "checkbox", name: "compare", checked: play.compares, disabled: busy(),
      onchange: (event) => {
        play.compares = event.target.checked;
        runs = [];
        listModels(context);
      },
    }), " Compare with another"),
    play.demo && field("Demo fault", "fault", play.fault, (value) => { play.fault = value; }, { placeholder: "none; e.g. reset@20" }),
    place.bridge && !api.takesFile && select(context, "Over", "over", play.over,
      [["sse", "HTTP, server-sent events"], ["socket", `WebSocket · ${place.bridge}`]], (value) => { play.over = value; }),
    place.resume && select(context, "When I disconnect", "leaving", play.leaving,
      [["grace=1m", "it goes on for a minute"], ["cancel", "it is cancelled"], ["", `as the route says: ${place.resume.on_disconnect}`]], (value) => { play.leaving = value; })),
  h("label", { class: "field", "data-key": "token" }, h("span", {}, "Caller's token or API key"),
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
        listModels(context);
      },
    })),
  api.hasSystem && text("System prompt", "system", 2, "none"),
  api.takesFile ? h("label", { class: "field", "data-key": "file" }, h("span", {}, "Audio file"), h("input", {
    type: "file", name: "file", accept: "audio/*,video/mp4", required: true,
    onchange: (event) => {
      [play.file] = event.target.files;
      context.refresh();
    },
  })) : text("Prompt", "prompt", 5),
  h("details", { class: "parameters", "data-key": "parameters" }, h("summary", {}, "Parameters"), h("div", { class: "fields" },
    api.parameters.map((name) => {
      const [label, attributes] = PARAMETERS[name];
      return field(label, name, play.asked[name] ?? "", (value) => { play.asked[name] = value; }, attributes);
    })),
  text("More fields, as JSON", "extra", 2, '{"seed": 7}')),
  h("p", { class: "actions" },
    h("button", { class: "primary", disabled: busy() || (api.takesFile && !play.file), title: "Ctrl+Enter" }, "Send"),
    h("button", { type: "button", disabled: !busy(), onclick: () => view.close(), title: "Esc" }, "Stop"),
    h("button", {
      type: "button", disabled: !runs.some(({ state }) => state === "streaming"),
      onclick: () => runs.filter(({ state }) => state === "streaming").forEach((run) => run.disconnect()),
    }, "Disconnect"),
    h("button", {
      type: "button", disabled: !runs.some(({ canResume }) => canResume),
      onclick: () => runs.filter(({ canResume }) => canResume).forEach((run) => run.resume()),
    }, "Resume")),
  !place.resume && h("p", { class: "hint" }, "This route keeps no streams to come back to: ", h("code", {}, "resume"), " is not set."));
}

function sideFields(context, side, index) {
  const known = modelsOf(side);
  const found = offering(play.api);
  const suffix = index ? "-2" : "";
  return [
    select(context, index ? "Second route" : "Route", `route${suffix}`, side.place.name,
      found.map((one) => [one.name, `${one.name} · ${target(one, APIS[play.api])}`]), (name) => {
        side.place = found.find((one) => one.name === name);
        listModels(context);
      }),
    known.length ? select(context, SIDES[index], `model${suffix}`, side.model, known.map((name) => [name, name]), (name) => { side.model = name; })
      : field(SIDES[index], `model${suffix}`, side.model, (name) => { side.model = name; }),
  ];
}

function text(label, name, rows, placeholder = "") {
  return h("label", { class: "field", "data-key": name }, h("span", {}, label), h("textarea", {
    rows: String(rows), name, value: play.asked[name], placeholder, oninput: (event) => { play.asked[name] = event.target.value; },
  }));
}

/** The fields typed as JSON; null if they are none. */
function extra() {
  if (!play.asked.extra.trim()) return {};
  try {
    const found = JSON.parse(play.asked.extra);
    return found !== null && typeof found === "object" && !Array.isArray(found) ? found : null;
  } catch {
    return null;
  }
}

async function send(context) {
  const api = APIS[play.api];
  const more = extra();
  runs = sides().map(({ place, model }) => new Run({
    place, api, model, body: { ...api.body(model, play.asked), ...more }, file: play.file,
    token: play.token, fault: play.fault, leaving: play.leaving, over: play.over,
  }, () => context.refresh()));
  if (more === null) {
    runs.forEach((run) => run.fail({ message: "More fields: this is no JSON object." }));
    context.refresh();
    return;
  }
  await Promise.all(runs.map((run) => run.send()));
}

// -- what came -------------------------------------------------------------------------------

function result(run, index, count) {
  const { begun, ended, first, last, moments, text: words, thought, error, status, tokens, resumed, state } = run ?? { begun: 0, moments: [], text: "", state: "idle", tokens: null };
  const total = ((ended ?? performance.now()) - begun) / 1e3;
  const counted = tokens ?? moments.length;
  const span = last ? last - first : 0;
  const name = count > 1 ? `Answer of ${sides()[index].model}` : "Answer";
  return h("section", { class: "card answer", "aria-label": name, "data-key": `answer ${index}` },
    count > 1 && h("h2", { class: "first" }, `${index + 1}. ${run?.asked.model ?? sides()[index].model}`),
    h("dl", { class: "figures" },
      figure("First token", first ? seconds(first) : "–"),
      figure("Tokens/s", span > 0 && !run.canvas ? number((counted - 1) / span) : "–"),
      figure(tokens !== null ? "Tokens" : "Events", counted ? number(counted) : "–"),
      figure("Time", begun ? seconds(total) : "–"),
      resumed > 0 && figure("Resumed", `${resumed} ×`)),
    thought && h("details", {}, h("summary", {}, "Thoughts"), h("p", { class: "thought" }, thought)),
    run?.canvas && h("figure", { class: "drawn" }, run.canvas, h("figcaption", { class: "quiet-text" }, run.picture ?? "")),
    !(run?.canvas && !words) && h("div", { class: "text", tabindex: "0", "aria-live": "polite", "aria-busy": String(Boolean(run?.busy)), role: "log", "aria-label": count > 1 ? `Text ${index + 1}` : "Text" },
      words || (state === "idle" ? h("span", { class: "quiet-text" }, "The answer comes here.") : "")),
    error && h("p", { class: "problem", role: "alert" },
      h("b", {}, [status && status !== 200 ? `${status} ` : "", error.code ?? error.type ?? ""].join("")), " ",
      error.message ?? "", error.wait ? ` Again in ${error.wait} s.` : ""),
    moments.length > 1 && timeline({
      total: run.busy || state === "failed" ? total : Math.max(last, 0.001), first, last,
      moments, silent: stalls(moments, STALL_S),
      broken: state === "failed" ? error?.code ?? "broken off" : null,
    }),
    begun > 0 && facts(run));
}

function facts({ status, finish, requestId, streamId, lastId, heartbeats }) {
  return h("p", { class: "facts" },
    status && h("span", {}, `HTTP ${status}`),
    finish && h("span", {}, `finish ${finish}`),
    requestId && h("span", {}, "request ", h("a", { href: `/requests/${encodeURIComponent(requestId)}` }, h("code", {}, requestId.slice(0, 12)))),
    streamId && h("span", {}, "stream ", h("code", {}, streamId.slice(0, 12))),
    lastId && h("span", {}, "last event id ", h("code", {}, lastId)),
    heartbeats > 0 && h("span", {}, `${heartbeats} heartbeats`));
}

function figure(name, value) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, value));
}

/** The same question as a program. */
function program(context) {
  const api = APIS[play.api];
  const [{ place, model }] = sides();
  const asked = { url: (context.session.public ?? "") + target(place, api), name: play.api, api, body: api.body(model, play.asked), extra: extra() ?? {}, file: play.file };
  const words = snippet(play.language, asked);
  return h("details", { class: "section", "data-key": "program" }, h("summary", {}, h("h2", {}, "The same as a program")),
    h("div", { class: "program-head" },
      h("div", { class: "choices", role: "group", "aria-label": "Language" }, Object.entries(LANGUAGES).map(([value, label]) => h("button", {
        type: "button", class: "choice", "aria-pressed": String(value === play.language),
        onclick: () => {
          play.language = value;
          context.refresh();
        },
      }, label))),
      copyButton(context, "program", words, { label: `Copy as ${LANGUAGES[play.language]}` })),
    h("pre", { tabindex: "0", role: "region", "aria-label": `Program in ${LANGUAGES[play.language]}` }, words));
}

function raw(run, prefix) {
  const events = run?.events ?? [];
  return h("details", { class: "section raw", "data-key": `raw ${prefix}` }, h("summary", {}, h("h2", {}, `${prefix}Events as they came`), " ",
    h("span", { class: "quiet-text" }, events.length ? `the last ${events.length}` : "none yet")),
  h("pre", { tabindex: "0", role: "region", "aria-label": `${prefix}Events` }, events.slice(-200).map((one) => h("span", { class: one.comment !== undefined ? "line none" : "line" }, line(one)))));
}

const SHOWN = 2000;

function line({ at, id, comment, type, data }) {
  const name = type === "message" || type === "line" ? "" : `${type} `;
  const said = comment !== undefined ? `: ${comment || "(heartbeat)"}` : `${name}${data.length > SHOWN ? `${data.slice(0, SHOWN)}… (${data.length} characters)` : data}`;
  return `${at.toFixed(3).padStart(8)}  ${(id ? `id ${id}` : "").padEnd(id ? 8 : 0)}  ${said}\n`;
}
