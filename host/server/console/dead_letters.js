// What failed for good, grouped by what went wrong, and starting it again at a pace.

import { get, post } from "./api.js";
import { h, notify, number, table, time } from "./dom.js";
import { repeat } from "./live.js";

export async function deadLetters(place, _, signal) {
  const groups = h("div");
  const queues = h("div");
  const redrives = h("div");
  place.replaceChildren(h("h1", {}, "Dead letters"), groups, h("h2", {}, "Given up by the bus"), queues, h("h2", {}, "Redrives"), redrives);
  const refresh = async () => {
    const [letters, list] = await Promise.all([get("/v1/dead-letters"), get("/v1/redrives")]);
    if (signal.aborted) return;
    groups.replaceChildren(groupTable(letters.groups, refresh));
    queues.replaceChildren(queueTable(letters.queues));
    redrives.replaceChildren(redriveTable(list.redrives, refresh));
  };
  await repeat(3000, signal, refresh);
}

function groupTable(groups, refresh) {
  const again = (group) => async () => {
    try {
      const filter = { signature: group.signature };
      const { matched, matched_at_least: atLeast } = await post("/v1/redrives", { filter, dry_run: true });
      if (!confirm(`Start ${atLeast ? "at least " : ""}${matched} jobs again, 10 a second?`)) return;
      await post("/v1/redrives", { filter, rate: 10 });
      notify("The redrive is under way.", "good");
      await refresh();
    } catch (error) {
      notify(error.message, "bad");
    }
  };
  const columns = [
    ["error", (group) => h("span", {}, h("strong", {}, group.error_code), h("div", { class: "quiet" }, group.message))],
    ["step", (group) => `${group.step_id} (${group.service}${group.plugin ? `, ${group.plugin}` : ""})`],
    ["jobs", (group) => number(group.count), true],
    ["last", (group) => time(group.last_at)],
    ["samples", (group) => h("span", {}, group.samples.slice(0, 3).map(({ jobId }) =>
      h("div", {}, h("a", { class: "mono", href: `#/jobs/${jobId}` }, jobId))))],
    ["action", (group) => h("button", { type: "button", onclick: again(group) }, "Redrive all")],
  ];
  return table("Jobs that failed for good", columns, groups, "No job has failed for good.");
}

function queueTable(queues) {
  if (queues.length === 0) return h("p", { class: "quiet" }, "No message was given up by the bus.");
  const columns = [
    ["lane", (queue) => queue.lane, true],
    ["service", (queue) => queue.service],
    ["messages", (queue) => number(queue.messages), true],
  ];
  return table("Dead-letter queues", columns, queues, "");
}

function redriveTable(redrives, refresh) {
  const stop = (redrive) => async () => {
    try {
      await post(`/v1/redrives/${redrive.id}:cancel`);
      await refresh();
    } catch (error) {
      notify(error.message, "bad");
    }
  };
  const isRunning = (redrive) => redrive.state === "RUNNING";
  const columns = [
    ["redrive", (it) => h("span", { class: "mono" }, it.id)],
    ["state", (it) => h("span", { class: `pill ${isRunning(it) ? "busy" : ""}` }, it.state)],
    ["progress", progress],
    ["left as they were", (it) => number(it.refused), true],
    ["by", (it) => it.requested_by],
    ["why", (it) => it.reason ?? ""],
    ["begun", (it) => time(it.created_at)],
    ["action", (it) => (isRunning(it) ? h("button", { type: "button", onclick: stop(it) }, "Stop") : "")],
  ];
  return table("Redrives", columns, redrives, "None was begun.");
}

function progress({ redriven, refused, matched }) {
  const done = redriven + refused;
  return h("span", {}, h("progress", { value: done, max: Math.max(matched, done, 1), "aria-label": "progress" }), ` ${number(redriven)} of ${number(matched)}`);
}
