//! Guests in WebAssembly text: the friendly one, and what is needed to make it hostile in one place at a time.
//!
//! Text shows every instruction of an attack, and can do what no compiler would emit.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(unreachable_pub, reason = "shared by test binaries")]

use std::sync::Arc;

use lucius_domain::plugin::{Artifact, Context, Description};
use lucius_domain::routing::Mode;
use lucius_ports::plugin::Call;
use serde_json::json;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const WIT: &str = include_str!("../../../../../wit/step-1.0.0/step.wit");

/// Where a guest writes what it returns: 64 bytes that are zero at first.
pub const RESULT: u32 = 1024;

/// The parts of a guest's core module. What is not changed behaves.
#[derive(Clone)]
pub struct Guest {
    /// More of the module: data, globals, functions, a start section.
    pub more: String,
    /// The memory's size in pages.
    pub memory: String,
    /// Bodies of the functions.
    pub describe: String,
    pub validate: String,
    pub route: String,
    pub settle: String,
    pub realloc: String,
    /// What runs when the host has read the answer of `validate`.
    pub after_validate: String,
}

impl Default for Guest {
    /// Echoes the payload of `validate`, refuses one that is not at least three bytes long (`{}`), dispatches to
    /// `platform-ocr`, and accepts every outcome.
    fn default() -> Self {
        let own = str::to_owned;
        Self {
            more: String::new(),
            memory: own("4"),
            describe: own(DESCRIBE),
            validate: own(VALIDATE),
            route: own(ROUTE),
            settle: format!("(i32.const {RESULT})"),
            realloc: own(REALLOC),
            after_validate: String::new(),
        }
    }
}

const DATA: &str = r#"
  (data (i32.const 16) "ocr1.0.0OCRplatform-ocr")
  (data (i32.const 64) "{\"from\":\"route\"}")
  (data (i32.const 96) "TOO_SHORT")
  (data (i32.const 112) "give a payload")
"#;

const DESCRIBE: &str = "
  (call $pair (i32.const 1024) (i32.const 16) (i32.const 3))
  (call $pair (i32.const 1032) (i32.const 19) (i32.const 5))
  (call $pair (i32.const 1040) (i32.const 1056) (i32.const 1))
  (call $pair (i32.const 1048) (i32.const 1064) (i32.const 1))
  (call $pair (i32.const 1056) (i32.const 24) (i32.const 3))
  (call $pair (i32.const 1064) (i32.const 27) (i32.const 12))
  (i32.const 1024)";

const VALIDATE: &str = "
  (if (i32.lt_u (local.get 1) (i32.const 3)) (then
    (i32.store8 (i32.const 1024) (i32.const 1))
    (call $pair (i32.const 1028) (i32.const 1040) (i32.const 1))
    (call $pair (i32.const 1040) (i32.const 0) (i32.const 0))
    (call $pair (i32.const 1048) (i32.const 96) (i32.const 9))
    (call $pair (i32.const 1056) (i32.const 112) (i32.const 14))
    (return (i32.const 1024))))
  (call $pair (i32.const 1028) (local.get 0) (local.get 1))
  (i32.const 1024)";

const ROUTE: &str = "
  (call $pair (i32.const 1028) (i32.const 27) (i32.const 12))
  (call $pair (i32.const 1036) (i32.const 64) (i32.const 16))
  (i32.const 1024)";

// A guest that never frees: fresh for every call, it has no need to.
const REALLOC: &str = "
  (global.set $next (i32.and
    (i32.add (global.get $next) (i32.sub (local.get 2) (i32.const 1)))
    (i32.sub (i32.const 0) (local.get 2))))
  (local.set 4 (global.get $next))
  (global.set $next (i32.add (global.get $next) (local.get 3)))
  (local.get 4)";

impl Guest {
    /// The core module's text.
    pub fn text(&self) -> String {
        let Self {
            more,
            memory,
            describe,
            validate,
            route,
            settle,
            realloc,
            after_validate,
        } = self;
        format!(
            r#"(module
  (import "lucius:step/log@1.0.0" "write" (func $log (param i32 i32 i32)))
  (memory (export "memory") {memory})
  (global $next (mut i32) (i32.const 65536))
  {DATA}
  {more}
  (func $pair (param i32 i32 i32)
    (i32.store (local.get 0) (local.get 1))
    (i32.store offset=4 (local.get 0) (local.get 2)))
  (func (export "lucius:step/handler@1.0.0#describe") (result i32) {describe})
  (func (export "lucius:step/handler@1.0.0#validate") (param i32 i32 i32 i32) (result i32)
    (local $i i32) {validate})
  (func (export "cabi_post_lucius:step/handler@1.0.0#validate") (param i32) {after_validate})
  (func (export "lucius:step/handler@1.0.0#route") (param i32) (result i32) {route})
  (func (export "lucius:step/handler@1.0.0#settle") (param i32) (result i32) {settle})
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local i32) {realloc})
)"#
        )
    }

    /// The component.
    pub fn component(&self) -> Arc<[u8]> {
        component(&self.text(), WIT)
    }
}

/// Wraps a core module's text as a component of the world `step` in the given WIT.
pub fn component(text: &str, wit: &str) -> Arc<[u8]> {
    encode(text, wit, StringEncoding::UTF8)
}

/// The same with strings of another encoding.
pub fn encode(text: &str, wit: &str, encoding: StringEncoding) -> Arc<[u8]> {
    let module = wat::parse_str(text).expect("the text is WebAssembly");
    wrap(module, wit, encoding, true).expect("the module fits the world, the component is valid")
}

/// Wraps any core module as a component of the contract, if it can be; whether it is valid is for the host to find out.
pub fn wrapped(module: Vec<u8>) -> Option<Arc<[u8]>> {
    wrap(module, WIT, StringEncoding::UTF8, false).ok()
}

fn wrap(
    mut module: Vec<u8>,
    wit: &str,
    encoding: StringEncoding,
    check: bool,
) -> Result<Arc<[u8]>, String> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("step.wit", wit).expect("the text is WIT");
    let world = resolve
        .select_world(&[package], Some("step"))
        .expect("it has the world");
    embed_component_metadata(&mut module, &resolve, world, encoding).expect("metadata fits");
    let mut encoder = ComponentEncoder::default();
    encoder.validate(check);
    let component = encoder.module(&module).and_then(ComponentEncoder::encode);
    Ok(component.map_err(|error| format!("{error:#}"))?.into())
}

/// The contract with some text replaced: another version, a missing function, another import.
pub fn contract(from: &str, to: &str) -> String {
    assert!(WIT.contains(from), "{from} is not in the contract");
    WIT.replace(from, to)
}

/// What the friendly guest says of itself.
pub fn description() -> Description {
    Description {
        id: "ocr".into(),
        version: "1.0.0".into(),
        step_types: vec!["OCR".into()],
        services: vec!["platform-ocr".into()],
    }
}

/// A call that the friendly guest accepts.
pub fn validate() -> Call {
    Call::Validate {
        payload: json!({"page_range": "1-3"}),
        config: json!({}),
    }
}

/// What a decision may depend on, with every field filled.
pub fn context() -> Box<Context> {
    let artifact = Artifact {
        uri: "file:///in/scan.pdf".to_owned(),
        content_type: Some("application/pdf".to_owned()),
        size_bytes: Some(1 << 40),
        metadata: json!({"pages": 2}),
    };
    Box::new(Context {
        step_id: "ocr".into(),
        step_type: "OCR".into(),
        service: "platform-ocr".into(),
        mode: Mode::Burst,
        attempt: 2,
        max_attempts: 3,
        input: artifact,
        payload: json!({"page_range": "1-3"}),
        earlier: Vec::new(),
        config: json!({}),
    })
}
