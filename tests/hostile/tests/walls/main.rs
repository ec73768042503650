//! Every attack of docs/sandbox.md. A test's name begins with the row of the table there that it shows; each asserts
//! the one line that the operator reads, and that the host serves as before afterwards.

#[path = "../../../../host/backends/wasm/tests/guests/mod.rs"]
mod guests; // beside the sandbox, whose own tests use them too

mod admission;
mod answers;
mod calls;
mod compiling;
mod host;
mod mutations;
mod sandbox;
mod signatures;
