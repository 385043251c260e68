// Numbers and times as people read them. Everything missing (null, undefined, NaN) is NONE.

export const NONE = "\u2013";
const MINUS = "\u2212";
const NARROW = "\u202f";
const known = (value) => typeof value === "number" && Number.isFinite(value);
const plain = (digits) => new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const FIXED = [0, 1, 2, 3, 4].map(plain);

// 12,345
export const count = (value) => (known(value) ? FIXED[0].format(value) : NONE);

// "1 model", "3 models"
export const many = (value, one, more = `${one}s`) => `${count(value)} ${value === 1 ? one : more}`;

// 0.4, 7.2, 1,204: one decimal below ten.
export const rate = (value) => (known(value) ? FIXED[value > 0 && value < 9.95 ? 1 : 0].format(value) : NONE);

// 950, 12.3k, 4.56M
export function compact(value) {
  if (!known(value)) return NONE;
  const size = Math.abs(value);
  if (size < 10_000) return rate(value);
  const [unit, name] = size < 1e6 ? [1e3, "k"] : size < 1e9 ? [1e6, "M"] : [1e9, "G"];
  return `${FIXED[size / unit < 100 ? 1 : 0].format(value / unit)}${name}`;
}

// 0.4812: four decimals below ten, fewer above.
export function loss(value) {
  if (!known(value)) return NONE;
  const size = Math.abs(value);
  return FIXED[size < 10 ? 4 : size < 1000 ? 2 : 0].format(value);
}

// Four significant digits, of whatever size.
export function number(value) {
  if (!known(value)) return NONE;
  if (value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e9)) return value.toExponential(2).replace("-", MINUS);
  return String(Number(value.toPrecision(4))).replace("-", MINUS);
}

// +0.0113, with a real minus sign.
export const signed = (value, digits = 4) =>
  known(value) ? (value < 0 ? MINUS : "+") + Math.abs(value).toFixed(digits) : NONE;

// 12 %, 0.4 %
export function percent(share) {
  if (!known(share)) return NONE;
  const value = 100 * share;
  return `${FIXED[value > 0 && value < 9.95 ? 1 : 0].format(value)}${NARROW}%`;
}

// 7.21 ms, 83 ms, 2.1 s
export function millis(value) {
  if (!known(value)) return NONE;
  if (value >= 1000) return `${FIXED[1].format(value / 1000)}${NARROW}s`;
  return `${FIXED[value < 10 ? 2 : value < 100 ? 1 : 0].format(value)}${NARROW}ms`;
}

// 148 MB, 1.2 GB
export function megabytes(value) {
  if (!known(value)) return NONE;
  return value >= 1000 ? `${FIXED[1].format(value / 1000)}${NARROW}GB` : `${FIXED[0].format(value)}${NARROW}MB`;
}

export const bytes = (value) =>
  known(value) && value < 1e6 ? (value < 1000 ? `${value}${NARROW}B` : `${FIXED[1].format(value / 1000)}${NARROW}kB`) : megabytes(value / 1e6);

// An age or a duration in its largest unit: 4 s, 12 min, 3 h, 9 d.
export function span(seconds) {
  if (!known(seconds)) return NONE;
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * size) return `${Math.floor(seconds / size)}${NARROW}${unit}`;
  }
  return `${Math.max(0, Math.floor(seconds))}${NARROW}s`;
}

// A duration to the second and below: 0.4 s, 12.3 s, 4 min 05 s, 2 h 07 min.
export function duration(seconds) {
  if (!known(seconds)) return NONE;
  if (seconds < 60) return `${FIXED[1].format(Math.max(0, seconds))}${NARROW}s`;
  const whole = Math.round(seconds);
  const two = (value) => String(value).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)}${NARROW}min ${two(whole % 60)}${NARROW}s`;
  return `${Math.floor(whole / 3600)}${NARROW}h ${two(Math.floor((whole % 3600) / 60))}${NARROW}min`;
}

// A time as the API gives it: ISO 8601, milliseconds or seconds since 1970, or "" for none.
export function date(value) {
  if (value === null || value === undefined || value === "" || value === 0) return null;
  const at = new Date(typeof value === "number" && value < 1e11 ? value * 1000 : value);
  return Number.isNaN(at.getTime()) ? null : at;
}

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const yearFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

// 12:03:10 by the clock of the reader.
export const clock = (value) => (date(value) ? clockFormat.format(date(value)) : NONE);

// 12:03:10.042 today, else as `moment`.
export function instant(value) {
  const at = date(value);
  return at ? `${moment(value)}.${String(at.getMilliseconds()).padStart(3, "0")}` : NONE;
}

// 12:03:10 today, else 3 Feb 12:03:10, else 3 Feb 2013 12:03:10.
export function moment(value) {
  const at = date(value);
  if (!at) return NONE;
  const now = new Date();
  if (now.toDateString() === at.toDateString()) return clockFormat.format(at);
  const day = now.getFullYear() === at.getFullYear() ? dayFormat : yearFormat;
  return `${day.format(at)} ${clockFormat.format(at)}`;
}

// The clock of the data (a replay may be in 2013): 2013-02-04 17:46, in UTC.
export function dataTime(value) {
  const at = date(value);
  return at ? at.toISOString().slice(0, 16).replace("T", " ") : NONE;
}

// Whether the data's clock and the wall's are so far apart that both must be shown (over an hour).
export const apart = (wall, data) => Boolean(date(wall) && date(data)) && Math.abs(date(wall) - date(data)) > 3_600_000;

// "12:03:10", or "12:03:10 (data of 2013-02-04 17:46)" where the two clocks differ.
export const clocks = (wall, data) => (apart(wall, data) ? `${moment(wall)} (data of ${dataTime(data)})` : moment(wall));

// "rolled_back" and "model.rolled_back" as words.
export const words = (name) => String(name ?? "").replaceAll("_", " ");
