// Limits of keys, users and teams: their fields in forms, in words, and the bars of their budgets.

import { h } from "../dom.js";
import { field, group, listed } from "../form.js";
import { age, money, short } from "../format.js";
import { bar, state } from "./parts.js";

const FIELDS = [
  ["requests", "Requests", "such as 60/minute"],
  ["burst", "Requests at once", "default: the number of the rate"],
  ["tokens", "Tokens", "such as 100000/minute"],
  ["token_burst", "Tokens at once", "default: the number of the rate"],
  ["concurrency", "In progress at once", "requests"],
  ["warn_at", "Warn at", "share of a budget, such as 0.8"],
  ["budgets", "Budgets", "such as 500 USD/month, 1000000 tokens/day"],
];
const NUMBERS = new Set(["burst", "token_burst", "concurrency", "warn_at"]);

export const UNLIMITED = { budgets: [] };

/** An allowance with its fields in the order of the form, to compare it with another. */
export function ordered(allowance) {
  return Object.fromEntries(FIELDS.map(([name]) => [name, allowance[name] ?? null]));
}

/** Fields of a form. `place` is the field of the document; `title` says whose limits they are. */
export function allowanceFields(place, title, allowance) {
  return [
    group(title),
    ...FIELDS.map(([name, label, hint]) => field(`${place}.${name}`, label, hint, {
      value: name === "budgets" ? allowance.budgets.join(", ") : String(allowance[name] ?? ""),
      inputmode: NUMBERS.has(name) ? "decimal" : null,
      wide: name === "budgets",
    })),
  ];
}

/** The allowance that the values of a form describe. Throws an error that names the field. */
export function allowanceOf(place, values) {
  const found = {};
  for (const [name, label] of FIELDS) {
    const text = values[`${place}.${name}`];
    if (name === "budgets") found[name] = listed(text);
    else if (!text) found[name] = null;
    else if (NUMBERS.has(name)) {
      found[name] = Number(text);
      if (Number.isNaN(found[name])) throw new Error(`${place}.${name}: ${label} has to be a number`);
    } else found[name] = text;
  }
  return found;
}

/** Limits in words, without the budgets. */
export function bounds({ requests, tokens, concurrency }) {
  return [
    requests && `${requests} requests`,
    tokens && `${tokens} tokens`,
    concurrency && `${concurrency} at once`,
  ].filter(Boolean);
}

/** Budgets with what is used of each. `budgets` is null if that is not known. */
export function budgetBars(budgets, allowance) {
  if (!budgets) {
    return allowance.budgets.length ? [h("span", { class: "why" }, `${allowance.budgets.join(", ")} (use not known)`)] : [];
  }
  return budgets.map((one) => {
    const used = one.used / one.size;
    const full = used >= 0.999;
    const kind = full ? "bad" : used >= (allowance.warn_at ?? 0.8) ? "warn" : "";
    const amount = (value) => (one.unit === "tokens" ? short(Math.round(value)) : money(value, one.unit));
    return h("div", { class: "budget", "data-key": one.budget, title: `starts anew in ${age(one.resets_in_s)}` },
      h("span", { class: "budget-words" },
        full ? state("bad", `${amount(one.used)} of ${one.budget}`) : `${amount(one.used)} of ${one.budget}`),
      bar(used, kind));
  });
}
