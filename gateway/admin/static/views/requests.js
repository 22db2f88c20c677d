// Requests: those under way, and those that were kept, by filters; each opens its trace.

import { get, send } from "../api.js";
import { ask, h } from "../dom.js";
import { age, bytes, clock, known, number, seconds } from "../format.js";
import { ENDS, KEPT, STATES, spaced } from "../words.js";
import { choice, empty, filter, heading, loading, sortable, state, table } from "./parts.js";
import { detail } from "./trace.js";

const FILTERS = ["id", "last", "since", "until", "route", "model", "upstream", "tenant", "subject", "status", "end", "error", "kept", "slower", "silent"];
const ASKED = ["id", "since", "until", "route", "model", "upstream", "tenant", "subject", "status", "end", "error", "kept", "slower", "silent", "sort", "order"];
const OF_ENDED = ["since", "until", "end", "error", "kept", "slower"];
const OUTCOMES = ["status", "end", "error", "kept"];
const DURATIONS = ["slower", "silent"];
const STATUSES = { "2xx": "2xx", "4xx": "4xx", 429: "429, over a limit", "5xx": "5xx" };
const LAST = { "15m": "last 15 min", "1h": "last hour", "6h": "last 6 h", "1d": "last 24 h", "7d": "last 7 days" };
const UNITS_S = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400 };
const READING_PX = 300;
const RUNNING_ROWS = 8;

const list = { asked: null, answered: null, page: null, newer: null, problem: null, records: undefined, more: false, hovered: false };
const running = { all: false, sort: "age_s", ascending: false };
let names = {};

export const view = {
  topics: ["requests", "kept"],

  start(context) {
    Object.assign(list, { asked: null, answered: null, page: null, newer: null, problem: null, records: undefined, hovered: false });
    learn(context);
  },

  moved(context) {
    detail.open(context, context.id);
    if (context.id === null && list.asked !== identity(context)) load(context);
  },

  close(context) {
    if (context.id === null) return;
    // Back to the list as it was, where it was before this.
    if (list.asked !== null) history.back();
    else context.go("/requests");
  },

  render(context) {
    if (context.id !== null) return detail.render(context);
    follow(context);
    return [
      heading("Requests", h("div", { class: "actions" }, tail(context), exports_(context))),
      filters(context),
      list.problem && h("p", { class: "problem", role: "alert" }, list.problem),
      underWay(context),
      h("h2", {}, "Kept"),
      h("div", {
        "aria-busy": list.answered === list.asked ? null : "true",
        onpointerenter: (event) => hover(context, event.pointerType === "mouse"),
        onpointerleave: (event) => leave(context, event),
      }, kept(context)),
    ];
  },
};

// -- what is asked for -----------------------------------------------------------------------

/** A duration in seconds; null if it is none. A plain number is seconds. */
function duration(text) {
  const [, figure, unit] = (text ?? "").trim().match(/^([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(ms|s|m|h|d)?$/) ?? [];
  return figure ? Number(figure) * UNITS_S[unit ?? "s"] : null;
}

/** Tells one question from another. */
function identity(context) {
  return [...FILTERS, "sort", "order"].map((name) => context.params.get(name) ?? "").join("\n");
}

function question(context) {
  const wanted = new URLSearchParams();
  for (const name of ASKED) {
    const value = context.params.get(name);
    if (value) wanted.set(name, value);
  }
  const last = duration(context.params.get("last"));
  if (last !== null) wanted.set("since", (Date.now() / 1e3 - last).toFixed(0));
  for (const name of DURATIONS) { // a plain number is seconds
    if (/^[0-9.]+$/.test(wanted.get(name) ?? "")) wanted.set(name, `${wanted.get(name)}s`);
  }
  return wanted.toString();
}

async function load(context, { quietly = false, before = null } = {}) {
  const asked = identity(context);
  list.asked = asked;
  const query = question(context);
  try {
    const page = await get(`/api/traces?${query}${before ? `&before=${encodeURIComponent(before)}` : ""}`);
    if (list.asked !== asked) return; // another question was asked since
    list.problem = null;
    if (before) list.page = { requests: [...list.page.requests, ...page.requests], next: page.next };
    else if (quietly && reading()) list.newer = same(page, list.page) ? list.newer : page;
    else Object.assign(list, { page, newer: null });
    list.more = Boolean(before);
    list.answered = asked;
  } catch (refused) {
    if (list.asked !== asked) return;
    Object.assign(list, { problem: refused.message, page: list.page ?? { requests: [], next: null }, answered: asked });
  }
  context.refresh();
}

/** Whether two pages begin with the same request: then nothing new fits the filters. */
function same(page, shown) {
  return page.requests[0]?.span === shown?.requests[0]?.span;
}

// -- the live tail ---------------------------------------------------------------------------

/** Whoever reads in the list does not have it move under their eyes. */
function reading() {
  return list.more || list.hovered || scrollY > READING_PX || document.activeElement?.closest?.("[data-row]")
    || !document.getSelection().isCollapsed;
}

function hover(context, hovered) {
  list.hovered = hovered;
  if (list.newer && !reading()) Object.assign(list, { page: list.newer, newer: null });
  context.refresh();
}

/** The list also leaves a pointer that rests: requests under way appear above it. So the next movement decides, if the pointer is still in the window. */
function leave(context, { currentTarget: element, relatedTarget: entered }) {
  if (!list.hovered || !entered) hover(context, false);
  else addEventListener("pointermove", () => hover(context, element.matches(":hover")), { once: true });
}

function take(context) {
  if (list.newer) Object.assign(list, { page: list.newer, newer: null, more: false });
  scrollTo(0, 0);
  context.refresh();
}

/** Look again once more were kept: also at the first event, since its state may be newer than the page. */
function follow(context) {
  const records = context.data.kept?.newest;
  if (records === undefined || records === list.records || !list.page) return;
  list.records = records;
  load(context, { quietly: true });
}

function tail(context) {
  if (list.newer) return h("button", { class: "newer", "data-key": "newer", onclick: () => take(context) }, "Show newer requests");
  return list.page && h("span", { class: "tail", "data-key": "tail" }, reading() ? state("off", "paused while you read") : state("good", "updates live"));
}

function exports_(context) {
  if (!list.page?.requests.length) return null;
  return [["csv", "CSV"], ["jsonl", "JSON lines"]].map(([kind, words]) => h("a", {
    class: "button", "data-key": kind, href: `/api/traces.${kind}?${question(context)}`, download: `requests.${kind}`, title: "All that the filters find, at most 10,000",
  }, words));
}

// -- filters ---------------------------------------------------------------------------------

async function learn(context) {
  try {
    ({ names } = await get("/api/telemetry"));
    context.refresh();
  } catch {
    names = {}; // then nothing is proposed
  }
}

function fits(context, one) {
  const wants = (name) => context.params.get(name);
  if (OF_ENDED.some(wants)) return false;
  const last = duration(wants("last"));
  const silent = duration(wants("silent"));
  return ["route", "tenant", "subject", "upstream"].every((name) => !wants(name) || one[name] === wants(name))
    && (!wants("model") || [one.model, one.served].includes(wants("model")))
    && (!wants("id") || one.request_id.startsWith(wants("id")))
    && (!wants("status") || String(one.status ?? "").startsWith(wants("status").replace("xx", "")))
    && (last === null || one.age_s <= last)
    && (silent === null || one.silent_s >= silent);
}

function filters(context) {
  const rows = [...(list.page?.requests ?? []), ...(context.data.requests?.requests ?? [])];
  const valuesOf = (name, all) => [...new Set([...(names[all] ?? []), ...rows.map((one) => one[name]), context.params.get(name)].filter(Boolean))].sort();
  const named = (name, label, all) => choice(context, name, label, [["", "all"], ...valuesOf(name, all).map((value) => [value, value])]);
  const some = FILTERS.some((name) => context.params.get(name));
  return h("div", { class: "filters", role: "search" },
    filter(context, "id", "Trace or request id", { "data-filter": "", placeholder: "its beginning" }),
    when(context),
    named("route", "Route", "routes"), named("model", "Model", "models"), named("upstream", "Upstream", "upstreams"),
    named("tenant", "Tenant", "tenants"),
    // There may be more than are proposed: it can be written, too, and is asked for once it is whole.
    filter(context, "subject", "Subject", {
      list: "subjects", placeholder: "all", oninput: null,
      onchange: (event) => context.set({ subject: event.target.value.trim() }, { replace: true }),
    }),
    h("datalist", { id: "subjects" }, valuesOf("subject", "subjects").map((value) => h("option", { value }))),
    outcomes(context),
    filter(context, "slower", "First token after", { placeholder: "e.g. 2s" }),
    filter(context, "silent", "No token for", { placeholder: "e.g. 30s" }),
    h("button", { type: "button", disabled: !some, onclick: () => context.go("/requests", { replace: true }) }, "Clear"));
}

/** When they came: one of some usual times, or between two moments. */
function when(context) {
  const [last, since, until] = ["last", "since", "until"].map((name) => context.params.get(name));
  const between = since || until;
  const options = [["", "any time"], ...Object.entries(LAST), ["between", between ? `${moment(since)} – ${moment(until)}` : "between …"]];
  return h("label", { class: "field" }, h("span", {}, "When"),
    h("select", {
      name: "when", value: between ? "between" : last ?? "",
      onchange: (event) => {
        if (event.target.value !== "between") context.set({ last: event.target.value, since: null, until: null }, { replace: true });
        else askBetween(context, since, until);
      },
    }, options.map(([value, words]) => h("option", { value, selected: value === (between ? "between" : last ?? "") }, words))));
}

const moment = (text) => (text ? text.replace("T", " ").slice(0, 16) : "…");

async function askBetween(context, since, until) {
  // The field holds local time, and the address says which.
  const local = (text) => (text ? new Date(Date.parse(text) - new Date(text).getTimezoneOffset() * 6e4).toISOString().slice(0, 16) : "");
  const [from, to] = [since, until].map((text) => h("input", { type: "datetime-local", value: local(text) }));
  const answer = await ask("Requests between", [
    h("label", { class: "field" }, h("span", {}, "From (your time)"), from),
    h("label", { class: "field" }, h("span", {}, "Until (your time)"), to),
  ], [{ label: "Cancel", value: "" }, { label: "Show", value: "yes", kind: "primary" }]);
  const absolute = ({ value }) => (value ? new Date(value).toISOString() : null);
  if (answer === "yes") context.set({ last: null, since: absolute(from), until: absolute(to) }, { replace: true });
  else context.refresh();
}

/** How they went: by status, by who ended them, or by why they were kept. */
function outcomes(context) {
  const chosen = OUTCOMES.filter((name) => context.params.get(name)).map((name) => `${name}=${context.params.get(name)}`);
  const ends = [...new Set([...(names.ends ?? []), context.params.get("end")].filter(Boolean))];
  const errors = [...new Set([...(names.errors ?? []), context.params.get("error")].filter(Boolean))].sort();
  const statuses = { ...STATUSES };
  const own = context.params.get("status");
  if (own) statuses[own] ??= own;
  const groups = [
    ["Status", Object.entries(statuses).map(([value, words]) => [`status=${value}`, words])],
    ["Ended by", ends.map((value) => [`end=${value}`, ENDS[value] ?? spaced(value)])],
    ["Error", errors.map((value) => [`error=${value}`, spaced(value)])],
    ["Kept because", Object.entries(KEPT).map(([value, words]) => [`kept=${value}`, words])],
  ];
  if (chosen.length > 1) groups.push(["Several", [[chosen.join("&"), chosen.join(", ")]]]);
  const current = chosen.join("&");
  return h("label", { class: "field" }, h("span", {}, "Outcome"),
    h("select", {
      name: "outcome", value: current,
      onchange: (event) => context.set({
        ...Object.fromEntries(OUTCOMES.map((name) => [name, null])), ...Object.fromEntries(new URLSearchParams(event.target.value)),
      }, { replace: true }),
    }, h("option", { value: "", selected: !current }, "any"),
    groups.filter(([, options]) => options.length).map(([label, options]) => h("optgroup", { label },
      options.map(([value, words]) => h("option", { value, selected: value === current }, words))))));
}

// -- under way -------------------------------------------------------------------------------

function underWay(context) {
  const found = (context.data.requests?.requests ?? []).filter((one) => fits(context, one));
  if (!found.length) {
    return context.params.get("silent") && empty("No request under way fits the filters.", "Silence is counted from the last bytes that the backend sent, or from when the request came.");
  }
  const direction = running.ascending ? 1 : -1;
  found.sort((a, b) => direction * ((a[running.sort] ?? -1) - (b[running.sort] ?? -1)) || a.request_id.localeCompare(b.request_id));
  const rows = running.all ? found : found.slice(0, RUNNING_ROWS);
  const head = (text, name, attributes) => sortable(text, running.sort === name ? (running.ascending ? "ascending" : "descending") : null, () => {
    Object.assign(running, { sort: name, ascending: running.sort === name && !running.ascending });
    context.refresh();
  }, attributes);
  return h("section", { "data-key": "running", "aria-label": "Under way" },
    h("h2", { class: "first" }, `Under way: ${found.length}`,
      found.length > RUNNING_ROWS && h("button", { class: "quiet", type: "button", onclick: () => { running.all = !running.all; context.refresh(); } }, running.all ? "Show fewer" : "Show all")),
    table("Requests under way", [
      head("For", "age_s", { class: "wide" }), "State", "Model", { text: "Who", class: "wide" }, { text: "Upstream", class: "wide" }, { text: "Endpoint", class: "wide" },
      head("No token for", "silent_s", { class: "num" }), head("First token", "ttft_s", { class: "num wide" }), head("Sent", "bytes_out", { class: "num wide" }),
      { unseen: "Actions", class: "act" },
    ], rows.map((one) => runningRow(context, one)), { class: "scroll dense" }));
}

function runningRow(context, one) {
  const [kind, words] = STATES[one.state] ?? ["off", spaced(one.state)];
  return h("tr", { "data-key": one.request_id },
    h("td", { class: "num-left wide" }, age(one.age_s)),
    h("td", { class: "cut", title: one.verdict.text }, state(kind, words)),
    h("td", { class: "main-cell cut" }, h("a", { href: `/requests/${encodeURIComponent(one.request_id)}`, "data-row": "" }, one.model ?? `${one.method} ${one.path}`)),
    h("td", { class: "wide cut" }, who(one)),
    h("td", { class: "wide cut" }, one.upstream ?? "–"),
    h("td", { class: "wide cut" }, one.endpoint ?? "–"),
    h("td", { class: "num" }, known(one.silent_s) ? seconds(one.silent_s) : "–"),
    h("td", { class: "num wide" }, seconds(one.ttft_s)),
    h("td", { class: "num wide" }, bytes(one.bytes_out)),
    h("td", { class: "act" }, h("button", { needs: "operator", "aria-label": `End ${one.request_id}`, onclick: () => end(context, one) }, "End")));
}

function who(one) {
  return [one.tenant, one.subject].filter(Boolean).join(" · ") || "–";
}

/** End a request under way, once that was confirmed. */
export async function end(context, one) {
  const answer = await ask("End this request?",
    h("p", {}, `The backend stops, and ${one.subject ?? "the caller"} gets the error request_cancelled.`),
    [{ label: "Let it go on", value: "" }, { label: "End it", value: "yes", kind: "danger" }]);
  if (answer !== "yes") return;
  try {
    await send("DELETE", `/api/requests/${encodeURIComponent(one.request_id)}`);
  } catch (refused) {
    if (refused.status !== 404) list.problem = refused.message; // 404: it has ended by itself
  }
  context.refresh();
}

// -- kept ------------------------------------------------------------------------------------

/** How a request went, as a state. */
export function outcome(one) {
  const { status, end } = one;
  if (end === "client_abort") return state("off", `${status ?? ""} client left`.trim());
  if (end && end !== "complete") return state("bad", `${status ?? ""} ${end === "refused" ? spaced(one.error ?? ENDS.refused) : ENDS[end] ?? spaced(end)}`.trim());
  // Without a code of the gateway's, a backend that was asked has answered so.
  if (status >= 400) return state(status >= 500 ? "bad" : "warn", `${status} ${spaced(one.error ?? (one.upstream ? "from the backend" : ""))}`);
  if (one.error) return state("bad", `${status} ${spaced(one.error)}`);
  return state("good", String(status ?? "–"));
}

function kept(context) {
  const { page } = list;
  if (!page) return loading();
  if (!page.requests.length) {
    return list.problem ? null : FILTERS.some((name) => context.params.get(name))
      ? empty("No kept request fits the filters.", "Kept are answers of 500 and above, streams that broke off, slow requests and those over a limit; of the others a sample: telemetry.traces.sample.")
      : empty("No request was kept yet.", "Send one: the playground does.");
  }
  const longest = Math.max(...page.requests.map((one) => one.s), 0.001);
  const [sort, ascending] = [context.params.get("sort") ?? "at", context.params.get("order") === "asc"];
  const head = (text, name, attributes) => sortable(text, sort === name ? (ascending ? "ascending" : "descending") : null,
    () => context.set({ sort: name === "at" ? null : name, order: sort === name && !ascending ? "asc" : null }, { replace: true }), attributes);
  return [
    table("Kept requests", [head("When", "at"), "Outcome", "Model", { text: "Route", class: "wide" }, { text: "Who", class: "wide" }, { text: "Upstream", class: "wide" },
      silence(context) ? head("No token for", "silent", { class: "num wide" }) : head("First token", "ttft", { class: "num wide" }), head("Took", "took", { class: "num" }), { unseen: "Wait and flow, or what went wrong", class: "wide" },
      head("Tokens out", "tokens", { class: "num wide" }), { text: "in", class: "num wide" }],
    page.requests.map((one) => row(one, longest, silence(context))), { class: "scroll dense" }),
    page.next && h("p", { class: "actions" }, h("button", { onclick: () => load(context, { before: page.next }) }, "Show more")),
  ];
}

/** Whether the list is about silences: then they stand where the time to the first token does. */
const silence = (context) => Boolean(context.params.get("silent"));

function row(one, longest, silent) {
  const width = (part) => `${(100 * part / longest).toFixed(2)}%`;
  const first = one.ttft_s ?? one.s;
  // What went wrong says more than a bar; it needs no place for tokens that there were not.
  const wrong = one.verdict.fault !== "nobody" && one.verdict.text.replaceAll("`", "");
  return h("tr", { "data-key": `${one.request_id} ${one.span}`, class: "open" },
    h("td", { class: "time" }, clock(one.at)),
    h("td", { class: "cut", title: one.verdict.text }, outcome(one)),
    h("td", { class: "main-cell cut" }, h("a", { class: "cover", title: one.verdict.text, href: `/requests/${encodeURIComponent(one.request_id)}`, "data-row": "" }, one.model ?? `${one.method} ${one.path}`),
      one.served && h("span", { class: "quiet-text" }, ` by ${one.served}`)),
    h("td", { class: "wide cut" }, one.route ?? "–"),
    h("td", { class: "wide cut" }, who(one)),
    h("td", { class: "wide cut" }, one.upstream ?? "–"),
    h("td", { class: "num wide" }, seconds(silent ? one.silent_s : one.ttft_s)),
    h("td", { class: "num" }, seconds(one.s)),
    wrong && h("td", { class: "wide cut span-cell quiet-text", title: wrong, colSpan: known(one.tokens_out) ? 1 : 3 }, wrong),
    !wrong && h("td", { class: "wide span-cell" }, h("span", { class: "span-bar", "aria-hidden": "true" },
      h("span", { class: "wait", style: { width: width(first) } }), h("span", { class: "flow", style: { width: width(one.s - first) } }))),
    (!wrong || known(one.tokens_out)) && [
      h("td", { class: "num wide" }, number(one.tokens_out)),
      h("td", { class: "num wide" }, number(one.tokens_in))]);
}
