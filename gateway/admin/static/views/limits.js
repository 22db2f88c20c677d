// Limits: what is left, by key, of those that were used of late; and who was refused.

import { h } from "../dom.js";
import { age, clock, money, number, seconds, short } from "../format.js";
import { bar, empty, filter, heading, loading, state, table } from "./parts.js";

const UNITS = {
  requests: "requests", tokens: "tokens", concurrency: "at once",
  budget_tokens: "tokens", budget_money: "",
};

export const view = {
  topics: ["limits"],

  render(context) {
    const found = context.data.limits;
    if (!found) return [heading("Limits"), loading()];
    const words = (context.params.get("find") ?? "").toLowerCase();
    const fits = (one) => `${one.limit} ${one.parts.join(" ")}`.toLowerCase().includes(words);
    const keys = found.keys.filter(fits);
    const refused = found.refused.filter(fits);
    const limited = keys.filter(isGone);
    return [
      heading("Limits", h("p", { class: "sum" }, limited.length
        ? state("warn", `${limited.length} ${limited.length === 1 ? "key has" : "keys have"} nothing left`)
        : state("good", "nobody is limited now"))),
      found.store === "open" && h("p", { class: "problem" },
        "The store does not answer: each limit does what its on_store_error says, and the figures are those of each worker alone."),
      h("div", { class: "filters" }, filter(context, "find", "Limit or key", { "data-filter": "" })),
      keys.length ? table("Keys", ["Limit", "Key", { text: "Used", class: "wide" }, { text: "Left", class: "num" },
        { text: "Full again", class: "num wide" }, { text: "Refused", class: "num" }], keys.map(keyRow))
        : words ? empty("No key fits the filter.")
          : empty("No limited request yet.", "Keys are listed once they are used. Limits are set on routes, and on API keys."),
      h("h2", {}, "Recently refused"),
      refused.length ? table("Refusals", ["When", "Limit", "Key", { text: "Route", class: "wide" }, { text: "Model", class: "wide" },
        { text: "Wait", class: "num" }, "Request"], refused.map(refusalRow))
        : empty("Nobody was refused."),
    ];
  },
};

/** Whether the next request is refused: nothing is left, or less than one. */
function isGone(one) {
  return one.unit === "budget_money" ? one.remaining <= one.size / 1000 : one.remaining < 1;
}

function amount(value, one) {
  if (one.unit === "budget_money") return money(value, one.currency);
  return short(Math.floor(value));
}

function who(one) {
  return one.parts.map((part, index) => h("span", { class: "part" },
    one.by ? h("span", { class: "quiet-text" }, `${one.by[index]} `) : null,
    h("code", {}, part.replace(/^[tsc]:/, "") || "–")));
}

function keyRow(one) {
  const used = 1 - one.remaining / one.size;
  const rate = one.per_s ? `${number(one.per_s >= 1 ? one.per_s : one.per_s * 60)} a ${one.per_s >= 1 ? "second" : "minute"}` : one.period ? `each ${one.period}` : "";
  return h("tr", { "data-key": `${one.limit} ${one.unit} ${one.parts.join(" ")}`, class: isGone(one) ? "hit" : null },
    h("td", {}, h("b", {}, one.limit), h("span", { class: "why" }, [one.unit.replace("_", " of "), rate].filter(Boolean).join(", "))),
    h("td", { class: "main-cell" }, who(one)),
    h("td", { class: "gauge-cell wide" }, bar(used, used >= 1 ? "bad" : used > 0.8 ? "warn" : "")),
    h("td", { class: "num" }, isGone(one) ? state("bad", "none") : amount(one.remaining, one),
      h("span", { class: "why" }, `of ${amount(one.size, one)} ${UNITS[one.unit]}`)),
    h("td", { class: "num wide" }, one.unit === "concurrency" ? "–" : one.wait_s > 0 ? age(one.wait_s) : "full"),
    h("td", { class: "num" }, one.refused ? number(one.refused) : "–",
      one.refused_at ? h("span", { class: "why" }, clock(one.refused_at)) : null),
  );
}

function refusalRow(one) {
  return h("tr", { "data-key": `${one.request_id} ${one.limit}` },
    h("td", {}, clock(one.at)),
    h("td", {}, one.limit, h("span", { class: "why" }, one.unit.replace("_", " of "))),
    h("td", { class: "main-cell" }, who(one)),
    h("td", { class: "wide" }, one.route ?? "–"),
    h("td", { class: "wide" }, one.model ?? "–"),
    h("td", { class: "num" }, seconds(one.wait_s)),
    h("td", {}, h("a", { href: `/requests/${encodeURIComponent(one.request_id)}`, "data-row": "" }, h("code", {}, one.request_id.slice(0, 8)))),
  );
}
