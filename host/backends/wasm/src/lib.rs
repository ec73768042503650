//! lucius-wasm
