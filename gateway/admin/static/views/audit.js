// The audit log: who did what, when, with what it was before and after; and who is signed in.

import { get, send } from "../api.js";
import { ask, h } from "../dom.js";
import { age, clock } from "../format.js";
import { choice, empty, filter, heading, loading, state, table } from "./parts.js";

const FILTERS = ["who", "action", "object", "result", "since", "until"];
const RESULTS = { done: ["good", "done"], refused: ["bad", "refused"], failed: ["warn", "failed"] };
const LIMIT = 50;
const WAIT_MS = 250;

const shown = { entries: null, next: null, kept: true, sessions: null, problem: null, asked: null };
let waiting = null;

export const view = {
  topics: [],
  title: () => "Audit",

  start(context) {
    Object.assign(shown, { entries: null, next: null, sessions: null, problem: null, asked: null });
    loadSessions(context);
  },

  stop() {
    clearTimeout(waiting);
  },

  moved(context) {
    const asked = question(context);
    if (asked === shown.asked) return;
    clearTimeout(waiting);
    waiting = setTimeout(() => load(context), shown.asked === null ? 0 : WAIT_MS);
    shown.asked = asked;
  },

  render(context) {
    const { entries, problem } = shown;
    return [
      heading("Audit", h("div", { class: "actions" }, ["csv", "jsonl"].map((kind) => h("a", {
        class: "button", "data-key": kind, href: `/api/audit.${kind}?${question(context)}`, download: `audit.${kind}`,
      }, kind === "csv" ? "CSV" : "JSON lines")))),
      problem && h("p", { class: "problem", role: "alert" }, problem),
      entries && !shown.kept && h("p", { class: "hint" }, "The store is the memory of this process: these entries are gone when it ends. The log has them, too."),
      h("div", { class: "filters roomy" },
        filter(context, "who", "Who", { "data-filter": "" }),
        filter(context, "action", "Action"),
        filter(context, "object", "Object"),
        choice(context, "result", "Result", [["", "every result"], ["done", "done"], ["refused", "refused"], ["failed", "failed"]]),
        moment(context, "since", "From"), moment(context, "until", "To")),
      !entries ? loading() : entries.length ? table("Audit log",
        ["Time", "Who", "Action", "Result", "Change"], entries.map(row))
        : empty("No entry fits.", "Actions of operators, sign-ins and refused attempts are kept here."),
      shown.next && h("p", { class: "actions" }, h("button", { onclick: () => load(context, shown.next) }, "Older entries")),
      sessions(context),
    ];
  },
};

/** A moment that is part of the address, in the time zone of the browser. */
function moment(context, name, label) {
  const at = context.params.get(name);
  const local = (seconds) => new Date((seconds - new Date(seconds * 1e3).getTimezoneOffset() * 60) * 1e3).toISOString().slice(0, 16);
  return h("label", { class: "field" }, h("span", {}, label), h("input", {
    type: "datetime-local", name, value: at ? local(Number(at)) : "",
    onchange: (event) => context.set({ [name]: event.target.value ? String(Date.parse(event.target.value) / 1e3) : "" }, { replace: true }),
  }));
}

function question(context) {
  const params = new URLSearchParams();
  for (const name of FILTERS) if (context.params.get(name)) params.set(name, context.params.get(name));
  return params.toString();
}

async function load(context, after = "") {
  const asked = question(context);
  try {
    const page = await get(`/api/audit?limit=${LIMIT}&after=${encodeURIComponent(after)}${asked && `&${asked}`}`);
    if (asked !== question(context)) return;
    Object.assign(shown, { entries: after ? [...shown.entries, ...page.entries] : page.entries, next: page.next, kept: page.kept, problem: null });
  } catch (refused) {
    shown.problem = refused.message;
    shown.entries ??= [];
  }
  context.refresh();
}

function row(one) {
  return h("tr", { "data-key": one.id, "data-row": "", tabindex: "-1" },
    h("td", { class: "time" }, clock(one.at)),
    h("td", { class: "main-cell" }, one.who || "not known", h("span", { class: "why" }, [one.how !== "none" && one.how, one.role, one.address].filter(Boolean).join(" · "))),
    h("td", { class: "main-cell" }, one.action.replaceAll("_", " "), h("span", { class: "why" }, h("code", {}, one.object))),
    h("td", {}, state(...RESULTS[one.result]), one.reason && h("span", { class: "why" }, one.reason)),
    h("td", { class: "main-cell" }, changes(one)));
}

/** What changed, one line each; long ones are folded. */
function changes({ before, after }) {
  const names = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])];
  if (!names.length) return "–";
  const lines = names.map((name) => h("span", { class: "line" }, h("code", {}, name), ": ", before && h("del", {}, text(before[name])), before && after && " → ", after && h("ins", {}, text(after[name]))));
  return lines.length > 3 ? h("details", {}, h("summary", {}, `${lines.length} values`), lines) : lines;
}

const text = (value) => (value === undefined || value === null ? "nothing" : typeof value === "string" ? value : JSON.stringify(value));

async function loadSessions(context) {
  try {
    shown.sessions = (await get("/api/sessions")).sessions;
  } catch {
    shown.sessions = null; // the log alone, then
  }
  context.refresh();
}

function sessions(context) {
  if (!shown.sessions?.length) return null;
  return h("section", { class: "card", "aria-label": "Who is signed in" }, h("h2", {}, "Who is signed in"),
    table("Sessions", ["Operator", "Role", { text: "Address", class: "wide" }, "Since", "Ends in", { unseen: "Actions", class: "act" }],
      shown.sessions.map((one) => h("tr", { "data-key": one.id },
        h("td", { class: "main-cell" }, one.name, one.is_own && h("span", { class: "why" }, "this browser")),
        h("td", {}, one.role),
        h("td", { class: "wide" }, one.address ?? "–"),
        h("td", { class: "time" }, clock(one.began_at)),
        h("td", {}, age(one.ends_at - Date.now() / 1e3)),
        h("td", { class: "act" }, h("button", { class: "danger", "aria-label": `End the session of ${one.name}`, onclick: () => end(context, one) }, "End"))))));
}

async function end(context, one) {
  const answer = await ask("End this session?", h("p", {}, h("b", {}, one.name), " has to sign in again, within a second."),
    [{ label: "Cancel", value: "", skips: true }, { label: "End it", value: "yes", kind: "danger" }]);
  if (answer !== "yes") return;
  try {
    await send("DELETE", `/api/sessions/${encodeURIComponent(one.id)}`);
  } catch (refused) {
    shown.problem = refused.message;
  }
  if (one.is_own) location.reload();
  await Promise.all([loadSessions(context), load(context)]);
}
