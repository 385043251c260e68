// The course of a few numbers as a line without axes, and in words.

// The `d` of a path through the values, the newest at the right edge; the lower edge is `floor`, or the
// smallest value.
export function linePath(values, width, height, floor) {
  const known = values.filter((value) => Number.isFinite(value));
  if (known.length < 2) return "";
  const low = floor ?? Math.min(...known);
  const range = Math.max(...known) - low || 1;
  const step = width / (values.length - 1);
  let path = "";
  values.forEach((value, at) => {
    if (!Number.isFinite(value)) return;
    path += `${path ? "L" : "M"}${(at * step).toFixed(1)} ${(height - 1 - ((value - low) / range) * (height - 2)).toFixed(1)}`;
  });
  return path;
}

const SAME = 0.03;

// Newest fifth against oldest fifth: { sign, text }; "" for fewer than five values.
export function trend(values) {
  if (values.length < 5) return { sign: "", text: "too few values for a trend" };
  const part = Math.ceil(values.length / 5);
  const mean = (some) => some.reduce((sum, value) => sum + value, 0) / some.length;
  const [old, now] = [mean(values.slice(0, part)), mean(values.slice(-part))];
  const change = old ? (now - old) / Math.abs(old) : 0;
  const size = `${Math.abs(100 * change).toFixed(0)} %`;
  if (change > SAME) return { sign: "\u2197", text: `rising, ${size} over the last ${values.length} values` };
  if (change < -SAME) return { sign: "\u2198", text: `falling, ${size} over the last ${values.length} values` };
  return { sign: "\u2192", text: "steady" };
}
