// The registry: what is live, what each plugin may do, and the way forward and back.

import { get, post, Refused } from "./api.js";
import { facts, h, notify, number, table, time } from "./dom.js";

export async function registry(place, _, signal) {
  const outcome = h("div", { role: "status" });
  const refresh = async () => {
    const shown = await get("/v1/registry");
    if (!signal.aborted) place.replaceChildren(...page(shown, outcome, refresh));
  };
  await refresh();
}

function page(registry, outcome, refresh) {
  const verb = (name, body) => async () => {
    try {
      const answer = await post(`/v1/registry:${name}`, body);
      outcome.replaceChildren(name === "plan" ? plan(answer) : h("p", { class: "notice good" }, `Generation ${answer.generation} is live.`));
      if (name !== "plan") await refresh();
    } catch (error) {
      outcome.replaceChildren(refusal(error));
      if (!(error instanceof Refused)) notify(error.message, "bad");
    }
  };
  const back = (generation) => async () => {
    if (confirm(`Make generation ${generation} live again? Jobs under way keep what they began with.`)) await verb("rollback", { to: generation })();
  };
  const plugins = [
    ["plugin", (it) => `${it.id}@${it.version}`],
    ["state", (it) => h("span", { class: `pill ${it.state === "active" ? "good" : "warn"}` }, it.state)],
    ["digest", (it) => h("span", { class: "mono", title: it.digest }, it.digest.slice(0, 12))],
    ["may route to", (it) => it.services.join(", ")],
    ["memory", (it) => `${number(it.limits.memory_bytes / 2 ** 20)} MiB`, true],
    ["deadline", (it) => `${it.limits.deadline_ms} ms`, true],
    ["fuel", (it) => number(it.limits.fuel), true],
  ];
  const protocols = [
    ["protocol", (it) => it.protocol_id],
    ["request types", (it) => it.request_types.join(", ")],
    ["steps", (it) => it.steps.map((step) => `${step.step_id} (${step.service}${step.plugin ? `, ${step.plugin}` : ""})`).join(" → ")],
  ];
  const generations = [
    ["generation", (it) => it.generation, true],
    ["activated", (it) => time(it.activated_at)],
    ["digest", (it) => h("span", { class: "mono" }, it.digest.slice(0, 12))],
    ["action", (it) => h("button", { type: "button", onclick: back(it.generation) }, `Roll back to ${it.generation}`)],
  ];
  const { last_reload: last } = registry;
  return [
    h("h1", {}, "Registry"),
    h("p", { class: "row" },
      h("button", { type: "button", onclick: verb("plan") }, "Plan"),
      h("button", { type: "button", class: "main", onclick: verb("reload") }, "Reload")),
    outcome,
    h("div", { class: "card" }, facts([
      ["generation", String(registry.generation)],
      ["activated", time(registry.activated_at)],
      ["digest", h("span", { class: "mono" }, registry.digest)],
      ["last reload", last ? h("span", {}, time(last.at), last.ok ? " fine" : " refused") : null],
    ]), last?.errors?.length ? errors(last.errors) : null),
    h("h2", {}, "Plugins"), table("Plugins", plugins, registry.plugins, "No plugin is live."),
    h("h2", {}, "Protocols"), table("Protocols", protocols, registry.protocols, "No protocol is live."),
    h("h2", {}, "Earlier generations"), table("Earlier generations", generations, registry.previous_generations, "There was none before."),
  ];
}

function errors(list) {
  return h("ul", { class: "notice bad" }, list.map(({ entry, reason }) => h("li", {}, h("strong", {}, entry), `: ${reason}`)));
}

function refusal(error) {
  const list = error.problem?.errors ?? [];
  return h("div", {}, h("p", { class: "notice bad" }, error.message), list.length ? errors(list) : null);
}

/** What would change, as the host says it. */
function plan(answer) {
  const changes = answer.changes ?? [];
  const replays = answer.replays ?? [];
  const said = [...changes, ...replays].map((line) => h("li", {}, typeof line === "string" ? line : line.summary ?? JSON.stringify(line)));
  return h("section", { class: "card" }, h("h2", {}, "What a reload would change"),
    said.length ? h("ul", {}, said) : h("p", {}, "Nothing."),
    h("details", {}, h("summary", {}, "everything the host says"), h("pre", { tabindex: "0" }, JSON.stringify(answer, null, 2))));
}
