// What an on-call looks at first: how much, how fast, how wrong; and where.

import { h } from "../dom.js";
import { age, bytes, money, number, percent, seconds, short } from "../format.js";
import { address, history } from "./history.js";
import { empty, heading, loading, state, table } from "./parts.js";

const BY = { routes: "Route", models: "Model", upstreams: "Upstream", tenants: "Tenant" };
const LAGS_S = 0.1;

export const view = {
  topics: ["now", "workers", "upstreams", "config"],

  stop() {
    history.stop();
  },

  themed() {
    history.themed();
  },

  render(context) {
    const { now } = context.data;
    if (!now) return [heading("Now"), loading()];
    const by = context.params.get("by") in BY ? context.params.get("by") : "routes";
    return [
      heading("Now", h("p", { class: "sum quiet-text" }, now.window_s >= 55 ? "of the last minute"
        : now.window_s ? `of the last ${Math.round(now.window_s)} s` : "the first figures come in some seconds")),
      wrong(context.data),
      tiles(now),
      history.render(context),
      h("div", { class: "heading by" }, h("h2", {}, "The last minute by"), h("div", { class: "choices", role: "group", "aria-label": "By" },
        Object.entries(BY).map(([name, word]) => h("a", {
          href: address(context, { by: name === "routes" ? null : name }), class: "choice", "aria-current": name === by ? "true" : null,
        }, word)))),
      rows(now, by),
      workers(context.data.workers),
    ];
  },

  painted() {
    history.painted();
  },
};

/** What asks for attention, most urgent first; nothing, if nothing does. */
function wrong({ now, workers, upstreams, config }) {
  const found = [];
  for (const one of workers?.workers ?? []) {
    if (one.pid === null) found.push(["bad", `worker ${one.worker} does not answer`, null]);
    else {
      for (const reason of one.not_ready ?? []) found.push(["bad", `worker ${one.worker}: ${reason}`, null]);
      for (const reason of one.degraded ?? []) found.push(["warn", `worker ${one.worker}: ${reason}`, null]);
      if (one.worst_lag_ms > LAGS_S * 1e3) found.push(["warn", `worker ${one.worker}: its event loop stood still for ${seconds(one.worst_lag_ms / 1e3)}`, null]);
    }
  }
  for (const one of upstreams?.upstreams ?? []) {
    const out = one.endpoints.filter((endpoint) => endpoint.state !== "healthy");
    if (out.length) {
      found.push([out.length === one.endpoints.length ? "bad" : "warn",
        `${one.name}: ${out.length} of ${one.endpoints.length} endpoints out (${out[0].why ?? out[0].state})`, "/upstreams"]);
    }
  }
  const silent = now.total.gateway_silent_streams ?? 0;
  if (silent > 0) found.push(["warn", `${silent} ${silent === 1 ? "stream is" : "streams are"} silent: nothing from the backend for 30 s`, "/requests?silent=30s"]);
  if (config?.last_reload && !config.last_reload.ok) found.push(["bad", "the changed configuration was refused", "/config"]);
  const codes = Object.entries(now.errors ?? {}).filter(([, rate]) => rate > 0).sort((a, b) => b[1] - a[1]).slice(0, 4);
  for (const [code, rate] of codes) found.push(["warn", `${code} ${number(rate)}/s`, `/requests?error=${encodeURIComponent(code)}`]);
  return h("ul", { class: "wrong", "aria-label": "What asks for attention" }, found.length
    ? found.sort((a, b) => (a[0] === "bad" ? 0 : 1) - (b[0] === "bad" ? 0 : 1)).map(([kind, words, where]) =>
      h("li", { class: kind }, where ? h("a", { href: where }, state(kind, words)) : state(kind, words)))
    : h("li", {}, state("good", "no problems")));
}

function tiles({ total }) {
  const share = total.requests_per_s ? total.errors_per_s / total.requests_per_s : 0;
  const costs = Object.entries(total.cost_per_hour ?? {}).filter(([, cost]) => cost > 0);
  return h("dl", { class: "tiles" },
    tile("Requests", number(total.requests_per_s), "/s",
      [["limited", `${number(total.limited_per_s)}/s`], ["retries", `${number(total.retries_per_s)}/s`]]),
    tile("Errors", percent(share), "", [["failed", `${number(total.errors_per_s)}/s`],
      ["clients left", `${number(total.client_aborts_per_s)}/s`]], share > 0.05 ? "bad" : share > 0.01 ? "warn" : ""),
    tile("Active streams", number(total.active_streams), "",
      [["requests", number(total.http_server_active_requests)], ["in queues", number(total.gateway_queue_depth ?? 0)]]),
    tile("Time to first token", ...split(seconds(total.ttft_s?.p50)),
      [["p95", seconds(total.ttft_s?.p95)], ["p99", seconds(total.ttft_s?.p99)]]),
    tile("Tokens a second", number(total.tokens_per_s?.p50), "a stream",
      [["p95", number(total.tokens_per_s?.p95)], ["p99", number(total.tokens_per_s?.p99)],
        ["all", short(Math.round(total.tokens_out_per_s))],
        ...costs.map(([currency, cost]) => ["cost", `${money(cost, currency)}/h`])]),
  );
}

function split(text) {
  const [value, ...unit] = text.split(" ");
  return [value, unit.join(" ")];
}

function tile(name, value, unit, more, kind = "") {
  return h("div", { class: "tile", "data-key": name }, h("dt", {}, name),
    h("dd", { class: `big ${kind}` }, value, unit && h("span", { class: "unit" }, ` ${unit}`)),
    h("dd", { class: "more" }, more.map(([what, figure]) => h("span", {}, `${what} `, h("b", {}, figure)))));
}

function rows(now, by) {
  const found = now[by];
  if (!found.length) return empty(`No ${BY[by].toLowerCase()} had requests in the last minute.`);
  const streams = by !== "tenants";
  const parameter = { routes: "route", models: "model", tenants: "tenant" }[by];
  return table(`By ${BY[by].toLowerCase()}`, [BY[by],
    { text: "Requests/s", class: "num" }, { text: "Errors", class: "num" },
    streams && { text: "Streams", class: "num wide" },
    { text: "First token p50", class: "num" }, { text: "p95", class: "num wide" }, { text: "p99", class: "num wide" },
    { text: "Tokens/s p50", class: "num wide" }, { text: "p95", class: "num wide" }, { text: "p99", class: "num wide" },
  ].filter(Boolean), found.map((one) => {
    const share = one.requests_per_s ? one.errors_per_s / one.requests_per_s : 0;
    return h("tr", { "data-key": one.name },
      h("td", { class: "main-cell" }, parameter ? h("a", { href: `/requests?${parameter}=${encodeURIComponent(one.name)}`, "data-row": "" }, one.name)
        : h("a", { href: "/upstreams", "data-row": "" }, one.name)),
      h("td", { class: "num" }, number(one.requests_per_s)),
      h("td", { class: `num ${share > 0.05 ? "bad" : ""}` }, percent(share)),
      streams && h("td", { class: "num wide" }, number(one.active_streams)),
      h("td", { class: "num" }, seconds(one.ttft_s?.p50)),
      h("td", { class: "num wide" }, seconds(one.ttft_s?.p95)),
      h("td", { class: "num wide" }, seconds(one.ttft_s?.p99)),
      h("td", { class: "num wide" }, number(one.tokens_per_s?.p50)),
      h("td", { class: "num wide" }, number(one.tokens_per_s?.p95)),
      h("td", { class: "num wide" }, number(one.tokens_per_s?.p99)));
  }));
}

function workers(told) {
  if (!told) return null;
  return [h("h2", {}, "Workers"), table("Workers", ["Worker",
    { text: "Open requests", class: "num" }, { text: "Streams", class: "num wide" }, { text: "Connections", class: "num wide" },
    { text: "Memory", class: "num" }, { text: "Longest pause, 10 s", class: "num" }, { text: "Up for", class: "num" }],
  told.workers.map((one) => h("tr", { "data-key": String(one.worker) },
    h("td", {}, one.pid === null ? state("bad", `${one.worker} does not answer`)
      : one.not_ready.length ? state("warn", `${one.worker} ${one.not_ready.join(", ")}`)
        : state("good", `${one.worker}`), one.pid !== null && h("span", { class: "quiet-text" }, ` process ${one.pid}`)),
    h("td", { class: "num" }, number(one.requests)),
    h("td", { class: "num wide" }, number(one.streams)),
    h("td", { class: "num wide" }, number(one.connections)),
    h("td", { class: "num" }, bytes(one.memory_bytes)),
    h("td", { class: `num ${one.worst_lag_ms > LAGS_S * 1e3 ? "warn" : ""}` }, one.pid === null ? "–" : `${number(one.worst_lag_ms)} ms`),
    h("td", { class: "num" }, age(one.uptime_s)))))];
}
