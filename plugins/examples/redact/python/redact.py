"""The step plugin `redact` in Python: the handler of lucius:step@1.0.0, JSON text in and out."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import log
from wit_world.imports.types import (
    Context, Description, Dispatch, Level, Outcome, Outcome_Succeeded, Refusal, Retry, RouteDecision,
    RouteDecision_Dispatch, RouteDecision_Skip, SettleDecision, SettleDecision_Accept, SettleDecision_Fail,
    SettleDecision_Retry, Violation,
)

REPLACEMENT_CHARACTERS_MAX = 32


class Handler(exports.Handler):
    def describe(self) -> Description:
        return Description(id="redact", version="1.0.0", step_types=["REDACT"], services=["platform-redact"])

    def validate(self, payload: str, config: str) -> str:
        document, known = json.loads(payload), json.loads(config)["categories"]
        violations = []
        categories = [name.strip().upper() for name in document.get("categories", known)]
        for index, name in enumerate(categories):
            if name not in known:
                message = f"no category {json.dumps(name)} here; choose one of: {', '.join(known)}"
                violations.append(Violation(f"/categories/{index}", "CATEGORY_UNKNOWN", message))
        replacement = document.get("replacement", "[redacted]")
        if len(replacement) > REPLACEMENT_CHARACTERS_MAX:
            message = f"shorten the replacement to at most {REPLACEMENT_CHARACTERS_MAX} characters"
            violations.append(Violation("/replacement", "REPLACEMENT_TOO_LONG", message))
        if violations:
            raise Err(violations)
        return json.dumps({**document, "categories": sorted(set(categories)), "replacement": replacement})

    def route(self, context: Context) -> RouteDecision:
        previous = context.earlier[-1] if context.earlier else None
        counts = [json.loads(artifact.metadata).get("characters") for artifact in previous.artifacts] if previous else []
        if counts and all(count == 0 for count in counts):
            return RouteDecision_Skip(f"step {previous.step_id} found no text, so there is nothing to redact")
        return RouteDecision_Dispatch(Dispatch(context.service, context.payload, None, None))

    def settle(self, context: Context, outcome: Outcome) -> SettleDecision:
        if isinstance(outcome, Outcome_Succeeded):
            if outcome.value.artifacts:
                return SettleDecision_Accept()
            message = "the worker reported success but named no artifact; it must name the text it wrote"
            return SettleDecision_Fail(Refusal("ARTIFACTS_MISSING", message))
        failure = outcome.value
        reason = Refusal(failure.code, failure.message)
        if failure.code == "DICTIONARY_LOADING":
            log.write(Level.INFO, f"attempt {context.attempt} met a worker that is loading its dictionary")
            return SettleDecision_Retry(Retry(5_000, reason))
        return SettleDecision_Retry(Retry(None, reason)) if failure.retryable else SettleDecision_Fail(reason)
