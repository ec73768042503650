// The console: which page is shown, and the line at the top that says how the host is.

import { setKey, Refused } from "./api.js";
import { h, notify } from "./dom.js";
import { overview } from "./overview.js";
import { jobs } from "./jobs.js";
import { job } from "./job.js";
import { deadLetters } from "./dead_letters.js";
import { registry } from "./registry.js";
import { audit } from "./audit.js";

// A page gets the place to draw in, the parts of its address, and a signal that ends with it.
const PAGES = [
  [/^\/$/, overview],
  [/^\/jobs(?:\?(.*))?$/, jobs],
  [/^\/jobs\/([^/?]+)$/, job],
  [/^\/dead-letters$/, deadLetters],
  [/^\/registry$/, registry],
  [/^\/audit$/, audit],
];

let leave = new AbortController();

async function show() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const address = location.hash.slice(1) || "/";
  const place = h("div");
  document.getElementById("main").replaceChildren(place);
  markPage(address);
  for (const [pattern, page] of PAGES) {
    const match = pattern.exec(address);
    if (!match) continue;
    try {
      await page(place, match.slice(1), signal);
    } catch (error) {
      if (!signal.aborted) place.replaceChildren(failure(error));
    }
    return;
  }
  place.replaceChildren(h("h1", {}, "No such page"), h("p", {}, h("a", { href: "#/" }, "Go to the overview")));
}

function markPage(address) {
  for (const link of document.querySelectorAll("nav a")) {
    const target = link.getAttribute("href").slice(1);
    const here = target === "/" ? address === "/" : address.startsWith(target);
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function failure(error) {
  if (error instanceof Refused && error.status === 401) return keyForm();
  const code = error.code ? `${error.code}: ` : "";
  return h("p", { class: "notice bad", role: "alert" }, `${code}${error.message}`);
}

function keyForm() {
  const input = h("input", { type: "password", autocomplete: "off", required: true, id: "key" });
  const submit = (event) => {
    event.preventDefault();
    setKey(input.value.trim());
    show();
  };
  return h("form", { class: "card", onsubmit: submit },
    h("h1", {}, "Which key?"),
    h("p", {}, "This host lets in those who have an API key. It is kept for this tab alone."),
    h("label", { for: "key" }, "API key", input),
    h("p", {}, h("button", { class: "main" }, "Go on")));
}

async function health() {
  const pill = document.getElementById("health");
  try {
    const answer = await fetch("/readyz", { cache: "no-store" });
    const { status } = await answer.json();
    pill.className = `pill ${answer.ok ? "good" : "bad"}`;
    pill.textContent = answer.ok ? "ready" : status ?? "not ready";
  } catch {
    pill.className = "pill bad";
    pill.textContent = "host unreachable";
  }
}

function theme() {
  const root = document.documentElement;
  const kept = localStorage.getItem("lucius-theme");
  if (kept) root.dataset.theme = kept;
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("lucius-theme", root.dataset.theme);
  });
}

addEventListener("hashchange", () => {
  show();
  document.getElementById("main").focus();
});
addEventListener("unhandledrejection", ({ reason }) => {
  if (reason?.name === "AbortError") return;
  notify(reason?.message ?? String(reason), "bad");
});
theme();
health();
setInterval(health, 5000);
show();
