// The configuration that is served: with its defaults, in the units of the file, without secrets;
// and what each reload changed.

import { get, send } from "../api.js";
import { h } from "../dom.js";
import { clock, known } from "../format.js";
import { choice, empty, filter, heading, loading, state, table } from "./parts.js";

let shown = null;
let problem = null;
let busy = false;

export const view = {
  topics: ["config"],
  title: () => "Configuration",

  start(context) {
    shown = problem = null;
    read(context);
  },

  render(context) {
    const told = context.data.config ?? shown;
    if (problem && !shown) return [heading("Configuration"), h("p", { class: "problem", role: "alert" }, problem)];
    if (!shown || !told) return [heading("Configuration"), loading()];
    if (told.last_reload?.at !== shown.last_reload?.at) read(context);
    const words = (context.params.get("find") ?? "").toLowerCase();
    const whole = context.params.get("show") === "all" ? shown.config : filled(shown.config);
    const sections = Object.entries(whole)
      .map(([name, value]) => [name, lines(value, 0)])
      .map(([name, found]) => [name, words && !name.includes(words) ? kept(found, words) : found])
      .filter(([, found]) => found.length);
    return [
      heading("Configuration", h("button", { needs: "operator", onclick: () => reload(context), disabled: busy }, busy ? "Reading…" : "Read the file again")),
      h("p", { class: "facts" }, h("span", {}, h("code", {}, told.file)), " ", outcome(told.last_reload)),
      told.last_reload?.problems?.length > 0 && h("ul", { class: "problem" },
        told.last_reload.problems.map((one) => h("li", {}, one))),
      told.last_reload?.needs_restart?.length > 0 && h("p", { class: "hint" },
        `Takes effect after a restart: ${told.last_reload.needs_restart.join(", ")}.`),
      sources(shown),
      shown.reloads.length > 0 && reloads(shown.reloads),
      h("div", { class: "filters" }, filter(context, "find", "Key or value", { "data-filter": "" }),
        choice(context, "show", "Show", [["", "settings and defaults"], ["all", "also what is not set"]])),
      sections.length ? h("div", { class: "columns" }, halves(sections).map((half) => h("div", {}, half.map(([name, found]) =>
        h("details", { class: "section", "data-key": name, open: true },
          h("summary", { "data-row": "" }, h("h2", {}, name)), h("pre", { tabindex: "0", role: "region", "aria-label": name }, found.map(line)))))))
        : empty("Nothing in it fits."),
    ];
  },
};

/** In their order, about as many lines in each half. */
function halves(sections) {
  const lengths = sections.map(([, found]) => found.length + 3);
  const whole = lengths.reduce((sum, one) => sum + one, 0);
  let above = 0;
  const middle = lengths.findIndex((one) => (above += one) - one / 2 >= whole / 2);
  const at = middle < 1 ? sections.length : middle;
  return [sections.slice(0, at), sections.slice(at)];
}

async function read(context) {
  try {
    shown = await get("/api/config?units=file");
    problem = null;
  } catch (refused) {
    problem = refused.message;
  }
  context.refresh();
}

async function reload(context) {
  busy = true;
  context.refresh();
  try {
    await send("POST", "/api/reload");
  } catch {
    // what is wrong comes with the state
  }
  busy = false;
  await read(context);
  context.data.config = { file: shown.file, last_reload: shown.last_reload };
  context.refresh();
}

function outcome(last) {
  if (!last) return h("span", { class: "quiet-text" }, "as read at the start");
  return last.ok ? state("good", `read again at ${clock(last.at)}`)
    : state("bad", `the file was refused at ${clock(last.at)}; what was served before goes on`);
}

/** Where values come from, if not from the file alone. */
function sources({ included, overrides }) {
  return [
    included.length > 0 && h("p", { class: "hint" }, "Includes ", included.map((name, index) => [index ? ", " : "", h("code", {}, name)]), "."),
    overrides.length > 0 && table("Values set by the environment", ["Setting", "Variable"], overrides.map(({ variable, path }) =>
      h("tr", { "data-key": variable }, h("td", { class: "main-cell" }, h("code", {}, path)), h("td", {}, h("code", {}, variable))))),
  ];
}

/** The reloads since the start, each with what it changed. The newest is open. */
function reloads(found) {
  return h("section", { "aria-label": "Reloads" }, h("h2", {}, "Reloads"), found.map((one, index) => {
    const count = one.changes.length + one.more_changes;
    return h("details", { class: "section reload", "data-key": String(one.at), open: index === 0 && count > 0 },
      h("summary", { "data-row": "" }, state(one.ok ? "good" : "bad", clock(one.at)), " ", one.why, " ",
        h("span", { class: "quiet-text" }, !one.ok ? "refused, nothing was changed" : !count ? "nothing differs" : `${count} ${count === 1 ? "difference" : "differences"}`)),
      one.problems.length > 0 && h("ul", { class: "problem" }, one.problems.map((problem) => h("li", {}, problem))),
      count > 0 && table(`Changes at ${clock(one.at)}`, ["Setting", "Before", "After"], one.changes.map((change) =>
        h("tr", { "data-key": change.path }, h("td", { class: "main-cell" }, h("code", {}, change.path)),
          h("td", {}, before(change)), h("td", {}, after(change))))),
      one.more_changes > 0 && h("p", { class: "hint" }, `and ${one.more_changes} more`));
  }));
}

const before = ({ before: was, secret }) => (secret ? h("span", { class: "masked" }, "***") : known(was) ? written(was) : h("span", { class: "quiet-text" }, "not set"));
const after = ({ after: is, secret }) => (secret ? h("span", { class: "masked" }, "*** another value") : known(is) ? written(is) : h("span", { class: "quiet-text" }, "not set"));

/** A value as it stands in the file. */
function written(value) {
  if (value === null || typeof value !== "object" || short(value)) return h("code", {}, value !== null && typeof value === "object" ? flow(value) : scalar(value));
  return h("pre", { class: "line" }, lines(value, 0).map(line));
}

/** Without what is null or empty. */
function filled(value) {
  if (Array.isArray(value)) return value.map(filled);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, filled(one)]).filter(([, one]) =>
    one !== null && !(typeof one === "object" && Object.keys(one).length === 0)));
}

/** A value as lines of YAML: [depth, key, value, path]. */
function lines(value, depth, path = "") {
  const found = [];
  if (Array.isArray(value)) {
    for (const one of value) {
      if (one !== null && typeof one === "object") {
        const inner = lines(one, depth + 1, path);
        if (inner.length) found.push([depth, "-", ...inner[0].slice(2)], ...inner.slice(1));
      } else found.push([depth, "-", null, scalar(one), path]);
    }
    return found;
  }
  for (const [key, one] of Object.entries(value ?? {})) {
    const where = `${path}.${key}`;
    if (one !== null && typeof one === "object" && !short(one)) found.push([depth, "", key, null, where], ...lines(one, depth + 1, where));
    else found.push([depth, "", key, one !== null && typeof one === "object" ? flow(one) : scalar(one), where]);
  }
  return found;
}

function short(value) {
  const parts = Object.values(value);
  return parts.every((one) => one === null || typeof one !== "object") && flow(value).length < 60 && Array.isArray(value) || !parts.length;
}

function flow(value) {
  return Array.isArray(value) ? `[${value.map(scalar).join(", ")}]` : "{}";
}

function scalar(value) {
  if (typeof value !== "string") return String(value);
  return value === "" || /^[\s#&*!|>'"%@`{[?,-]|: |\s$|^[\d.+][\d._:eE+-]*$|^(true|false|null|yes|no|on|off|~)$/i.test(value) ? JSON.stringify(value) : value;
}

/** The lines that fit, and those they stand under. */
function kept(found, words) {
  const keep = new Set();
  found.forEach(([depth, , key, value], index) => {
    if (!`${key ?? ""}: ${value ?? ""}`.toLowerCase().includes(words)) return;
    keep.add(index);
    for (let above = index - 1, at = depth; above >= 0 && at > 0; above--) {
      if (found[above][0] < at) {
        keep.add(above);
        at = found[above][0];
      }
    }
  });
  return found.filter((_, index) => keep.has(index));
}

function line([depth, dash, key, value]) {
  return h("span", { class: "line" }, "  ".repeat(depth), dash ? "- " : "",
    key !== null ? [h("span", { class: "key" }, key), ":"] : "",
    value !== null ? [key !== null ? " " : "", h("span", { class: value === "***" ? "masked" : value === "null" ? "none" : "value" }, value)] : "", "\n");
}
