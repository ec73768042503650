// Making elements, and the words for times and numbers. Text is always set as text, so nothing a job says is markup.

/** An element: `h("td", { class: "number" }, 5)`. `on*` members are listeners; null children are left out. */
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function s(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) element.append(child);
  }
  return element;
}

const TONES = {
  SUCCEEDED: "good", SKIPPED: "good", FAILED_FINAL: "bad", CANCELLED: "warn", CANCELLING: "warn",
  FAILED_RETRY: "warn", IN_PROGRESS: "busy", DISPATCHING: "busy", AWAITING_ACK: "busy",
};

/** A state, with a colour and its name, so that it can be read without the colour. */
export function state(name) {
  return h("span", { class: `pill ${TONES[name] ?? ""}` }, name);
}

export function time(text) {
  if (!text) return "–";
  const date = new Date(text);
  const sameDay = date.toDateString() === new Date().toDateString();
  const shown = sameDay ? date.toLocaleTimeString() : date.toLocaleString();
  return h("time", { datetime: text, title: text }, shown);
}

/** How long something took: `12 ms`, `3.4 s`, `2 min 5 s`. */
export function span(ms) {
  if (!Number.isFinite(ms)) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 120000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60000);
  if (minutes < 120) return `${minutes} min ${Math.round((ms % 60000) / 1000)} s`;
  return `${(ms / 3600000).toFixed(1)} h`;
}

export function number(value) {
  if (!Number.isFinite(value)) return "–";
  return value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });
}

/** A table whose rows become cards on a narrow screen. `columns`: `[label, cell(row), isNumber?]`. */
export function table(caption, columns, rows, empty) {
  if (rows.length === 0) return h("p", { class: "quiet" }, empty);
  const head = columns.map(([label, , isNumber]) => h("th", { scope: "col", class: isNumber && "number" }, label));
  const body = rows.map((row) => h("tr", {}, columns.map(([label, cell, isNumber]) =>
    h("td", { "data-label": label, class: isNumber && "number" }, cell(row)))));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { class: "cards" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

/** A definition list of facts; those without a value are left out. */
export function facts(entries) {
  const known = entries.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { class: "facts" }, known.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

/** Says something at the edge of the page for a while. */
export function notify(text, tone = "busy") {
  const notice = h("p", { class: `notice ${tone}` }, text);
  document.getElementById("notices").append(notice);
  setTimeout(() => notice.remove(), 8000);
}
