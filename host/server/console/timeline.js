// One job's attempts as bars over time, made from its events.

import { h, s, span } from "./dom.js";

const [WIDTH, LEFT, ROW] = [900, 150, 26];
const KINDS = [
  ["dispatch", "being published"], ["ack", "waiting for the ACK"], ["work", "at work"],
  ["settle", "being settled"], ["wait", "waiting to be tried again"],
];
/** What an attempt is doing after an event of this type. */
const AFTER = {
  attempt_created: "dispatch", publish_failed: "dispatch", directive_sent: "ack", acked: "work",
  lease_renewed: "work", result_received: "settle", retry_scheduled: "wait",
};
const ENDS = new Set(["step_succeeded", "step_failed", "step_cancelled", "step_skipped", "job_cancelled", "redriven"]);

/** The rows: `{ name, segments: [{ kind, from, to }], failed }`, one an attempt. */
export function attempts(events, now) {
  const rows = [];
  let open = null;
  const close = (at) => {
    if (open) open.row.segments.push({ kind: open.kind, from: open.from, to: at });
    open = null;
  };
  for (const event of events) {
    const at = Date.parse(event.at);
    if (event.type === "attempt_created") {
      close(at);
      rows.push({ name: `${event.step_id} #${event.attempt_no}`, segments: [], failed: false });
    }
    const row = rows.at(-1);
    const kind = AFTER[event.type];
    if (row && kind) {
      if (open?.kind !== kind) {
        close(at);
        open = { row, kind, from: at };
      }
      if (event.type === "retry_scheduled") row.failed = true;
    } else if (ENDS.has(event.type)) {
      close(at);
      if (row && event.type === "step_failed") row.failed = true;
    }
  }
  close(now);
  return rows;
}

export function timeline(events, isOver) {
  const last = events.length ? Date.parse(events.at(-1).at) : 0;
  const rows = attempts(events, isOver ? last : Date.now());
  if (rows.length === 0) return h("p", { class: "quiet" }, "No attempt was made yet.");
  const from = Date.parse(events[0].at);
  const to = Math.max(...rows.flatMap(({ segments }) => segments.map((it) => it.to)), from + 1);
  const x = (at) => LEFT + ((at - from) / (to - from)) * (WIDTH - LEFT - 10);
  const shapes = rows.flatMap(({ name, segments, failed }, index) => {
    const y = index * ROW;
    const drawn = segments.map(({ kind, from: start, to: end }) =>
      s("rect", { class: `seg-${kind}`, x: x(start), y: y + 5, width: Math.max(x(end) - x(start), 2), height: ROW - 10, rx: 2 },
        s("title", {}, `${name}: ${word(kind)}, ${span(end - start)}`)));
    const end = segments.at(-1)?.to ?? from;
    const mark = failed ? [s("circle", { class: "mark-bad", cx: x(end), cy: y + ROW / 2, r: 5 }, s("title", {}, `${name} failed`))] : [];
    return [s("text", { x: LEFT - 8, y: y + ROW / 2 + 4, "text-anchor": "end" }, name), ...drawn, ...mark];
  });
  const height = rows.length * ROW + 18;
  const scale = [s("text", { x: LEFT, y: height - 3 }, "0"), s("text", { x: WIDTH - 10, y: height - 3, "text-anchor": "end" }, span(to - from))];
  const label = rows.map(({ name, segments, failed }) =>
    `${name}: ${segments.map((it) => `${word(it.kind)} ${span(it.to - it.from)}`).join(", ")}${failed ? ", failed" : ""}`).join("; ");
  const legend = KINDS.map(([kind, text]) => h("li", {},
    s("svg", { class: "plot", viewBox: "0 0 22 10", "aria-hidden": "true" }, s("rect", { class: `seg-${kind}`, width: 22, height: 10 })), text));
  return h("div", {},
    s("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": `Attempts. ${label}` }, shapes, scale),
    h("ul", { class: "legend" }, legend));
}

function word(kind) {
  return KINDS.find(([name]) => name === kind)[1];
}
