//! The messages of the outside world, as JSON Schema and as types.
//!
//! The schemas in `docs/` are the source of truth and are compiled in; a document is checked against its schema
//! first and read into its type second. Unknown members are allowed everywhere and, where a client may want them
//! back, kept.

mod callback;
mod command;
mod directive;
mod reference;

pub use callback::{
    Ack, CallbackKind, FailureClass, Heartbeat, Progress, ResultStatus, WorkResult,
};
pub use command::Command;
pub use directive::{CallbackUrls, Directive, EarlierStep};
pub use reference::{FullRef, MAX_URI_CHARS, Ref, RefError, RefRules};

/// A schema that ships with the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Its short name: `command-envelope.v1`, `steps/ocr.v1`.
    pub name: &'static str,
    /// Its text, JSON Schema 2020-12.
    pub text: &'static str,
}

macro_rules! schemas {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, $path:literal;)*) => {
        $(
            $(#[$doc])*
            pub const $constant: Schema =
                Schema { name: $name, text: include_str!(concat!("../../../../docs/", $path)) };
        )*
        /// All of them.
        pub const SCHEMAS: &[Schema] = &[$($constant),*];
    };
}

schemas! {
    /// What a client submits.
    COMMAND_ENVELOPE = "command-envelope.v1", "contracts/command-envelope.v1.schema.json";
    /// What a service is told to do.
    DIRECTIVE = "directive.v1", "contracts/directive.v1.schema.json";
    /// A service says that it has a directive.
    ACK = "ack.v1", "contracts/ack.v1.schema.json";
    /// A service says that it is still at work.
    HEARTBEAT = "heartbeat.v1", "contracts/heartbeat.v1.schema.json";
    /// A service says how an attempt ended.
    RESULT = "result.v1", "contracts/result.v1.schema.json";
    /// The registry.
    PROTOCOL_REGISTRY = "protocol-registry.v1", "protocols/protocol-registry.v1.schema.json";
    /// The payload of an OCR step.
    STEP_OCR = "steps/ocr.v1", "schemas/steps/ocr.v1.json";
    /// The payload of an EMBEDDING step.
    STEP_EMBEDDING = "steps/embedding.v1", "schemas/steps/embedding.v1.json";
    /// The payload of a SIS step.
    STEP_SIS = "steps/sis.v1", "schemas/steps/sis.v1.json";
}
