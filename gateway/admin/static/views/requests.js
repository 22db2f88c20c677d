// Requests: those under way, and those that were kept, by filters; each opens its trace.

import { get, send } from "../api.js";
import { ask, h } from "../dom.js";
import { age, bytes, clock, number, seconds } from "../format.js";
import { choice, empty, filter, heading, loading, state, table } from "./parts.js";
import { detail } from "./trace.js";

const FILTERS = ["route", "model", "tenant", "status", "end", "kept", "slower", "id"];
const STATUSES = [["", "any"], ["2xx", "2xx"], ["4xx", "4xx"], ["429", "429, over a limit"], ["5xx", "5xx"]];
const KEPT = [["", "any reason"], ["error", "errors"], ["slow", "slow"], ["limited", "over a limit"], ["aborted", "left by the client"], ["sampled", "sampled"]];
const READING_PX = 300;

const list = { asked: null, answered: null, page: null, newer: null, problem: null, records: null, more: false };
let names = {};

export const view = {
  topics: ["requests", "kept"],

  start(context) {
    Object.assign(list, { asked: null, answered: null, page: null, newer: null, problem: null, records: null });
    learn(context);
  },

  moved(context) {
    detail.open(context, context.id);
    if (context.id === null && list.asked !== question(context)) load(context);
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
    const running = (context.data.requests?.requests ?? []).filter((one) => fits(context, one));
    return [
      heading("Requests", list.newer && h("button", { class: "newer", onclick: () => take(context) },
        "Show newer requests")),
      filters(context),
      list.problem && h("p", { class: "problem", role: "alert" }, list.problem),
      running.length > 0 && [h("h2", { class: "first" }, `Under way: ${running.length}`), table("Requests under way",
        ["For", "Request", { text: "Who", class: "wide" }, "To", { text: "Sent", class: "num wide" }, { unseen: "Actions", class: "act" }],
        running.slice(0, 20).map((one) => underWay(context, one)))],
      h("h2", {}, "Kept"),
      h("div", { "aria-busy": list.answered === list.asked ? null : "true" }, kept(context)),
    ];
  },
};

function question(context) {
  const wanted = new URLSearchParams();
  for (const name of FILTERS) {
    const value = context.params.get(name);
    if (value) wanted.set(name, value);
  }
  if (wanted.has("slower") && /^[0-9.]+$/.test(wanted.get("slower"))) wanted.set("slower", `${wanted.get("slower")}s`);
  return wanted.toString();
}

async function load(context, { quietly = false, before = null } = {}) {
  const asked = question(context);
  list.asked = asked;
  const query = before ? `${asked}&before=${encodeURIComponent(before)}` : asked;
  try {
    const page = await get(`/api/traces?${query}`);
    if (list.asked !== asked) return; // another question was asked since
    list.problem = null;
    if (before) list.page = { requests: [...list.page.requests, ...page.requests], next: page.next };
    else if (quietly && reading()) list.newer = page;
    else Object.assign(list, { page, newer: null });
    list.more = Boolean(before);
    list.answered = asked;
  } catch (refused) {
    if (list.asked !== asked) return;
    Object.assign(list, { problem: refused.message, page: list.page ?? { requests: [], next: null }, answered: asked });
  }
  context.refresh();
}

/** Whoever is in the middle of the list does not have it move under their eyes. */
function reading() {
  return list.more || scrollY > READING_PX || document.activeElement?.closest?.("[data-row]");
}

function take(context) {
  if (list.newer) Object.assign(list, { page: list.newer, newer: null, more: false });
  scrollTo(0, 0);
  context.refresh();
}

/** Look again once more were kept. */
function follow(context) {
  const records = context.data.kept?.newest;
  if (records === undefined || records === list.records) return;
  const first = list.records === null;
  list.records = records;
  if (!first && list.page) load(context, { quietly: true });
}

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
  if (wants("end") || wants("kept") || wants("slower")) return false;
  return ["route", "tenant"].every((name) => !wants(name) || one[name] === wants(name))
    && (!wants("model") || [one.model, one.served].includes(wants("model")))
    && (!wants("id") || one.request_id.startsWith(wants("id")))
    && (!wants("status") || String(one.status ?? "").startsWith(wants("status").replace("xx", "")));
}

function filters(context) {
  const named = (name, label, all) => {
    const listed = (list.page?.requests ?? []).map((one) => one[name]);
    const values = [...new Set([...(names[all] ?? []), ...listed, context.params.get(name)].filter(Boolean))].sort();
    return choice(context, name, label, [["", "all"], ...values.map((value) => [value, value])]);
  };
  const some = FILTERS.some((name) => context.params.get(name));
  return h("div", { class: "filters", role: "search" },
    filter(context, "id", "Trace or request id", { "data-filter": "", placeholder: "its beginning" }),
    named("route", "Route", "routes"), named("model", "Model", "models"), named("tenant", "Tenant", "tenants"),
    choice(context, "status", "Status", STATUSES), named("end", "Ended by", "ends"),
    choice(context, "kept", "Kept as", KEPT),
    filter(context, "slower", "First token after", { placeholder: "e.g. 500ms, 2s", inputmode: "text" }),
    h("button", { type: "button", disabled: !some, onclick: () => context.go("/requests", { replace: true }) }, "Clear"));
}

function underWay(context, one) {
  return h("tr", { "data-key": one.request_id },
    h("td", { class: "num-left" }, age(one.age_s)),
    h("td", { class: "main-cell" }, h("a", { href: `/requests/${encodeURIComponent(one.request_id)}`, "data-row": "" }, one.model ?? `${one.method} ${one.path}`),
      h("span", { class: "why" }, one.route ?? "no route", " ", h("code", {}, one.request_id.slice(0, 8)))),
    h("td", { class: "wide" }, one.tenant ?? one.subject ?? "–", one.tenant && h("span", { class: "why" }, one.subject)),
    h("td", { class: "main-cell" }, one.upstream ?? "not yet", one.endpoint && h("span", { class: "why" }, one.endpoint)),
    h("td", { class: "num wide" }, bytes(one.bytes_out), h("span", { class: "why" }, one.status ?? "no answer yet")),
    h("td", { class: "act" }, h("button", { "aria-label": `End ${one.request_id}`, onclick: () => end(context, one) }, "End")));
}

async function end(context, one) {
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

/** How a request went, as a state. */
export function outcome(one) {
  const { status, end } = one;
  if (end === "client_abort") return state("off", `${status ?? ""} client left`.trim());
  if (end && end !== "complete") return state("bad", `${status ?? ""} ${(one.error ?? end).replaceAll("_", " ")}`.trim());
  if (status >= 500) return state("bad", `${status} ${(one.error ?? "").replaceAll("_", " ")}`);
  if (status >= 400) return state("warn", `${status} ${(one.error ?? "").replaceAll("_", " ")}`);
  return state("good", String(status ?? "–"));
}

function kept(context) {
  const { page } = list;
  if (!page) return loading();
  if (!page.requests.length) {
    return list.problem ? null : question(context)
      ? empty("No kept request fits the filters.", "Errors, slow requests and those over a limit are kept; of the others a sample: telemetry.traces.sample.")
      : empty("No request was kept yet.", "Send one: the playground does.");
  }
  const longest = Math.max(...page.requests.map((one) => one.s), 0.001);
  return [
    table("Kept requests", ["When", "Outcome", "Model", { text: "Who", class: "wide" },
      { text: "TTFT", class: "num wide" }, { text: "Took", class: "num" }, { unseen: "Wait and flow", class: "wide" }, { text: "Tokens", class: "num wide" },
      { text: "Upstream", class: "wide" }],
    page.requests.map((one) => row(one, longest))),
    page.next && h("p", { class: "actions" }, h("button", { onclick: () => load(context, { before: page.next }) }, "Show older")),
  ];
}

function row(one, longest) {
  const width = (part) => `${(100 * part / longest).toFixed(2)}%`;
  const first = one.ttft_s ?? one.s;
  return h("tr", { "data-key": `${one.request_id} ${one.span}`, class: "open" },
    h("td", { class: "time" }, clock(one.at)),
    h("td", {}, outcome(one)),
    h("td", { class: "main-cell" }, h("a", { class: "cover", href: `/requests/${encodeURIComponent(one.request_id)}`, "data-row": "" }, one.model ?? `${one.method} ${one.path}`),
      h("span", { class: "why" }, one.route ?? "no route", one.served && ` · served by ${one.served}`, one.limit && ` · limit ${one.limit}`)),
    h("td", { class: "wide" }, one.tenant ?? one.subject ?? "–", one.tenant && h("span", { class: "why" }, one.subject)),
    h("td", { class: "num wide" }, seconds(one.ttft_s)),
    h("td", { class: "num" }, seconds(one.s)),
    h("td", { class: "wide span-cell" }, h("span", { class: "span-bar", "aria-hidden": "true" },
      h("span", { class: "wait", style: { width: width(first) } }), h("span", { class: "flow", style: { width: width(one.s - first) } }))),
    h("td", { class: "num wide" }, one.tokens_out !== null ? number(one.tokens_out) : "–",
      one.tokens_in !== null && h("span", { class: "why" }, `${number(one.tokens_in)} in`)),
    h("td", { class: "wide" }, one.upstream ?? "–"));
}
