// Tokens and cost, by tenant, user, API key, model, route and day.

import { get } from "../api.js";
import { colour, font, WHOLE_STEPS } from "../chart.js";
import { h } from "../dom.js";
import { money, number, percent, short } from "../format.js";
import { bar, choice, empty, heading, loading, table } from "./parts.js";

const uPlot = window.uPlot;
const NAMES = { day: "Day", tenant: "Tenant", team: "Team", tag: "Tag", subject: "User", key: "API key", route: "Route", model: "Model" };
const BY = {
  tenant: "tenant", team: "team", tag: "tag", subject: "user", key: "API key", model: "model", route: "route", day: "day",
  "tenant,subject": "tenant and user", "team,subject": "team and user", "team,model": "team and model", "tenant,model": "tenant and model", "subject,model": "user and model",
  "key,model": "API key and model", "day,tenant,model": "day, tenant and model",
};
const SINCE = [["", "the last 30 days"], ["today", "today"], ["7", "the last 7 days"], ["month", "this month"], ["90", "the last 90 days"], ["all", "all there is"]];
const DAY_MS = 86_400_000;
const HEIGHT = 150;
const COUNTS = ["requests", "errors", "limited", "counted", "tokens_in", "tokens_out", "cached", "cost"];

const shown = { asked: null, rows: null, days: null, problem: null };
let plot = null;

export const view = {
  topics: [],
  title: (context) => `Usage by ${BY[grouping(context)]}`,

  start() {
    Object.assign(shown, { asked: null, rows: null, days: null, problem: null });
  },

  stop() {
    plot?.destroy();
    plot = null;
  },

  themed(context) {
    plot?.destroy();
    plot = null;
    context.refresh();
  },

  moved(context) {
    if (shown.asked !== query(context)) load(context);
  },

  render(context) {
    if (shown.problem) return [heading("Usage"), h("p", { class: "problem", role: "alert" }, shown.problem)];
    if (!shown.rows) return [heading("Usage"), loading()];
    const by = grouping(context);
    return [
      heading("Usage", h("a", { class: "button", href: `/api/usage.csv?${query(context)}`, download: "usage.csv" }, "CSV")),
      h("div", { class: "filters usage" },
        choice(context, "by", "Group by", Object.entries(BY).map(([value, words], index) => [index ? value : "", words])),
        choice(context, "since", "Time", SINCE)),
      shown.rows.length ? [totals(shown.days), days(), breakdown(shown.rows, by)]
        : empty("Nothing was used in this time.", "Days are those of UTC. Tokens are counted where the answer tells them."),
    ];
  },

  painted(_, main) {
    const box = main.querySelector(".days");
    if (!box || !shown.days) return;
    if (plot && plot.root.isConnected && plot.told === shown.days) return;
    plot?.destroy();
    plot = draw(box, shown.days);
    plot.told = shown.days;
  },
};

const grouping = (context) => (context.params.get("by") in BY ? context.params.get("by") : "tenant");

function first(context) {
  const since = context.params.get("since") ?? "";
  const day = (back) => new Date(Date.now() - back * DAY_MS).toISOString().slice(0, 10);
  if (since === "all") return null;
  if (since === "today") return day(0);
  if (since === "month") return `${day(0).slice(0, 8)}01`;
  return day(Number(since || 30) - 1);
}

function query(context) {
  const since = first(context);
  return `by=${grouping(context)}${since ? `&since=${since}` : ""}`;
}

async function load(context) {
  const asked = query(context);
  shown.asked = asked;
  const since = first(context);
  try {
    const [rows, days_] = await Promise.all([get(`/api/usage?${asked}`), get(`/api/usage?by=day${since ? `&since=${since}` : ""}`)]);
    if (shown.asked !== asked) return;
    Object.assign(shown, { rows: rows.usage, days: days_.usage, problem: null });
  } catch (refused) {
    if (shown.asked === asked) shown.problem = refused.message;
  }
  context.refresh();
}

const sum = (rows, name) => rows.reduce((total, one) => total + one[name], 0);

function costs(rows) {
  const found = {};
  for (const one of rows) if (one.currency) found[one.currency] = (found[one.currency] ?? 0) + one.cost;
  return Object.entries(found);
}

function totals(rows) {
  const requests = sum(rows, "requests");
  const counted = sum(rows, "counted");
  return h("dl", { class: "tiles four" },
    tile("Requests", short(requests), [["failed", percent(requests ? sum(rows, "errors") / requests : 0)], ["over a limit", number(sum(rows, "limited"))]]),
    tile("Tokens in", short(sum(rows, "tokens_in")), [["of them cached", percent(share(rows))], ["reported for", percent(requests ? counted / requests : 0)]]),
    tile("Tokens out", short(sum(rows, "tokens_out")), [["a request", number(counted ? sum(rows, "tokens_out") / counted : null)]]),
    tile("Cost", costs(rows).map(([currency, cost]) => money(cost, currency)).join(" + ") || "–", [["", "by the models' prices"]]));
}

/** The share of the input that came from a backend's cache. */
function share(rows) {
  const all = sum(rows, "tokens_in");
  return all ? sum(rows, "cached") / all : null;
}

function tile(name, value, more) {
  return h("div", { class: "tile" }, h("dt", {}, name), h("dd", { class: "big" }, value),
    h("dd", { class: "more" }, more.map(([what, figure]) => h("span", {}, `${what} `, h("b", {}, figure)))));
}

function days() {
  const total = sum(shown.days, "tokens_in") + sum(shown.days, "tokens_out");
  return h("figure", { class: "card plot" },
    h("figcaption", {}, h("h2", {}, "Tokens a day"), h("span", { class: "legend" },
      h("span", {}, h("i", { class: "swatch out" }), " out"), h("span", {}, h("i", { class: "swatch in" }), " in"))),
    h("div", { class: "plot-box days", "data-keep": "", role: "img", "aria-label": `Tokens a day, ${short(total)} in all; the same figures are in the table, by day` }));
}

function draw(box, rows) {
  const byDay = new Map();
  for (const one of rows) {
    const [into, out] = byDay.get(one.day) ?? [0, 0];
    byDay.set(one.day, [into + one.tokens_in, out + one.tokens_out]);
  }
  const at = (day) => Date.parse(`${day}T00:00:00Z`) / 1e3;
  const names = [...byDay.keys()].sort();
  const from = Math.min(at(names[0]), at(names.at(-1)) - 13 * 86400);
  const stamps = [];
  for (let one = from; one <= at(names.at(-1)); one += 86400) stamps.push(one);
  const values = stamps.map((one) => byDay.get(new Date(one * 1e3).toISOString().slice(0, 10)) ?? [0, 0]);
  // The bars of both, stacked: the whole is drawn first, what came out over it.
  const data = [stamps, values.map(([into, out]) => into + out), values.map(([, out]) => out)];
  const bars = uPlot.paths.bars({ size: [0.6, 48], align: 0 });
  const axis = { stroke: colour("--quiet"), font: font(), ticks: { show: false } };
  return new uPlot({
    width: box.clientWidth || 320, height: HEIGHT, legend: { show: false }, padding: [8, 16, 0, 0],
    cursor: { show: false },
    tzDate: (stamp) => uPlot.tzDate(new Date(stamp * 1e3), "UTC"),
    scales: { x: { range: (_, low, high) => [low - 43200, high + 43200] }, y: { range: (_, __, high) => [0, Math.max(1, high * 1.1)] } },
    axes: [
      { ...axis, size: 24, grid: { show: false }, space: 70, incrs: [86400, 2 * 86400, 7 * 86400, 14 * 86400, 30 * 86400], values: (_, ticks) => ticks.map((one) => new Date(one * 1e3).toISOString().slice(5, 10)) },
      { ...axis, size: 58, space: 36, incrs: WHOLE_STEPS, grid: { stroke: colour("--edge"), width: 1 }, values: (_, ticks) => ticks.map(short) },
    ],
    series: [{}, { paths: bars, fill: colour("--series-2"), stroke: colour("--series-2"), width: 0, points: { show: false } },
      { paths: bars, fill: colour("--series-1"), stroke: colour("--series-1"), width: 0, points: { show: false } }],
  }, data, box);
}

/** A name, which leads to the requests of it; or that there is none. */
function cell(one, name) {
  const value = one[name];
  if (!value) return h("span", { class: "quiet-text" }, "none");
  if (name === "key") return h("a", { href: `/keys?find=${encodeURIComponent(value)}` }, h("code", {}, value));
  if (name === "team") return h("a", { href: `/teams?team=${encodeURIComponent(value)}` }, value);
  if (name === "tag") return h("a", { href: `/keys?tag=${encodeURIComponent(value)}` }, value);
  if (name === "day") return value;
  return h("a", { href: `/requests?${name}=${encodeURIComponent(value)}` }, value);
}

/** One row for each of them: money of several currencies, or none, is told side by side. */
function merged(rows, names) {
  const found = new Map();
  for (const one of rows) {
    const key = JSON.stringify(names.map((name) => one[name]));
    const known = found.get(key);
    if (!known) {
      found.set(key, { ...one, row: key, all: [one] });
      continue;
    }
    for (const count of COUNTS) known[count] += one[count];
    known.all.push(one);
  }
  return [...found.values()];
}

function breakdown(given, by) {
  const names = by.split(",");
  const rows = merged(given, names);
  const most = Math.max(...rows.map((one) => one.tokens_in + one.tokens_out), 1);
  const ordered = names[0] === "day" ? [...rows].reverse()
    : [...rows].sort((a, b) => b.cost - a.cost || b.tokens_in + b.tokens_out - a.tokens_in - a.tokens_out);
  return table("Usage", [...names.map((name) => NAMES[name]), { text: "Requests", class: "num" }, { text: "Failed", class: "num wide" },
    { text: "Tokens in", class: "num" }, { text: "Cached", class: "num wide" }, { text: "Tokens out", class: "num" }, { unseen: "Share", class: "wide" }, { text: "Cost", class: "num" }],
  ordered.map((one) => h("tr", { "data-key": one.row, tabindex: "-1", "data-row": "" },
    names.map((name) => h("td", { class: name === "day" ? "time" : "main-cell" }, cell(one, name))),
    h("td", { class: "num" }, number(one.requests)),
    h("td", { class: "num wide" }, number(one.errors)),
    h("td", { class: "num" }, short(one.tokens_in)),
    h("td", { class: "num wide" }, percent(share([one]))),
    h("td", { class: "num" }, short(one.tokens_out)),
    h("td", { class: "gauge-cell wide" }, bar((one.tokens_in + one.tokens_out) / most)),
    h("td", { class: "num" }, costs(one.all).map(([currency, cost]) => money(cost, currency)).join(" + ") || "–"))));
}
