// When the pieces of an answer came: the wait, the flow, and the silences in it that are stalls.

import { h } from "../dom.js";
import { seconds } from "../format.js";

const TICKS = 400;

/** The silences of `least` seconds or more between moments, as [from, to]. */
export function stalls(moments, least) {
  const found = [];
  for (let index = 1; index < moments.length; index++) {
    if (moments[index] - moments[index - 1] >= least) found.push([moments[index - 1], moments[index]]);
  }
  return found;
}

/**
 * Everything in seconds since the beginning. `moments` are those of single pieces, where they are
 * known; `first` and `last` are of all. `broken`: it did not end as it should.
 */
export function timeline({ total, first, last, moments = [], silent = [], pieces = moments.length, broken = null }) {
  const place = (at) => `${(100 * Math.max(0, Math.min(1, at / total))).toFixed(3)}%`;
  // Beyond a few hundred, ticks lie on one another.
  const step = Math.max(1, Math.ceil(moments.length / TICKS));
  const longest = silent.length ? Math.max(...silent.map(([from, to]) => to - from)) : 0;
  const told = silent.length
    ? `${silent.length} ${silent.length === 1 ? "stall" : "stalls"}, the longest ${seconds(longest)}` : "no stall";
  return h("div", { class: "timeline" },
    h("svg", { width: "100%", height: "30", role: "img", "aria-label": `${pieces} pieces in ${seconds(total)}; first after ${seconds(first)}; ${told}${broken ? `; ended by ${broken}` : ""}` },
      h("rect", { class: "ground", x: "0", y: "14", width: "100%", height: "2" }),
      first !== null && h("rect", { class: "wait", x: "0", y: "13", width: place(first), height: "4" }, h("title", { svg: true }, `waited ${seconds(first)}`)),
      first !== null && !moments.length && h("rect", { class: "flow", x: place(first), y: "8", width: place(last - first), height: "14" }),
      silent.map(([from, to]) => h("rect", { class: "stall", x: place(from), y: "4", width: place(to - from), height: "22" },
        h("title", { svg: true }, `silent for ${seconds(to - from)}, from ${seconds(from)} on`))),
      moments.filter((_, index) => index % step === 0).map((at) => h("rect", { class: "tick", x: place(at), y: "7", width: "1.5", height: "16" })),
      broken && h("rect", { class: "break", x: `calc(${place(total)} - 3px)`, y: "2", width: "3", height: "26" }, h("title", { svg: true }, broken))),
    h("p", { class: "scale" },
      h("span", {}, "0"),
      h("span", { class: "said" },
        first !== null && h("span", {}, h("i", { class: "swatch wait" }), ` first piece after ${seconds(first)}`),
        pieces > 0 && h("span", {}, h("i", { class: "swatch flow" }), ` ${pieces} pieces`),
        silent.length > 0 && h("span", { class: "warn" }, h("i", { class: "swatch stall" }), ` ${told}`),
        broken && h("span", { class: "bad" }, h("i", { class: "swatch break" }), ` ${broken}`)),
      h("span", {}, seconds(total))));
}
