// A few series over a range of time, drawn by uPlot in the colours of the theme.

import { h } from "./dom.js";

const uPlot = window.uPlot;
const HEIGHT = 150;
const DAY_S = 86_400;

/** Steps between the ticks of an axis that counts whole things. */
export const WHOLE_STEPS = Array.from({ length: 10 }, (_, power) => [1, 2, 5].map((step) => step * 10 ** power)).flat();

const locale = "en-GB";
const AXIS = { hour: "2-digit", minute: "2-digit" };
const DAY = { weekday: "short", day: "numeric" };

/** A colour of the theme as a canvas takes it: there, no variable and no `light-dark()` is known. */
export function colour(name, share = "100%") {
  const probe = h("i", { hidden: true, style: { color: `color-mix(in srgb, var(${name}) ${share}, transparent)` } });
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** The font of what stands at the axes. */
export const font = () => `11px ${getComputedStyle(document.body).fontFamily}`;

/** One plot with its title and legend. Made once, then given data as it comes. */
export class Chart {
  /**
   * `series` are { name, dash, fill, width, colour: a CSS variable }; `format` writes a value. The
   * cursors of plots with the same `sync` move together. `range` is { seconds, step, words }.
   * `open(since, until)` returns the address that a click on a moment leads to. The axis reaches at
   * least to `least`. `whole`: its ticks are whole numbers.
   */
  constructor(title, series, { format, sync, range, open, least = 1e-3, whole = false }) {
    Object.assign(this, { title, series, format, sync, range, open, least, whole, index: null, byKeys: false, data: [[]] });
    this.values = series.map(() => h("b", {}, "–"));
    this.box = h("div", { class: "plot-box", role: "img" });
    this.when = h("span", {}, "");
    this.link = h("a", { class: "when", onkeydown: (event) => this.keyed(event) }, "Requests", this.when);
    this.element = h("figure", { class: "card plot", "data-keep": "", "data-key": `${title} ${range.words} ${series.length}` },
      h("figcaption", {}, h("h2", {}, title), this.link, h("span", { class: "legend" }, series.map((one, index) =>
        h("span", {}, h("svg", { width: "18", height: "8", "aria-hidden": "true" },
          h("line", {
            x1: "0", x2: "18", y1: "4", y2: "4", class: "key-line",
            style: { stroke: `var(${one.colour})` }, "stroke-dasharray": one.dash?.join(" ") ?? null,
          })), " ", one.name, " ", this.values[index])))),
      this.box);
    this.box.onclick = () => {
      if (this.index !== null) this.link.click();
    };
    this.box.addEventListener("mousemove", () => { this.byKeys = false; }, { capture: true });
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(this.box);
  }

  /** `at` are the ends of the periods in seconds since the epoch, `columns` an array for each series. */
  set(at, columns, until = at.at(-1)) {
    this.until = until;
    this.data = [at, ...columns];
    if (at.length && !this.plot) this.draw();
    else this.plot?.setData(this.data);
    if (this.index === null || this.index >= at.length) this.tell(null);
    const last = columns.map((one, index) => `${this.series[index].name} ${this.format(one.at(-1))}`);
    this.box.setAttribute("aria-label", `${this.title}, ${this.range.words}; last ${last.join(", ")}`);
  }

  draw() {
    this.plot?.destroy();
    const axis = {
      stroke: colour("--quiet"), font: font(),
      ticks: { show: false }, grid: { stroke: colour("--edge"), width: 1 },
    };
    const words = this.range.seconds > DAY_S ? DAY : AXIS;
    this.plot = new uPlot({
      width: this.box.clientWidth || 320, height: HEIGHT,
      legend: { show: false },
      padding: [8, 8, 0, 0],
      cursor: { sync: { key: this.sync }, y: false, points: { size: 6 }, drag: { setScale: false } },
      // The library tells a moment later what the cursor is on: the keys have said it exactly.
      hooks: { setCursor: [(plot) => this.byKeys || this.tell(plot.cursor.idx ?? null)] },
      scales: {
        x: { time: true, range: () => [this.until - this.range.seconds, this.until] },
        y: { range: (_, __, to) => [0, Math.max((to ?? 0) * 1.1, this.least)] },
      },
      axes: [
        {
          ...axis, space: 60, size: 24, grid: { show: false }, incrs: words === DAY ? [1, 2, 7].map((days) => days * DAY_S) : undefined,
          values: (_, ticks) => ticks.map((one) => moment(one, words)),
        },
        { ...axis, space: 36, size: 58, incrs: this.whole ? WHOLE_STEPS : undefined, values: (_, ticks) => ticks.map((one) => this.format(one)) },
      ],
      series: [{}, ...this.series.map((one) => ({
        label: one.name, stroke: colour(one.colour), width: one.width ?? 1.5, dash: one.dash,
        fill: one.fill ? colour(one.colour, "13%") : undefined,
        spanGaps: false, points: { show: (plot, index) => (plot.data[index].filter((value) => value !== null).length < 8) },
      }))],
    }, this.data, this.box);
  }

  /** Tell the values at a moment; at none, the last ones. */
  tell(index) {
    this.index = index;
    const at = index ?? this.data[0].length - 1;
    this.values.forEach((value, one) => {
      value.textContent = this.format(this.data[one + 1]?.[at]);
    });
    const end = this.data[0][at];
    const { seconds, step } = this.range;
    const chosen = index !== null && end !== undefined;
    this.when.textContent = chosen ? ` at ${moment(end, seconds > DAY_S ? { ...DAY, ...AXIS } : step < 60 ? { ...AXIS, second: "2-digit" } : AXIS)}` : "";
    const until = chosen ? end : this.until ?? Date.now() / 1e3;
    this.link.setAttribute("href", this.open(new Date((until - (chosen ? step : seconds)) * 1e3), new Date(until * 1e3)));
  }

  /** The arrow keys move along the plot, and Enter opens the requests of that moment. */
  keyed(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const [at] = this.data;
    if (!step || !this.plot || !at.length) return;
    event.preventDefault();
    const index = Math.max(0, Math.min(at.length - 1, (this.index ?? at.length) + step));
    this.byKeys = true;
    this.plot.setCursor({ left: this.plot.valToPos(at[index], "x"), top: 0 });
    this.tell(index);
  }

  fit() {
    if (this.plot && this.box.clientWidth && this.plot.width !== this.box.clientWidth) {
      this.plot.setSize({ width: this.box.clientWidth, height: HEIGHT });
    }
  }

  themed() {
    if (this.plot) this.draw();
  }

  close() {
    this.observer.disconnect();
    this.plot?.destroy();
  }
}

function moment(at, options) {
  return new Date(at * 1e3).toLocaleString(locale, options);
}
