//! From wasmtime's errors to the port's faults: short texts without addresses, paths or backtraces.

use lucius_ports::plugin::{Fault, Limits};
use wasmtime::Trap;

use crate::text::one_line;
use crate::walls::Room;

/// The longest reason that is passed on, in characters.
const MAX_CHARS: usize = 200;
/// How wasmtime's error begins when a guest hands over more than its host-call allowance; the type is private.
const TOO_MUCH: &str = "too much data is being copied";

/// What an error out of a guest's call means.
pub(crate) fn of_call(error: &wasmtime::Error, limits: &Limits, room: &Room) -> Fault {
    let trap = error.downcast_ref::<Trap>().copied();
    if trap == Some(Trap::OutOfFuel) {
        return Fault::Fuel { limit: limits.fuel };
    }
    if trap == Some(Trap::Interrupt) {
        return Fault::Deadline {
            limit_ms: limits.deadline_ms,
        };
    }
    let reason = reason(error);
    if trap.is_none() && reason.starts_with(TOO_MUCH) {
        return Fault::Answer(format!(
            "it hands over far more than the {} bytes of text that are allowed",
            limits.output_bytes
        ));
    }
    if room.refused() {
        return Fault::Trap(format!(
            "{reason}, after it was refused memory beyond {} bytes",
            limits.memory_bytes
        ));
    }
    Fault::Trap(reason)
}

/// An error's root cause in one line.
pub(crate) fn reason(error: &wasmtime::Error) -> String {
    let root = error.root_cause().to_string();
    let first = root.lines().next().unwrap_or_default();
    one_line(
        first.strip_prefix("wasm trap: ").unwrap_or(first),
        MAX_CHARS,
    )
}
