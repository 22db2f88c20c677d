// Numbers and times for people: few digits, always with their unit, of the same width.

const locale = "en-GB";
const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const NONE = "–";

export const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);

/** Three digits that matter: 0.42, 7.31, 42.7, 1,234. */
export function number(value) {
  if (!known(value)) return NONE;
  const size = Math.abs(value);
  if (size >= 1e6) return short(value);
  if (size >= 100 || Number.isInteger(value)) return whole.format(value);
  return value.toFixed(size >= 10 ? 1 : 2);
}

/** 950, 12.3 k, 4.56 M. */
export function short(value) {
  if (!known(value)) return NONE;
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (Math.abs(value) >= size) {
      const scaled = value / (unit === "k" ? 1e3 : size);
      return `${scaled.toFixed(scaled >= 100 ? 0 : 1)} ${unit}`;
    }
  }
  return whole.format(value);
}

/** A duration in seconds, as value and unit. */
export function seconds(value) {
  if (!known(value)) return NONE;
  if (value === 0) return "0";
  if (value < 0.00095) return `${Math.round(value * 1e6)} µs`;
  if (value < 0.0095) return `${(value * 1e3).toFixed(1)} ms`;
  if (value < 0.9995) return `${whole.format(value * 1e3)} ms`;
  if (value < 9.95) return `${value.toFixed(2)} s`;
  if (value < 99.5) return `${value.toFixed(1)} s`;
  return age(value);
}

/** Longer times, roughly: 42 s, 12 min, 3 h 20 min, 5 d. */
export function age(value) {
  if (!known(value)) return NONE;
  if (value < 0.5) return "< 1 s";
  if (value < 100) return `${Math.round(value)} s`;
  const minutes = Math.round(value / 60);
  if (minutes < 100) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} d`;
}

export function bytes(value) {
  if (!known(value)) return NONE;
  for (const [size, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (value >= size) return `${(value / size).toFixed(value / size >= 100 ? 0 : 1)} ${unit}`;
  }
  return `${value} B`;
}

export function percent(part) {
  if (!known(part)) return NONE;
  const value = part * 100;
  return `${value === 0 ? "0" : value < 0.1 ? "< 0.1" : value < 10 ? value.toFixed(1) : value.toFixed(0)} %`;
}

export function money(value, currency) {
  if (!known(value)) return NONE;
  const digits = value !== 0 && Math.abs(value) < 1 ? 4 : 2;
  return `${value.toLocaleString(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits })} ${currency ?? ""}`.trim();
}

/** Time of day of seconds since the epoch; with the date, if it was another day. */
export function clock(at) {
  if (!known(at)) return NONE;
  const when = new Date(at * 1e3);
  const time = when.toLocaleTimeString(locale);
  const day = when.toLocaleDateString("en-CA");
  return day === new Date().toLocaleDateString("en-CA") ? time : `${day} ${time}`;
}

const UNSEEN = /[\p{Cc}\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu;

/** A name as it is, but for what cannot be seen or turns the order of others: that is spelt out. */
export function name(text) {
  return text.replace(UNSEEN, (one) => `\\u${one.codePointAt(0).toString(16).padStart(4, "0")}`);
}
