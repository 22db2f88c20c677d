// The plots of Now: a range of time, compared with the day before, each moment with its requests.

import { get } from "../api.js";
import { Chart } from "../chart.js";
import { h } from "../dom.js";
import { number, seconds, short } from "../format.js";

export const RANGES = {
  "5m": { seconds: 300, step: 5, label: "5 min", words: "the last 5 minutes" },
  "15m": { seconds: 900, step: 60, label: "15 min", words: "the last 15 minutes" },
  "1h": { seconds: 3600, step: 60, label: "1 h", words: "the last hour" },
  "6h": { seconds: 21_600, step: 120, label: "6 h", words: "the last 6 hours" },
  "1d": { seconds: 86_400, step: 300, label: "24 h", words: "the last 24 hours" },
  "7d": { seconds: 604_800, step: 1800, label: "7 days", words: "the last 7 days" },
};
const USUAL = "1h";
const SLOWEST_S = 60;
const SOONEST_S = 5;
const LATENCIES = [
  { name: "p50", of: "ttft_p50_s", colour: "--series-1" },
  { name: "p95", of: "ttft_p95_s", colour: "--series-2", dash: [6, 3], compared: true },
  { name: "p99", of: "ttft_p99_s", colour: "--series-3", dash: [2, 3] },
];
const PLOTS = [
  {
    title: "Requests a second", format: number, least: 0.1, series: [
      { name: "all", of: "requests_per_s", colour: "--series-1", fill: true, compared: true },
      { name: "errors", of: "errors_per_s", colour: "--bad", dash: [4, 2] }],
  },
  { title: "Active streams", format: number, least: 1, whole: true, series: [{ name: "most", of: "active_streams", colour: "--series-1", fill: true, compared: true }] },
  { title: "Time to first token", format: seconds, series: LATENCIES, sort: "ttft" },
  {
    title: "Tokens a second, all streams", format: short, least: 1, whole: true, sort: "tokens", series: [
      { name: "out", of: "tokens_out_per_s", colour: "--series-1", fill: true, compared: true },
      { name: "in", of: "tokens_in_per_s", colour: "--series-2", dash: [6, 3] }],
  },
];

let charts = [];
const shown = { asked: null, loading: null, at: 0, document: null, problem: null };

const rangeOf = (context) => (context.params.get("range") in RANGES ? context.params.get("range") : USUAL);
const isCompared = (context) => context.params.get("compare") === "yesterday";

/** The address of this page with other parameters. */
export function address(context, changes) {
  const params = new URLSearchParams(context.params);
  for (const [name, value] of Object.entries(changes)) {
    if (value) params.set(name, value);
    else params.delete(name);
  }
  return params.size ? `/?${params}` : "/";
}

export const history = {
  stop() {
    charts.forEach(({ chart }) => chart.close());
    charts = [];
    Object.assign(shown, { asked: null, loading: null, at: 0, document: null, problem: null });
  },

  themed() {
    charts.forEach(({ chart }) => chart.themed());
  },

  render(context) {
    const name = rangeOf(context);
    const compared = isCompared(context);
    const asked = `range=${name}${compared ? "&compare=yesterday" : ""}`;
    if (shown.asked !== asked) begin(asked, name, compared);
    // A gateway that has just started has nothing to draw yet.
    const drawn = (shown.document?.at.length ?? 0) > 1;
    const every = drawn ? Math.min(SLOWEST_S, RANGES[name].step) : SOONEST_S;
    if (Date.now() / 1e3 - shown.at >= every && shown.loading !== asked) load(context, asked);
    return [
      h("div", { class: "heading by" }, h("h2", {}, "Over time"),
        h("div", { class: "choices", role: "group", "aria-label": "Range" }, Object.entries(RANGES).map(([value, { label, words }]) => h("a", {
          href: address(context, { range: value === USUAL ? null : value }), class: "choice", title: words,
          "aria-current": value === name ? "true" : null,
        }, label))),
        h("label", { class: "check" }, h("input", {
          type: "checkbox", name: "compare", checked: compared,
          onchange: (event) => context.go(address(context, { compare: event.target.checked ? "yesterday" : null }), { replace: true }),
        }), " Compare with yesterday")),
      shown.problem && h("p", { class: "problem", role: "alert" }, shown.problem),
      h("div", { class: "plots" }, charts.map(({ chart }) => chart.element)),
    ];
  },

  painted() {
    const { document } = shown;
    if (!document || shown.drawn === document) return;
    shown.drawn = document;
    for (const { chart, series } of charts) {
      chart.set(document.at, series.map((one) => (one.before ? document.yesterday : document.values)[one.of]), document.until);
    }
  },
};

function begin(asked, name, compared) {
  charts.forEach(({ chart }) => chart.close());
  Object.assign(shown, { asked, at: 0, document: null, problem: null });
  const range = RANGES[name];
  charts = PLOTS.map(({ title, format, series: given, sort, least, whole }) => {
    const series = given.flatMap((one) => (compared && one.compared
      ? [{ ...one }, { name: given.length > 1 ? `${one.name} yesterday` : "yesterday", of: one.of, before: true, colour: "--edge-strong", width: 1 }] : [one]));
    const open = (since, until) => `/requests?since=${encodeURIComponent(since.toISOString())}&until=${encodeURIComponent(until.toISOString())}${sort ? `&sort=${sort}` : ""}`;
    return { series, chart: new Chart(title, series, { format, sync: "now", range, open, least, whole }) };
  });
}

async function load(context, asked) {
  shown.loading = asked;
  try {
    const document = await get(`/api/history?${asked}`);
    if (shown.asked === asked) Object.assign(shown, { document, problem: null });
  } catch (refused) {
    if (shown.asked === asked) shown.problem = refused.message;
  }
  if (shown.loading === asked) Object.assign(shown, { loading: null, at: Date.now() / 1e3 });
  context.refresh();
}
