// Pieces that several views are made of.

import { h } from "../dom.js";

const STATES = {
  good: ["●", "good"],
  warn: ["▲", "warn"],
  bad: ["■", "bad"],
  off: ["○", "off"],
};

/** A state told by shape, colour and word. */
export function state(kind, words) {
  const [glyph, name] = STATES[kind];
  return h("span", { class: `state ${name}` }, h("span", { "aria-hidden": "true" }, glyph), " ", words);
}

/** What there is when there is nothing: says why, and what to do. */
export function empty(title, ...body) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), ...body.map((one) => h("p", {}, one)));
}

/** While the first answer is on its way. */
export function loading() {
  return h("p", { class: "empty", "aria-busy": "true" }, "Loading…");
}

/** A heading with what belongs to it on its right. */
export function heading(title, ...more) {
  return h("div", { class: "heading" }, h("h1", {}, title), ...more);
}

/** A share of something as a bar. */
export function bar(part, kind = "") {
  const width = `${Math.max(0, Math.min(1, part)) * 100}%`;
  return h("span", { class: `gauge ${kind}`, "aria-hidden": "true" }, h("span", { style: { width } }));
}

/** A table that scrolls in its own box when it is wider than the page. */
export function table(label, head, rows, attributes = {}) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label, ...attributes },
    h("table", {},
      h("thead", {}, h("tr", {}, head.map((cell) =>
        cell instanceof Node ? cell : typeof cell === "string" ? h("th", { scope: "col" }, cell) : h("th", { scope: "col", class: cell.class ?? null }, cell.unseen ? h("span", { class: "unseen" }, cell.unseen) : cell.text)))),
      h("tbody", {}, rows)));
}

const COPIED_MS = 1500;
let copied = null;

/** A button that copies a text. `key` tells it from the others of the page. */
export function copyButton(context, key, text, { label = "Copy", what = "" } = {}) {
  return h("button", {
    type: "button", class: "copy", "data-key": `copy ${key}`, "aria-label": what ? `${label} ${what}` : null,
    onclick: async () => {
      await copy(text);
      copied = key;
      context.refresh();
      setTimeout(() => {
        if (copied === key) copied = null;
        context.refresh();
      }, COPIED_MS);
    },
  }, copied === key ? "Copied" : label);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS there is no clipboard to write to, unless it is localhost.
    const field = h("textarea", { class: "unseen", "aria-hidden": "true" }, text);
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}

/** The head of a column that the table can be sorted by. `sorted`: "ascending", "descending" or null. */
export function sortable(text, sorted, onclick, attributes = {}) {
  const arrow = { ascending: "↑", descending: "↓" }[sorted];
  return h("th", { scope: "col", "aria-sort": sorted, ...attributes },
    h("button", { type: "button", class: "sort", onclick }, text, h("span", { "aria-hidden": "true" }, arrow ? ` ${arrow}` : "")));
}

/** A field that is part of the address. */
export function filter(context, name, label, attributes = {}) {
  return h("label", { class: "field" }, h("span", {}, label),
    h("input", {
      type: "search", name, autocomplete: "off", spellcheck: "false",
      value: context.params.get(name) ?? "",
      oninput: (event) => context.set({ [name]: event.target.value }, { replace: true }),
      ...attributes,
    }));
}

/** A choice that is part of the address; options are [value, words]. */
export function choice(context, name, label, options) {
  return h("label", { class: "field" }, h("span", {}, label),
    h("select", {
      name, value: context.params.get(name) ?? "",
      onchange: (event) => context.set({ [name]: event.target.value }, { replace: true }),
    }, options.map(([value, words]) =>
      h("option", { value, selected: (context.params.get(name) ?? "") === value }, words))));
}
