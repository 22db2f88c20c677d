// When the tokens of an answer came: a tick each, and the silences between them that are stalls.

import { h } from "../dom.js";
import { seconds } from "../format.js";

const STALL_S = 1;

/** The silences longer than `least` between moments, as [from, to]. */
export function stalls(moments, least = STALL_S) {
  const found = [];
  for (let index = 1; index < moments.length; index++) {
    if (moments[index] - moments[index - 1] >= least) found.push([moments[index - 1], moments[index]]);
  }
  return found;
}

/** `moments` are seconds since the beginning; `total` is where the drawing ends. */
export function timeline(moments, total, { first = null, least = STALL_S, found = null } = {}) {
  const place = (at) => `${(100 * Math.min(1, at / total)).toFixed(3)}%`;
  const silent = found ?? stalls(moments, least);
  // Beyond a few hundred, ticks lie on one another.
  const step = Math.max(1, Math.ceil(moments.length / 400));
  const ticks = moments.filter((_, index) => index % step === 0);
  const words = `${moments.length} events in ${seconds(total)}${silent.length ? `, ${silent.length} stalls, the longest ${seconds(Math.max(...silent.map(([a, b]) => b - a)))}` : ", no stalls"}`;
  return h("div", { class: "timeline" },
    h("svg", { width: "100%", height: "28", role: "img", "aria-label": words },
      h("rect", { class: "ground", x: "0", y: "13", width: "100%", height: "2" }),
      first !== null && h("rect", { class: "wait", x: "0", y: "12", width: place(first), height: "4" }),
      silent.map(([from, to]) => h("rect", {
        class: "stall", x: place(from), y: "4", width: place(to - from), height: "20",
      }, h("title", { svg: true }, `stalled for ${seconds(to - from)}`))),
      ticks.map((at) => h("rect", { class: "tick", x: place(at), y: "6", width: "1.5", height: "16" }))),
    h("p", { class: "scale" }, h("span", {}, "0"), silent.length > 0 && h("span", { class: "stall-word" },
      `■ ${silent.length} ${silent.length === 1 ? "stall" : "stalls"}, longest ${seconds(Math.max(...silent.map(([a, b]) => b - a)))}`), h("span", {}, seconds(total))),
  );
}
