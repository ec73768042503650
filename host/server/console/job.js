// One job, live: its state, its attempts over time, its steps, and every event with what was decided and why.

import { follow, get, post } from "./api.js";
import { facts, h, notify, span, state, table, time } from "./dom.js";
import { timeline } from "./timeline.js";

const OVER = new Set(["SUCCEEDED", "FAILED_FINAL", "CANCELLED"]);
const FRAME_MS = 100;

export async function job(place, [id], signal) {
  const path = `/v1/jobs/${encodeURIComponent(id)}`;
  const events = [];
  const parts = { head: h("div"), timeline: h("div"), steps: h("div"), events: h("ol", { class: "events" }) };
  place.replaceChildren(
    parts.head,
    h("h2", {}, "Attempts"), h("div", { class: "card" }, parts.timeline),
    h("h2", {}, "Steps"), parts.steps,
    h("h2", {}, "Events"), parts.events);

  const refresh = async () => {
    const [shown, { steps }] = await Promise.all([get(path), get(`${path}/steps`)]);
    if (signal.aborted) return shown;
    parts.head.replaceChildren(...head(shown, path, refresh));
    parts.steps.replaceChildren(stepTable(steps));
    parts.timeline.replaceChildren(timeline(events, OVER.has(shown.state)));
    return shown;
  };
  const take = (event) => {
    events.push(event);
    parts.events.append(eventItem(event));
  };

  await refresh();
  let due = null;
  const soon = () => { due ??= setTimeout(() => { due = null; refresh(); }, FRAME_MS); };
  while (!signal.aborted) {
    const after = events.at(-1)?.seq ?? 0;
    await follow(`${path}/events?after=${after}`, (event) => { take(event); soon(); }, signal).catch((error) => {
      if (!signal.aborted) throw error;
    });
    if (signal.aborted) return;
    // The stream ends with the job, or when the host stops; a redrive makes the job go on.
    const shown = await refresh();
    if (OVER.has(shown.state)) await moved(path, shown, signal);
  }
}

/** Waits until a job that is over is something else. */
async function moved(path, shown, signal) {
  while (!signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, 3000));
    if (signal.aborted || (await get(path)).state !== shown.state) return;
  }
}

function head(job, path, refresh) {
  const act = (verb, question) => async () => {
    if (!confirm(question)) return;
    try {
      await post(`${path}:${verb}`);
      notify(`${verb} was accepted`, "good");
      await refresh();
    } catch (error) {
      notify(error.message, "bad");
    }
  };
  const cancel = h("button", { type: "button", class: "danger", onclick: act("cancel", "Cancel this job? Nothing new starts.") }, "Cancel");
  const redrive = h("button", { type: "button", onclick: act("redrive", "Start this job again at the step that failed?") }, "Redrive");
  const end = job.completed_at ? new Date(job.completed_at) : new Date();
  return [
    h("h1", {}, "Job ", h("span", { class: "mono" }, job.jobId)),
    h("p", { class: "row" }, state(job.state), !OVER.has(job.state) && job.state !== "CANCELLING" ? cancel : null,
      job.state === "FAILED_FINAL" ? redrive : null),
    job.error_code ? h("p", { class: "notice bad" }, h("strong", {}, job.error_code), `: ${job.error_message}`) : null,
    h("div", { class: "card" }, facts([
      ["request type", `${job.request_type} (${job.protocol_id})`],
      ["tenant", job.tenant_id],
      ["document", job.doc_id],
      ["input", uri(job.input_ref)],
      ["output", uri(job.output_ref)],
      ["mode", `${job.mode}: ${job.decision_reason}`],
      ["lane, priority", `${job.lane}, ${job.priority}`],
      ["registry generation", String(job.registry_generation)],
      ["correlation", job.correlation_id],
      ["accepted", time(job.created_at)],
      [job.completed_at ? "took" : "for", span(end - new Date(job.created_at))],
    ])),
  ].filter(Boolean);
}

function uri(ref) {
  return h("span", { class: "mono" }, typeof ref === "string" ? ref : ref?.uri ?? "–");
}

function stepTable(steps) {
  const columns = [
    ["step", (step) => step.step_id],
    ["state", (step) => state(step.state)],
    ["service", (step) => step.service],
    ["attempt", (step) => `${step.attempt_no} of ${step.max_attempts}`],
    ["progress", (step) => (step.progress ? `${step.progress.percent ?? "?"} % ${step.progress.message ?? ""}` : "–")],
    ["lease ends", (step) => time(step.lease_expires_at)],
    ["plugin", (step) => (step.plugin ? `${step.plugin.id}@${step.plugin.version}` : "–")],
    ["artifacts", (step) => h("span", {}, step.artifact_refs.map((ref) => h("div", {}, uri(ref))))],
    ["why", (step) => step.skip_reason ?? step.last_error_message ?? ""],
  ];
  return table("Steps", columns, steps, "This job has no steps.");
}

function eventItem(event) {
  const { seq, at, type, step_id: step, attempt_no: attempt, ...details } = event;
  const where = [step, attempt ? `attempt ${attempt}` : null].filter(Boolean).join(", ");
  const known = Object.entries(details).filter(([, value]) => value !== null && value !== undefined);
  const title = `${type.replaceAll("_", " ")}${where ? ` (${where})` : ""}`;
  const said = summary(type, details);
  const body = known.length === 0 ? null : h("details", {}, h("summary", {}, said || "details"),
    h("pre", { tabindex: "0" }, JSON.stringify(Object.fromEntries(known), null, 2)));
  return h("li", { value: seq }, h("strong", {}, title), " ", time(at), body);
}

/** One line that says what matters about an event. */
function summary(type, details) {
  const { error, plugin, function: asked, output, reason, service } = details;
  if (type === "decided") return `${plugin.id}@${plugin.version} ${asked}: ${JSON.stringify(output).slice(0, 120)}`;
  if (error) return `${error.code}: ${error.message}`;
  return reason ?? service ?? "";
}
