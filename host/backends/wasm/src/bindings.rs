//! The contract as Rust types, generated from the same text that plugin authors build against.
//!
//! Only the types are used. Exports are looked up by an index found once per component, and only the function that
//! is called is type-checked in its instance: the generated loader would check all four on every call.

wasmtime::component::bindgen!({
    path: "../../../wit/step-1.0.0",
    world: "step",
});
