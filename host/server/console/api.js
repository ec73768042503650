// The host's API. In open mode no key is needed; else it is asked for once and kept for this tab alone.

const KEY = "lucius-api-key";

/** What the host says when it says no. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `the host answered ${status}`);
    this.status = status;
    this.code = problem.code ?? "";
    this.violations = problem.violations ?? [];
    this.problem = problem;
  }
}

export function setKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

function headers(more = {}) {
  const key = sessionStorage.getItem(KEY);
  return key ? { ...more, authorization: `Bearer ${key}` } : more;
}

async function ask(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: headers(options.headers), cache: "no-store" });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, problem);
}

export async function get(path) {
  return (await ask(path)).json();
}

/** Nothing when the host has no such page, or no place in it; some are newer than others. */
export async function find(path) {
  try {
    return await get(path);
  } catch (error) {
    if (error instanceof Refused && [403, 404].includes(error.status)) return null;
    throw error;
  }
}

export async function text(path) {
  return (await ask(path)).text();
}

export async function post(path, body) {
  const options = { method: "POST" };
  if (body !== undefined) {
    options.headers = { "content-type": "application/json" };
    options.body = JSON.stringify(body);
  }
  return (await ask(path, options)).json();
}

/** Follows Server-Sent Events until they end, `signal` ends them, or the connection breaks. */
export async function follow(path, onEvent, signal) {
  const answer = await ask(path, { headers: { accept: "text/event-stream" }, signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    pending += value;
    const blocks = pending.split("\n\n");
    pending = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim());
      if (data.length > 0) onEvent(JSON.parse(data.join("\n")));
    }
  }
}
