// A client and a worker that need nothing but HTTP: the bus with peek-lock, and the callbacks.

import assert from "node:assert/strict";

const LANES = 16;

export async function submit(url, requestType) {
  const command = {
    tenant_id: "acme", request_type: requestType, schema_version: "v1", doc_id: crypto.randomUUID(),
    input_ref: "https://files.example/invoice.pdf", output_ref: "https://files.example/out", payload: {},
  };
  const { jobId } = await post(`${url}/v1/commands`, command, 202);
  return jobId;
}

export class Worker {
  constructor(url) {
    this.url = url;
  }

  /** The next directive of a job for a service; those of other jobs go back. */
  async take(service, jobId) {
    const { lane } = await (await fetch(`${this.url}/v1/jobs/${jobId}`)).json();
    assert.ok(lane < LANES);
    const head = `${this.url}/bus/global-bus-p${lane}/subscriptions/${service}/messages/head?timeout=20`;
    const answer = await fetch(head, { method: "POST" });
    assert.equal(answer.status, 201, `no directive for ${service} came`);
    const directive = await answer.json();
    assert.equal(directive.jobId, jobId);
    const location = new URL(answer.headers.get("location"), this.url);
    const completed = await fetch(location, { method: "DELETE" });
    assert.ok(completed.ok);
    return directive;
  }

  ack(directive) {
    return this.#call(directive, "ack", { status: "ACKED" });
  }

  heartbeat(directive, percent, message) {
    return this.#call(directive, "heartbeat", { progress: { percent, message } });
  }

  succeed(directive) {
    const artifact = { uri: `https://files.example/${directive.stepId}.json`, content_type: "application/json", size_bytes: 42 };
    return this.#call(directive, "result", { status: "SUCCEEDED", artifact_refs: [artifact] });
  }

  fail(directive, code, message) {
    const error = { code, message };
    return this.#call(directive, "result", { status: "FAILED", failure_class: "NON_RETRYABLE", error });
  }

  #call({ jobId, stepId, attempt_no, lease_id, callback_urls, callback_token }, kind, more) {
    const body = { jobId, stepId, attempt_no, lease_id, timestamp: new Date().toISOString(), ...more };
    return post(callback_urls[kind], body, 200, { authorization: `Bearer ${callback_token}` });
  }
}

async function post(address, body, expected, headers = {}) {
  const answer = await fetch(address, {
    method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json", ...headers },
  });
  const text = await answer.text();
  assert.equal(answer.status, expected, text);
  return JSON.parse(text);
}
