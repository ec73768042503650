// How the host is doing now: throughput, latency, lanes, sweepers, gates, hosts, and what is wrong.

import { find, get, text } from "./api.js";
import { h, table, number, span, time } from "./dom.js";
import { repeat } from "./live.js";
import { parse, quantile, sum } from "./metrics.js";
import { bars, lines } from "./plot.js";

const EVERY_MS = 2000;
const KEPT = 150;

export async function overview(place, _, signal) {
  const history = [];
  await repeat(EVERY_MS, signal, async () => {
    const [metrics, ready, registry, gates, hosts, letters] = await Promise.all([
      text("/metrics"), readiness(), get("/v1/registry"), find("/v1/gates"), find("/v1/hosts"), find("/v1/dead-letters"),
    ]);
    if (signal.aborted) return;
    history.push({ at: Date.now(), families: parse(metrics) });
    if (history.length > KEPT) history.shift();
    const now = history.at(-1).families;
    place.replaceChildren(
      h("h1", {}, "Overview"),
      alerts(ready, registry, gates, letters, now),
      h("h2", {}, "Now"),
      h("div", { class: "grid" }, figures(history, registry)),
      h("h2", {}, "Work"),
      h("div", { class: "grid wide" }, throughput(history), latency(history), lanes(now), modes(history)),
      ...sweepers(now),
      ...gateTable(gates),
      ...hostTable(hosts),
    );
  });
}

async function readiness() {
  const answer = await fetch("/readyz", { cache: "no-store" });
  return { ok: answer.ok, ...(await answer.json()) };
}

function alerts(ready, registry, gates, letters, now) {
  const said = [];
  for (const [part, status] of Object.entries(ready.checks ?? {})) {
    if (status !== "ok") said.push(["bad", `${part}: ${status}`]);
  }
  if (!ready.ok && said.length === 0) said.push(["bad", `not ready: ${ready.status}`]);
  if (registry.last_reload && !registry.last_reload.ok) {
    for (const { entry, reason } of registry.last_reload.errors) said.push(["warn", `the last reload was refused: ${entry}: ${reason}`]);
  }
  for (const { id, version, state } of registry.plugins) {
    if (state !== "active") said.push(["warn", `plugin ${id}@${version} is ${state}`]);
  }
  for (const { target, manner, reason } of gates?.pauses ?? []) {
    said.push(["warn", `paused: ${target} (${manner})${reason ? `: ${reason}` : ""}`]);
  }
  const groups = letters?.groups ?? [];
  const dead = groups.reduce((total, group) => total + (group.count ?? 0), 0);
  if (dead > 0) said.push(["warn", h("span", {}, `${number(dead)} jobs failed for good: `, h("a", { href: "#/dead-letters" }, "look at the dead letters"))]);
  const backlog = sum(now, "lucius_outbox_pending");
  if (backlog > 1000) said.push(["warn", `${number(backlog)} directives wait to be published`]);
  if (said.length === 0) return h("p", { class: "notice good" }, "Nothing needs attention.");
  return h("div", { role: "alert" }, said.map(([tone, what]) => h("p", { class: `notice ${tone}` }, what)));
}

function figures(history, registry) {
  const now = history.at(-1).families;
  const before = history.at(Math.max(history.length - 6, 0));
  const seconds = (history.at(-1).at - before.at) / 1000;
  const accepted = (sum(now, "lucius_jobs_accepted_total") - sum(before.families, "lucius_jobs_accepted_total")) / seconds;
  const refused = sum(now, "lucius_jobs_refused_total");
  return [
    figure("in flight", number(sum(now, "lucius_jobs_in_flight"))),
    figure("accepted a second", seconds > 0 ? number(accepted || 0) : "–"),
    figure("refused since the start", number(refused || 0)),
    figure("waiting to be published", number(sum(now, "lucius_outbox_pending"))),
    h("section", { class: "card" }, h("h3", {}, "Registry"),
      h("p", { class: "figure" }, `generation ${registry.generation}`), h("p", { class: "quiet" }, "since ", time(registry.activated_at))),
  ];
}

function figure(name, value) {
  return h("section", { class: "card" }, h("h3", {}, name), h("p", { class: "figure" }, value));
}

/** What a counter did between each reading and the one before, a second. */
function rates(history, name, where) {
  return history.slice(1).map(({ at, families }, index) => {
    const before = history[index];
    const change = (sum(families, name, where) || 0) - (sum(before.families, name, where) || 0);
    return [at, Math.max(change, 0) / ((at - before.at) / 1000)];
  });
}

function throughput(history) {
  return lines("Jobs and callbacks", "a second", [
    { name: "accepted", points: rates(history, "lucius_jobs_accepted_total") },
    { name: "results", points: rates(history, "lucius_callbacks_total", { kind: "result", outcome: "applied" }) },
    { name: "refused", points: rates(history, "lucius_jobs_refused_total") },
  ]);
}

function latency(history) {
  const where = { route: "/v1/commands" };
  const points = (q) => history.slice(1).map(({ at, families }, index) =>
    [at, 1000 * quantile(history[index].families, families, "lucius_http_request_duration_seconds", q, where)]);
  return lines("POST to 202", "ms", [{ name: "p50", points: points(0.5) }, { name: "p99", points: points(0.99) }]);
}

function lanes(now) {
  const samples = now.get("lucius_outbox_pending") ?? [];
  const entries = samples.map(({ labels, value }) => [labels.lane, value]);
  entries.sort(([a], [b]) => Number(a) - Number(b));
  return bars("Directives waiting, by lane", entries);
}

function modes(history) {
  const points = (mode) => history.map(({ at, families }) => [at, sum(families, "lucius_jobs_in_flight", { mode })]);
  return lines("In flight, by mode", "jobs", [{ name: "DEFAULT", points: points("DEFAULT") }, { name: "BURST", points: points("BURST") }]);
}

function sweepers(now) {
  const last = now.get("lucius_sweeper_last_run_timestamp_seconds") ?? [];
  if (last.length === 0) return [];
  const moved = (sweeper) => sum(now, "lucius_sweeper_actions_total", { sweeper });
  const columns = [
    ["sweeper", ({ labels }) => labels.sweeper],
    ["last run", ({ value }) => (value > 0 ? `${span(Date.now() - value * 1000)} ago` : "not yet")],
    ["jobs moved", ({ labels }) => number(moved(labels.sweeper) || 0), true],
  ];
  return [h("h2", {}, "Sweepers"), table("Sweepers", columns, last, "")];
}

function gateTable(gates) {
  if (!gates) return [];
  const isClosed = ({ used, limit }) => used >= limit;
  const columns = [
    ["gate", (gate) => (gate.fullest ? `${gate.gate} (fullest: ${gate.fullest})` : gate.gate)],
    ["in use", (gate) => number(gate.used), true],
    ["limit", (gate) => number(gate.limit), true],
    ["freed a second", (gate) => number(gate.freed_per_second), true],
    ["refused", (gate) => number(gate.refused), true],
    ["state", (gate) => h("span", { class: `pill ${isClosed(gate) ? "bad" : "good"}` }, isClosed(gate) ? "closed" : "open")],
  ];
  return [h("h2", {}, "Gates"), table("Gates", columns, gates.gates, "")];
}

function hostTable(hosts) {
  const rows = hosts?.hosts ?? [];
  if (rows.length === 0) return [];
  const columns = [
    ["host", (host) => h("span", { class: "mono" }, host.id)],
    ["generation", (host) => host.registry_generation, true],
    ["lanes", (host) => host.lanes.join(", ")],
    ["seen", (host) => time(host.seen_at)],
  ];
  return [h("h2", {}, "Hosts"), table("Hosts", columns, rows, "")];
}
