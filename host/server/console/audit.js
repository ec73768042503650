// What operators did, newest first.

import { find } from "./api.js";
import { h, table, time } from "./dom.js";

export async function audit(place) {
  const found = await find("/v1/audit?limit=200");
  const heading = h("h1", {}, "Audit");
  if (!found) {
    place.replaceChildren(heading, h("p", { class: "notice warn" }, "Only those with the scope admin see the audit."));
    return;
  }
  const columns = [
    ["when", (entry) => time(entry.at)],
    ["who", (entry) => entry.who],
    ["what", (entry) => entry.action],
    ["on", (entry) => h("span", { class: "mono" }, entry.target)],
    ["outcome", (entry) => entry.outcome ?? ""],
    ["why", (entry) => entry.reason ?? ""],
  ];
  place.replaceChildren(heading, table("Audit", columns, found.entries, "Nothing was done yet."));
}
