//! What `wit-bindgen` makes of `wit/step-1.0.0`, and nothing else.
//!
//! This is the one module of the guest side with `unsafe` code: lowering and lifting values at the component border is
//! raw memory work. It lives here, and reaches a plugin's crate only through the [`export!`](crate::export) macro of
//! this crate, so that a plugin can keep `unsafe_code = "forbid"`.
#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    reason = "generated code; its documentation is the WIT file's"
)]

wit_bindgen::generate!({
    path: "../../wit/step-1.0.0",
    world: "step",
    pub_export_macro: true,
    export_macro_name: "export_step",
    default_bindings_module: "lucius_step_sdk::bindings",
});
