// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const one = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

export const count = (value) => whole.format(value);
export const rate = (value) => (value > 0 && value < 10 ? one.format(value) : whole.format(value));
export const megabytes = (value) => (value ? `${whole.format(value)} MB` : "");
export const loss = (value) => (value === null ? "?" : value.toFixed(4));
export const signed = (value, digits = 4) => (value >= 0 ? "+" : "\u2212") + Math.abs(value).toFixed(digits);

export function span(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["m", 60]]) {
    if (seconds >= 2 * size) return `${Math.round(seconds / size)} ${unit}`;
  }
  return `${Math.max(0, Math.round(seconds))} s`;
}

export function moment(time) {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return "";
  const today = new Date().toDateString() === at.toDateString();
  return today ? clock.format(at) : `${day.format(at)} ${clock.format(at)}`;
}
