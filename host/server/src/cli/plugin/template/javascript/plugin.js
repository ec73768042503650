// The step plugin `{{id}}`: what a payload must look like, where the step goes, what a worker's report means.
// Each function is pure: JSON text in, JSON text out, nothing kept between calls.

const BUSY_DELAY_MS = 5000n;

export const handler = {
  describe() {
    return { id: '{{id}}', version: '0.1.0', stepTypes: ['{{step_type}}'], services: ['{{service}}'] };
  },

  // Returns the payload in full, or throws everything that is wrong with it.
  validate(payloadText, configText) {
    const payload = JSON.parse(payloadText);
    const config = JSON.parse(configText);
    const level = payload.level ?? config.default_level;
    if (level > config.max_level) {
      const message = `choose a level up to ${config.max_level}`;
      throw [{ pointer: '/level', code: 'LEVEL_TOO_HIGH', message }];
    }
    return JSON.stringify({ ...payload, level });
  },

  route({ service, payload }) {
    return { tag: 'dispatch', val: { service, payload } };
  },

  settle(context, { tag, val }) {
    if (tag === 'succeeded') {
      if (val.artifacts.length > 0) return { tag: 'accept' };
      const message = 'the worker reported success but named no artifact';
      return { tag: 'fail', val: { code: 'ARTIFACTS_MISSING', message } };
    }
    const reason = { code: val.code, message: val.message };
    if (val.code === 'BUSY') return { tag: 'retry', val: { delayMs: BUSY_DELAY_MS, reason } };
    return val.retryable ? { tag: 'retry', val: { reason } } : { tag: 'fail', val: reason };
  },
};
