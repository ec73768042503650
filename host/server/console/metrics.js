// Reading what /metrics says, and turning counters into rates.

/** OpenMetrics text as `name -> [{ labels, value }]`. */
export function parse(text) {
  const families = new Map();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const match = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!match) continue;
    const [, name, inner, value] = match;
    const labels = {};
    for (const [, label, content] of (inner ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[label] = content;
    if (!families.has(name)) families.set(name, []);
    families.get(name).push({ labels, value: Number(value) });
  }
  return families;
}

export function sum(families, name, where = {}) {
  const samples = families.get(name);
  if (!samples) return NaN;
  const fits = ({ labels }) => Object.entries(where).every(([label, value]) => labels[label] === value);
  return samples.filter(fits).reduce((total, { value }) => total + value, 0);
}

/** A quantile of what a histogram saw between two readings, in its own unit; NaN when it saw nothing. */
export function quantile(before, after, name, q, where = {}) {
  const bounds = [...new Set((after.get(`${name}_bucket`) ?? []).map(({ labels }) => labels.le))];
  const counts = bounds.map((le) => {
    const now = sum(after, `${name}_bucket`, { ...where, le });
    const then = before.has(`${name}_bucket`) ? sum(before, `${name}_bucket`, { ...where, le }) : 0;
    return { bound: le === "+Inf" ? Infinity : Number(le), count: now - then };
  });
  counts.sort((a, b) => a.bound - b.bound);
  const all = counts.at(-1)?.count ?? 0;
  if (!(all > 0)) return NaN;
  const wanted = q * all;
  let [lower, below] = [0, 0];
  for (const { bound, count } of counts) {
    if (count >= wanted) {
      if (bound === Infinity) return lower;
      return lower + (bound - lower) * ((wanted - below) / Math.max(count - below, 1));
    }
    [lower, below] = [bound, count];
  }
  return lower;
}
