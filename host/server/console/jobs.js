// The list of jobs, newest first, with filters that are part of the address, and pages that hold while jobs arrive.

import { get } from "./api.js";
import { h, state, table, time, span } from "./dom.js";

const STATES = ["QUEUED", "DISPATCHING", "IN_PROGRESS", "CANCELLING", "SUCCEEDED", "FAILED_FINAL", "CANCELLED"];
const PAGE = 50;

export async function jobs(place, [query], signal) {
  const filters = new URLSearchParams(query ?? "");
  const rows = [];
  const list = h("div");
  const more = h("button", { type: "button", hidden: true }, "Show more");
  let cursor = null;

  const load = async () => {
    const asked = new URLSearchParams(filters);
    asked.set("limit", PAGE);
    if (cursor) asked.set("cursor", cursor);
    const page = await get(`/v1/jobs?${asked}`);
    if (signal.aborted) return;
    rows.push(...page.jobs);
    cursor = page.next_cursor;
    more.hidden = !cursor;
    list.replaceChildren(jobTable(rows));
  };
  more.addEventListener("click", load);
  place.replaceChildren(h("h1", {}, "Jobs"), filterForm(filters), list, h("p", {}, more));
  await load();
}

function filterForm(filters) {
  const field = (name, label, control) => h("label", { for: name }, label, control);
  const input = (name, label) => field(name, label, h("input", { id: name, name, value: filters.get(name) ?? "", size: 18 }));
  const options = ["", ...STATES].map((name) => h("option", { value: name, selected: name === (filters.get("state") ?? "") }, name || "any"));
  const submit = (event) => {
    event.preventDefault();
    const wanted = new URLSearchParams();
    for (const [name, value] of new FormData(event.target)) if (value.trim()) wanted.set(name, value.trim());
    location.hash = wanted.size ? `/jobs?${wanted}` : "/jobs";
  };
  return h("form", { class: "filters", onsubmit: submit, "aria-label": "Filters" },
    field("state", "State", h("select", { id: "state", name: "state" }, options)),
    input("tenant_id", "Tenant"),
    input("request_type", "Request type"),
    h("button", { class: "main" }, "Show"),
    h("a", { class: "button", href: "#/jobs" }, "Clear"));
}

function jobTable(rows) {
  const took = (job) => (job.completed_at ? span(new Date(job.completed_at) - new Date(job.created_at)) : "–");
  const columns = [
    ["job", (job) => h("a", { class: "mono", href: `#/jobs/${job.jobId}` }, job.jobId)],
    ["state", (job) => state(job.state)],
    ["request type", (job) => job.request_type],
    ["tenant", (job) => job.tenant_id],
    ["step", (job) => job.current_step_id ?? "–"],
    ["attempts", (job) => job.attempts_total, true],
    ["accepted", (job) => time(job.created_at)],
    ["took", took],
    ["error", (job) => job.error_code ?? ""],
  ];
  return table("Jobs", columns, rows, "No job fits.");
}
