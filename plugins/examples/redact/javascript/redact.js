// The step plugin `redact` in JavaScript: the handler of lucius:step@1.0.0, JSON text in and out.
import { write as log } from 'lucius:step/log@1.0.0';

const REPLACEMENT_CHARACTERS_MAX = 32;

export const handler = {
  describe() {
    return { id: 'redact', version: '1.0.0', stepTypes: ['REDACT'], services: ['platform-redact'] };
  },

  validate(payloadText, configText) {
    const payload = JSON.parse(payloadText);
    const { categories: known } = JSON.parse(configText);
    const violations = [];
    const categories = (payload.categories ?? known).map((name) => name.trim().toUpperCase());
    categories.forEach((name, index) => {
      if (!known.includes(name)) {
        const message = `no category ${JSON.stringify(name)} here; choose one of: ${known.join(', ')}`;
        violations.push({ pointer: `/categories/${index}`, code: 'CATEGORY_UNKNOWN', message });
      }
    });
    const replacement = payload.replacement ?? '[redacted]';
    if ([...replacement].length > REPLACEMENT_CHARACTERS_MAX) {
      const message = `shorten the replacement to at most ${REPLACEMENT_CHARACTERS_MAX} characters`;
      violations.push({ pointer: '/replacement', code: 'REPLACEMENT_TOO_LONG', message });
    }
    if (violations.length > 0) throw violations;
    return JSON.stringify({ ...payload, categories: [...new Set(categories)].sort(), replacement });
  },

  route({ service, payload, earlier }) {
    const previous = earlier.at(-1);
    const characters = (previous?.artifacts ?? []).map(({ metadata }) => JSON.parse(metadata).characters);
    if (characters.length > 0 && characters.every((count) => count === 0)) {
      return { tag: 'skip', val: `step ${previous.stepId} found no text, so there is nothing to redact` };
    }
    return { tag: 'dispatch', val: { service, payload } };
  },

  settle(context, { tag, val }) {
    if (tag === 'succeeded') {
      if (val.artifacts.length > 0) return { tag: 'accept' };
      const message = 'the worker reported success but named no artifact; it must name the text it wrote';
      return { tag: 'fail', val: { code: 'ARTIFACTS_MISSING', message } };
    }
    const reason = { code: val.code, message: val.message };
    if (val.code === 'DICTIONARY_LOADING') {
      log('info', `attempt ${context.attempt} met a worker that is loading its dictionary`);
      return { tag: 'retry', val: { delayMs: 5000n, reason } };
    }
    return val.retryable ? { tag: 'retry', val: { reason } } : { tag: 'fail', val: reason };
  },
};
