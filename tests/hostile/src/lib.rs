//! Nothing but tests, see `tests/walls`: each attack of docs/sandbox.md against the sandbox or a running host.
