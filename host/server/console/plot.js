// Small plots: lines over time and bars. Each says in words what it shows, for those who do not look.

import { h, s, number } from "./dom.js";

const [WIDTH, HEIGHT, LEFT, BOTTOM] = [420, 150, 44, 18];

/** Lines over the last minutes. `series`: `[{ name, points: [[ms since 1970, value]] }]`. */
export function lines(title, unit, series) {
  const values = series.flatMap(({ points }) => points.map(([, value]) => value)).filter(Number.isFinite);
  const times = series.flatMap(({ points }) => points.map(([at]) => at));
  const [from, to] = [Math.min(...times), Math.max(...times)];
  const top = niceTop(Math.max(...values, 0));
  const x = (at) => LEFT + ((at - from) / Math.max(to - from, 1)) * (WIDTH - LEFT - 6);
  const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - BOTTOM - 10);
  const paths = series.map(({ points }, index) => {
    const known = points.filter(([, value]) => Number.isFinite(value));
    const d = known.map(([at, value], n) => `${n ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    return s("path", { class: `line-${index}`, d });
  });
  const latest = series.map(({ name, points }) => `${name} ${number(points.at(-1)?.[1] ?? NaN)} ${unit}`);
  const axis = [0, 0.5, 1].flatMap((part) => [
    s("line", { class: "axis", x1: LEFT, x2: WIDTH, y1: y(top * part), y2: y(top * part) }),
    s("text", { x: LEFT - 5, y: y(top * part) + 4, "text-anchor": "end" }, number(top * part)),
  ]);
  const seconds = Math.round((to - from) / 1000);
  const since = s("text", { x: LEFT, y: HEIGHT - 3 }, Number.isFinite(seconds) ? `${seconds} s ago` : "");
  const now = s("text", { x: WIDTH - 4, y: HEIGHT - 3, "text-anchor": "end" }, "now");
  const label = `${title}: ${latest.join(", ")}`;
  const plot = s("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label },
    axis, paths, since, now);
  const legend = series.map((_, index) => h("li", {},
    s("svg", { class: "plot", viewBox: "0 0 22 10", "aria-hidden": "true" }, s("line", { class: `line-${index}`, x1: 0, x2: 22, y1: 5, y2: 5 })),
    latest[index]));
  return h("section", { class: "card" }, h("h3", {}, title), plot, h("ul", { class: "legend" }, legend));
}

/** One bar a label. */
export function bars(title, entries) {
  const top = niceTop(Math.max(...entries.map(([, value]) => value), 0));
  const step = (WIDTH - LEFT) / Math.max(entries.length, 1);
  const scale = (HEIGHT - BOTTOM - 10) / top;
  const shapes = entries.flatMap(([label, value], index) => {
    const x = LEFT + index * step;
    return [
      s("rect", { class: "bar", x: x + 2, width: Math.max(step - 4, 1), y: HEIGHT - BOTTOM - value * scale, height: value * scale },
        s("title", {}, `${label}: ${number(value)}`)),
      s("text", { x: x + step / 2, y: HEIGHT - 4, "text-anchor": "middle" }, label),
    ];
  });
  const full = s("text", { x: LEFT - 5, y: 14, "text-anchor": "end" }, number(top));
  const base = s("line", { class: "axis", x1: LEFT, x2: WIDTH, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM });
  const busy = entries.filter(([, value]) => value > 0).map(([label, value]) => `${label}: ${number(value)}`);
  const label = `${title}: ${busy.length ? busy.join(", ") : "none"}`;
  return h("section", { class: "card" }, h("h3", {}, title),
    s("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label }, base, full, shapes));
}

function niceTop(value) {
  if (!(value > 0)) return 1;
  const magnitude = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * magnitude).find((top) => top >= value);
}
