"""The step plugin `{{id}}`: what a payload must look like, where the step goes, what a worker's report means.

Each function is pure: JSON text in, JSON text out, nothing kept between calls.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import types

BUSY_DELAY_MS = 5_000


class Handler(exports.Handler):
    def describe(self) -> types.Description:
        return types.Description("{{id}}", "0.1.0", step_types=["{{step_type}}"], services=["{{service}}"])

    def validate(self, payload: str, config: str) -> str:
        """Returns the payload in full, or raises everything that is wrong with it."""
        document, settings = json.loads(payload), json.loads(config)
        level = document.get("level", settings["default_level"])
        if level > settings["max_level"]:
            message = f"choose a level up to {settings['max_level']}"
            raise Err([types.Violation("/level", "LEVEL_TOO_HIGH", message)])
        return json.dumps({**document, "level": level})

    def route(self, context: types.Context) -> types.RouteDecision:
        return types.RouteDecision_Dispatch(types.Dispatch(context.service, context.payload, None, None))

    def settle(self, context: types.Context, outcome: types.Outcome) -> types.SettleDecision:
        if isinstance(outcome, types.Outcome_Succeeded):
            if outcome.value.artifacts:
                return types.SettleDecision_Accept()
            message = "the worker reported success but named no artifact"
            return types.SettleDecision_Fail(types.Refusal("ARTIFACTS_MISSING", message))
        failure = outcome.value
        reason = types.Refusal(failure.code, failure.message)
        if failure.code == "BUSY":
            return types.SettleDecision_Retry(types.Retry(BUSY_DELAY_MS, reason))
        if failure.retryable:
            return types.SettleDecision_Retry(types.Retry(None, reason))
        return types.SettleDecision_Fail(reason)
