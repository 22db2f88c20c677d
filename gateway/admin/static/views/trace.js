// One request: its facts, the waterfall of its spans, how its tokens came, and what the log says.

import { get } from "../api.js";
import { asCurl } from "../curl.js";
import { h } from "../dom.js";
import { bytes, clock, known, number, seconds } from "../format.js";
import { ENDS, FAULTS, KEPT, STATES, spaced } from "../words.js";
import { copyButton, empty, heading, loading, state, table } from "./parts.js";
import { end, outcome } from "./requests.js";
import { timeline } from "./timeline.js";

const shown = { id: null, found: null, problem: null, lines: null, verdict: null, same: [] };
/** Errors whose reason is in the backend's own words. */
const TOLD_BY_BACKENDS = ["backend_error", "upstream_rejected"];
/** Status of a WebSocket, which curl does not repeat. */
const SWITCHED = 101;
const AGAIN_MS = 1000;
const NOTABLE_SILENCE_S = 1;
const TAIL_STALL_S = 1;

export const detail = {
  open(context, id) {
    if (shown.id === id) return;
    document.title = `Request ${id} · Gateway`;
    Object.assign(shown, { id, found: null, problem: null, lines: null, verdict: null, same: [] });
    if (id !== null) load(context);
  },

  render(context) {
    const back = h("p", { class: "back" }, h("a", {
      href: "/requests",
      onclick: (event) => {
        event.preventDefault();
        event.stopPropagation();
        context.close();
      },
    }, "← Requests"), h("span", { class: "quiet-text" }, " Esc"));
    if (shown.found) return [back, shown.found.requests.map((one) => request(context, one, shown.found))];
    const running = underWayNow(context);
    if (running) return [back, underWay(context, running)];
    if (shown.problem) {
      const line = shown.lines?.find(({ event }) => event === "request");
      const name = line ? line.model ?? `${line.method} ${line.path}` : "Request";
      return [back, heading(name), shown.verdict && sentence(shown.verdict), empty(shown.verdict ? "No more of this request was kept than its log line." : shown.problem,
        "Kept are answers of 500 and above, streams that broke off, slow requests and those over a limit; of the others a sample: telemetry.traces.sample. Its lines of the log are below. A request that has just ended is there in a second."),
      log(context)];
    }
    return [back, heading("Request"), loading()];
  },
};

const underWayNow = (context) => context.data.requests?.requests.find((one) => one.request_id === shown.id);

async function load(context) {
  const { id } = shown;
  const running = underWayNow(context);
  if (running) { // nothing is kept of it before its end
    if (running.stream) learnStream(context, running);
    setTimeout(() => {
      if (shown.id === id && !shown.found) load(context);
    }, AGAIN_MS);
    return;
  }
  try {
    const found = await get(`/api/traces/${encodeURIComponent(id)}`);
    if (shown.id === id) {
      Object.assign(shown, { found, problem: null });
      const [{ model, path, status }] = found.requests;
      document.title = `${status ?? "–"} ${model ?? path} · Gateway`;
    }
  } catch (refused) {
    if (shown.id === id) {
      shown.problem = refused.message;
      setTimeout(() => {
        if (shown.id === id && !shown.found) load(context); // it may still be under way
      }, AGAIN_MS);
    }
  }
  try {
    const { lines, verdict } = await get(`/api/logs?id=${encodeURIComponent(shown.found?.requests[0]?.request_id ?? id)}`);
    if (shown.id === id) Object.assign(shown, { lines, verdict });
  } catch {
    // the log itself has them
  }
  context.refresh();
}

/** The kept requests of the stream of a request under way. */
async function learnStream(context, { stream: wanted, request_id: id }) {
  try {
    const { requests } = await get(`/api/traces?stream=${encodeURIComponent(wanted)}`);
    if (shown.id === id) shown.same = requests;
  } catch {
    // only those under way are listed then
  }
  context.refresh();
}

function underWay(context, one) {
  const [kind, words] = STATES[one.state] ?? ["off", spaced(one.state)];
  return [
    heading(`${one.model ?? one.path}: under way`, h("div", { class: "actions" },
      h("button", { needs: "operator", onclick: () => end(context, one) }, "End"))),
    sentence(one.verdict),
    facts([["State", state(kind, words)], ["For", seconds(one.age_s)], ["No token for", known(one.silent_s) && seconds(one.silent_s)],
      ["First token", known(one.ttft_s) && seconds(one.ttft_s)], ["Status", one.status ?? "no answer yet"], ["Route", one.route], ["Tenant", one.tenant],
      ["Subject", one.subject], ["Asked for", one.model], ["Served by", one.served], ["Upstream", one.upstream], ["Endpoint", one.endpoint], ["Sent", bytes(one.bytes_out)],
      ["Client", one.client], ["Request id", h("code", {}, one.request_id)]]),
    stream(context, one),
  ];
}

/** What happened, whose fault it is, and what to do. */
function sentence({ text, fault, remedy }) {
  const [kind, words] = FAULTS[fault] ?? ["off", fault];
  return h("section", { class: `card verdict ${kind}`, "aria-label": "What happened" },
    h("p", { class: "verdict-text" }, coded(text)),
    (words || remedy) && h("p", { class: "verdict-more" }, words && state(kind, words), remedy && h("span", {}, h("b", {}, "What to do: "), coded(remedy))));
}

/** What stands between backticks is code. */
function coded(text) {
  return text.split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part));
}

function facts(pairs) {
  return h("dl", { class: "card pairs" }, pairs.filter(([, value]) => known(value) && value !== "" && value !== false)
    .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function request(context, one, trace) {
  // An answer in one piece has no flow of tokens: its first one is there when all of it is.
  const speed = one.streamed !== false && one.tokens_out > 1 && one.ttft_s !== null && one.s > one.ttft_s ? (one.tokens_out - 1) / (one.s - one.ttft_s) : null;
  const answered = one.spans.map((span) => span.attributes["gen_ai.response.model"]).find(Boolean);
  return h("article", { "data-key": one.span },
    heading(one.model ?? `${one.method} ${one.path}`, h("div", { class: "actions" },
      one.status !== SWITCHED && copyButton(context, `curl ${one.span}`, asCurl(one), { label: "Copy as curl" }), links(context, one, trace))),
    sentence(one.verdict),
    h("p", { class: "facts" }, outcome(one), h("span", {}, clock(one.at)), h("span", {}, `${one.method} ${one.path}`)),
    said(context, one),
    facts([["Took", seconds(one.s)], ["First token", seconds(one.ttft_s)], ["First byte", seconds(one.first_byte_s)], ["Longest silence", one.silent_s >= NOTABLE_SILENCE_S && seconds(one.silent_s)], ["Tokens/s", speed && number(speed)],
      ["Tokens", known(one.tokens_out) && `${number(one.tokens_in)} in, ${number(one.tokens_out)} out`],
      ["How it ended", ENDS[one.end] ?? spaced(one.end)], ["Error", one.error && h("code", {}, one.error)],
      ["Limit", one.limit && h("a", { href: `/limits?find=${encodeURIComponent(one.limit)}` }, one.limit)], ["To wait", known(one.retry_after_s) && seconds(one.retry_after_s)],
      ["In the queue", known(one.queue_s) && `${seconds(one.queue_s)}, ${number(one.queue_position)} before it`],
      ["Model asked for", one.model], ["Model that served", one.model && (one.served ?? one.model)], ["Its name at the backend", answered !== one.model && answered],
      ["Route", one.route], ["Upstream", one.upstream], ["Endpoint", one.endpoint],
      ["Models that failed", one.fallbacks?.join(", ")], ["Gone on with", one.continued && `${one.continued} × by another backend`],
      ["Response cache", one.cache], ["Copy of request", one.shadow_of],
      ["Tenant", one.tenant], ["Subject", one.subject], ["Client", one.client],
      ["Bytes", `${bytes(one.bytes_in)} in, ${bytes(one.bytes_out)} out`], ["Kept because", KEPT[one.kept] ?? one.kept],
      ["Socket", one.bridge && h("a", { href: `/requests/${encodeURIComponent(one.bridge)}` }, one.bridge)],
      ["Request id", h("code", {}, one.request_id)], ["Trace id", h("code", {}, trace.trace_id)]]),
    attempts(one),
    stream(context, one),
    h("h2", {}, "Spans"), waterfall(one.spans),
    tokens(one),
    log(context, one.line));
}

/** The reason in full: a backend's own words, or what was wrong. */
function said(context, one) {
  if (!one.reason) return null;
  const backend = !one.error || TOLD_BY_BACKENDS.includes(one.error);
  return h("section", { class: "card said-error" },
    h("div", { class: "card-head" }, h("h2", {}, backend ? "What the backend said" : "Reason"),
      copyButton(context, `reason ${one.span}`, one.reason, { what: "the reason" })),
    h("p", { class: "words" }, one.reason));
}

function attempts(one) {
  const made = one.spans.filter((span) => span.attributes["gateway.attempt.number"])
    .sort((a, b) => a.attributes["gateway.attempt.number"] - b.attributes["gateway.attempt.number"]);
  if (made.length < 2 && !made.some((span) => span.error)) return null;
  return [h("h2", {}, "Attempts"), table("Attempts", [
    { text: "#", class: "num-left" }, "Outcome", "Upstream", "Endpoint", { text: "Model", class: "wide" }, { text: "Made because", class: "wide" }, { text: "Took", class: "num" },
  ], made.map(({ attributes, error, start, end, span_id }) => h("tr", { "data-key": span_id },
    h("td", { class: "num-left" }, attributes["gateway.attempt.number"]),
    h("td", { class: "main-cell" }, error ? state("bad", /^[0-9]+$/.test(error) ? `status ${error}` : spaced(error)) : state("good", "answered"),
      attributes["gateway.reason"] && h("span", { class: "why" }, attributes["gateway.reason"])),
    h("td", {}, attributes["gateway.upstream"]),
    h("td", { class: "main-cell" }, h("code", {}, attributes["gateway.endpoint"])),
    h("td", { class: "wide" }, attributes["gen_ai.request.model"] ?? "–"),
    h("td", { class: "wide" }, attributes["gateway.attempt.reason"] ?? "first"),
    h("td", { class: "num" }, seconds(end - start)))))];
}

/** The other requests of its kept stream: those that have ended and were kept, and those under way. */
function stream(context, one) {
  if (!one.stream) return null;
  const running = (context.data.requests?.requests ?? []).filter((other) => other.stream === one.stream);
  const others = [...(one.same_stream ?? shown.same), ...running].filter((other) => other.request_id !== one.request_id);
  if (!others.length && !one.reads) return null;
  return [h("h2", {}, "The same stream"), others.length
    ? table("Requests of the same stream", ["When", "What it does", "Outcome", { text: "Took", class: "num" }], others.map((other) => h("tr", { "data-key": other.request_id },
      h("td", { class: "time" }, other.at ? clock(other.at) : "now"),
      h("td", { class: "main-cell" }, h("a", { href: `/requests/${encodeURIComponent(other.request_id)}`, "data-row": "" }, other.reads ? "resumed it" : "began it")),
      h("td", {}, other.state ? state(...(STATES[other.state] ?? ["off", spaced(other.state)])) : outcome(other)),
      h("td", { class: "num" }, seconds(other.s ?? other.age_s)))))
    : h("p", { class: "hint" }, "It resumed a stream; the request that began it was not kept.")];
}

function links(context, one, trace) {
  return Object.entries(context.session.links ?? {}).map(([name, template]) => {
    const href = template.replaceAll("{trace_id}", encodeURIComponent(trace.trace_id))
      .replaceAll("{request_id}", encodeURIComponent(one.request_id));
    return h("a", { class: "button", href, target: "_blank", rel: "noreferrer" }, `Open in ${name}`);
  });
}

// -- spans -----------------------------------------------------------------------------------

function waterfall(spans) {
  const start = Math.min(...spans.map((one) => one.start));
  const total = Math.max(...spans.map((one) => one.end)) - start || 1e-6;
  const parents = new Map(spans.map((one) => [one.span_id, one.parent_id]));
  const depth = (id) => (parents.has(parents.get(id)) ? 1 + depth(parents.get(id)) : 0);
  const marks = [0, 0.25, 0.5, 0.75, 1];
  return h("div", { class: "card waterfall" },
    h("div", { class: "span-row axis", "aria-hidden": "true" }, h("span", {}), h("span", { class: "track" },
      marks.map((part) => h("span", { class: "mark", style: { left: `${part * 100}%` } }, seconds(part * total)))), h("span", {})),
    tree(spans).map((one) => spanRow(one, depth(one.span_id), start, total)));
}

/** Each after its parent, siblings by time. */
function tree(spans) {
  const known = new Set(spans.map((one) => one.span_id));
  const below = new Map();
  for (const one of spans) {
    const parent = known.has(one.parent_id) ? one.parent_id : null;
    below.set(parent, [...(below.get(parent) ?? []), one]);
  }
  const walk = (parent) => (below.get(parent) ?? []).sort((a, b) => a.start - b.start).flatMap((one) => [one, ...walk(one.span_id)]);
  return walk(null);
}

function spanRow(one, depth, start, total) {
  const percent = (part) => `${(100 * part / total).toFixed(3)}%`;
  const took = one.end - one.start;
  const words = `${one.name}, ${one.kind}, from ${seconds(one.start - start)}, took ${seconds(took)}${one.error ? `, ${one.error}` : ""}`;
  return h("details", { class: `span ${one.kind} ${one.error ? "failed" : ""}`, "data-key": one.span_id },
    h("summary", { class: "span-row", "data-row": "", title: words },
      h("span", { class: "span-name", style: { paddingLeft: `${depth * 16}px` } }, one.error && h("span", { class: "bad", "aria-hidden": "true" }, "■ "), one.name),
      h("span", { class: "track" },
        h("span", { class: "span-length", style: { left: percent(one.start - start), width: `max(2px, ${percent(took)})` } }),
        one.events.map((event) => h("span", {
          class: `event ${event.name}`, style: { left: percent(event.at - start) }, title: `${event.name} at ${seconds(event.at - start)}`,
        }))),
      h("span", { class: "num" }, seconds(took))),
    h("div", { class: "inside" },
      one.error && h("p", { class: "bad" }, one.error),
      Object.keys(one.attributes).length > 0 && h("dl", { class: "attributes" }, Object.entries(one.attributes).map(([name, value]) =>
        h("div", {}, h("dt", {}, name), h("dd", {}, Array.isArray(value) ? value.join(", ") : String(value))))),
      one.events.length > 0 && h("dl", { class: "attributes" }, one.events.map((event, index) =>
        h("div", { "data-key": String(index) }, h("dt", {}, seconds(event.at - start)), h("dd", {}, [event.name, ...Object.entries(event.attributes).map(([key, value]) => `${key}=${value}`)].join(" ")))))));
}

// -- tokens ----------------------------------------------------------------------------------

function tokens(one) {
  const stream = one.spans.find((span) => span.name === "stream");
  if (!stream) return null;
  const zero = one.at;
  const attributes = stream.attributes;
  const silent = [];
  for (const event of stream.events) {
    if (event.name === "stall") silent.push([event.at - zero, event.at - zero + event.attributes.seconds]);
  }
  const piece = stream.events.find((event) => event.name === "last_chunk");
  const last = piece ? piece.at - zero : stream.end - zero;
  if (one.s - last >= TAIL_STALL_S) silent.push([last, one.s]); // and nothing came after it
  const broken = stream.attributes["gateway.stream.end"];
  const bounds = attributes["gateway.stream.gap.bounds_s"];
  const counts = attributes["gateway.stream.gap.counts"];
  return [
    h("h2", {}, "Tokens as they came"),
    h("div", { class: "card" },
      timeline({
        total: one.s, first: stream.start - zero, last, silent, pieces: attributes["gateway.stream.pieces"] ?? 0,
        broken: broken && broken !== "complete" ? broken.replaceAll("_", " ") : null,
      }),
      counts && counts.some((count) => count) && gaps(bounds, counts, attributes["gateway.stream.gap.longest_s"])),
  ];
}

/** How many silences of each length there were. */
function gaps(bounds, counts, longest) {
  const most = Math.max(...counts);
  const name = (index) => (index === 0 ? `≤ ${seconds(bounds[0])}` : index === bounds.length ? `> ${seconds(bounds[index - 1])}` : `– ${seconds(bounds[index])}`);
  return h("figure", { class: "gaps" },
    h("figcaption", {}, "Gaps between pieces", h("span", { class: "quiet-text" }, ` the longest ${seconds(longest)}`)),
    h("ol", {}, counts.map((count, index) => h("li", { class: count ? "" : "none" },
      h("span", { class: "gap-count" }, count ? number(count) : ""),
      h("span", { class: `gap-bar ${index >= bounds.length - 3 ? "long" : ""}`, style: { height: `${count ? 4 + 56 * count / most : 1}px` }, "aria-hidden": "true" }),
      h("span", { class: "gap-name" }, name(index))))));
}

// -- log -------------------------------------------------------------------------------------

/** The lines that the workers remember; if the access line is not among them, as the record tells it. */
function log(context, kept = null) {
  if (!shown.lines) return null;
  const lines = !kept || shown.lines.some(({ event }) => event === "request") ? shown.lines : [...shown.lines, kept];
  return [h("h2", {}, "Log"), lines.length
    ? lines.map((line, index) => logLine(context, line, index, lines.length))
    : empty("The workers remember no line of it any more.", "The log itself has them, under the request id.")];
}

function logLine(context, line, index, count) {
  const { time, level, event, ...rest } = line;
  return h("details", { class: "section log-line", "data-key": `line ${index}`, open: event === "request" || count === 1 },
    h("summary", {}, h("span", { class: level === "error" ? "bad" : level === "warning" ? "warn" : "key" }, event ?? "line"), " ",
      h("span", { class: "quiet-text" }, `${level ?? ""} ${String(time ?? "").replace("T", " ").slice(0, 23)}`)),
    h("p", { class: "actions" }, copyButton(context, `line ${index}`, JSON.stringify(line), { label: "Copy the line as JSON" })),
    h("table", { class: "log-table", "aria-label": `Log line ${event ?? ""}` }, h("tbody", {}, Object.entries(rest).map(([name, value]) => {
      const text = typeof value === "string" ? value : JSON.stringify(value);
      return h("tr", { "data-key": name }, h("th", { scope: "row" }, name), h("td", {}, h("code", {}, text)),
        h("td", { class: "act" }, copyButton(context, `${index} ${name}`, text, { what: name })));
    }))));
}
