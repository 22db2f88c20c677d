// The last hour of a few series, drawn by uPlot in the colours of the theme.

import { h } from "./dom.js";

const uPlot = window.uPlot;
const HEIGHT = 150;
const HOUR_S = 3600;

const locale = "en-GB";
const time = (at) => new Date(at * 1e3).toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit" });

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
  /** `series` are { name, dash, fill, colour: a CSS variable }; `format` writes a value. */
  constructor(title, series, format, sync) {
    this.series = series;
    this.format = format;
    this.sync = sync;
    this.values = series.map(() => h("b", {}, "–"));
    this.box = h("div", { class: "plot-box", role: "img" });
    this.title = title;
    this.when = h("span", { class: "quiet-text" });
    this.element = h("figure", { class: "card plot", "data-keep": "", "data-key": title },
      h("figcaption", {}, h("h2", {}, title), this.when, h("span", { class: "legend" }, series.map((one, index) =>
        h("span", {}, h("svg", { width: "18", height: "8", "aria-hidden": "true" },
          h("line", {
            x1: "0", x2: "18", y1: "4", y2: "4", class: "key-line",
            style: { stroke: `var(${one.colour})` }, "stroke-dasharray": one.dash?.join(" ") ?? null,
          })), " ", one.name, " ", this.values[index])))),
      this.box);
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(this.box);
  }

  /** `at` are seconds since the epoch, `columns` an array for each series. */
  set(at, columns) {
    this.data = [at, ...columns];
    if (at.length && !this.plot) this.draw();
    else this.plot?.setData(this.data);
    this.tell(null);
    const last = columns.map((one, index) => `${this.series[index].name} ${this.format(one.at(-1))}`);
    this.box.setAttribute("aria-label", `${this.title}, the last hour; now ${last.join(", ")}`);
  }

  draw() {
    this.plot?.destroy();
    const axis = {
      stroke: colour("--quiet"), font: font(),
      ticks: { show: false }, grid: { stroke: colour("--edge"), width: 1 },
    };
    this.plot = new uPlot({
      width: this.box.clientWidth || 320, height: HEIGHT,
      legend: { show: false },
      padding: [8, 8, 0, 0],
      cursor: { sync: { key: this.sync }, y: false, points: { size: 6 }, drag: { setScale: false } },
      hooks: { setCursor: [(plot) => this.tell(plot.cursor.idx)] },
      scales: {
        x: { time: true, range: (_, __, to) => [to - HOUR_S, to] },
        y: { range: (_, __, to) => [0, Math.max((to ?? 0) * 1.1, 1e-3)] },
      },
      axes: [
        { ...axis, space: 60, size: 24, grid: { show: false }, values: (_, ticks) => ticks.map(time) },
        { ...axis, space: 36, size: 58, values: (_, ticks) => ticks.map((one) => this.format(one)) },
      ],
      series: [{}, ...this.series.map((one) => ({
        label: one.name, stroke: colour(one.colour), width: 1.5, dash: one.dash,
        fill: one.fill ? colour(one.colour, "13%") : undefined,
        spanGaps: false, points: { show: (plot, index) => (plot.data[index].filter((value) => value !== null).length < 8) },
      }))],
    }, this.data, this.box);
  }

  tell(index) {
    const at = index ?? this.data[0].length - 1;
    this.values.forEach((value, one) => {
      value.textContent = this.format(this.data[one + 1][at]);
    });
    this.when.textContent = index === null || index === undefined ? "" : time(this.data[0][at]);
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
