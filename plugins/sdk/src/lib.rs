//! What the author of a step plugin depends on.
//!
//! The contract, `lucius:step@1.0.0`, passes JSON documents as text, so that any language can implement it. Rust can do
//! better: here a plugin names the type of its payload and of its configuration, and writes three functions over them.
//! The rest, which every plugin would otherwise get wrong in its own way, is done once:
//!
//! - a document of the wrong type is a [`Violation`] with a JSON Pointer, and all wrong fields are reported at once;
//! - an unusable `config` in the registry is a violation or a failure that says so, never a panic;
//! - what normalization does not change keeps its very form: `1.50` stays `1.50`, and a field that the plugin has never
//!   heard of survives (declare a `#[serde(flatten)]` field of type [`Rest`]);
//! - a panic is written to the host's log before the instance dies.
//!
//! A plugin is a pure function. There is no clock, no randomness, no file and no network, and nothing is kept between
//! calls: every call gets a fresh instance. `HashMap` draws random keys; use `BTreeMap`.
//!
//! ```
//! use lucius_step_sdk::{Description, Rest, Step, Violations};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! pub struct Payload {
//!     #[serde(skip_serializing_if = "Option::is_none")]
//!     angle: Option<i64>,
//!     #[serde(flatten)]
//!     rest: Rest,
//! }
//!
//! #[derive(Deserialize)]
//! pub struct Config {
//!     largest_angle: i64,
//! }
//!
//! pub struct Rotate;
//!
//! impl Step for Rotate {
//!     type Payload = Payload;
//!     type Config = Config;
//!
//!     fn describe() -> Description {
//!         Description::new("rotate", "1.0.0").step_type("ROTATE").service("acme-rotate")
//!     }
//!
//!     fn validate(payload: Payload, config: &Config) -> Result<Payload, Violations> {
//!         let mut violations = Violations::new();
//!         if payload.angle.is_some_and(|angle| angle > config.largest_angle) {
//!             let message = format!("give an angle up to {}", config.largest_angle);
//!             violations.add("/angle", "ANGLE_TOO_LARGE", message);
//!         }
//!         violations.or(payload)
//!     }
//! }
//!
//! lucius_step_sdk::export!(Rotate);
//!
//! # use lucius_step_sdk::testing;
//! # use serde_json::json;
//! let checked = testing::validate::<Rotate>(json!({"angle": 400}), json!({"largest_angle": 270}));
//! testing::assert_violation(&checked, "/angle", "ANGLE_TOO_LARGE");
//! ```
//!
//! The crate type is `["cdylib", "rlib"]` and the target `wasm32-unknown-unknown`; on any other target [`export!`]
//! exports nothing, and [`testing`] drives the plugin through the same code that the host would.

#[doc(hidden)]
pub mod bindings;
mod context;
mod decision;
mod document;
#[doc(hidden)]
pub mod exported;
mod log;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod violation;

pub use context::{Artifact, Context, Mode, StepOutput};
pub use decision::{Dispatch, Failure, Outcome, Refusal, Route, Settle};
pub use document::{Rest, whole};
pub use log::{Level, log};
pub use violation::{Violation, Violations, quoted};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a plugin says of itself; the host compares it with the registry entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The plugin's id, as in the registry: `ocr`.
    pub id: String,
    /// The plugin's semantic version; `env!("CARGO_PKG_VERSION")` keeps it in one place.
    pub version: String,
    /// The step types it handles: `OCR`.
    pub step_types: Vec<String>,
    /// The services it may route to; the registry must grant each.
    pub services: Vec<String>,
}

impl Description {
    /// A description without step types and services yet.
    pub fn new(id: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            version: version.into(),
            step_types: Vec::new(),
            services: Vec::new(),
        }
    }

    /// Adds a step type that the plugin handles.
    #[must_use]
    pub fn step_type(mut self, step_type: impl Into<String>) -> Self {
        self.step_types.push(step_type.into());
        self
    }

    /// Adds a service that the plugin may route to.
    #[must_use]
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.services.push(service.into());
        self
    }
}

/// A step plugin. Only [`describe`](Self::describe) must be written; every other function has the default that a step
/// without a plugin would get.
pub trait Step: Sized + 'static {
    /// The step's payload. Keep fields you do not know in a `#[serde(flatten)]` field of type [`Rest`]; without one
    /// they are lost.
    type Payload: DeserializeOwned + Serialize;
    /// The plugin's `config` object in the registry. What `#[serde(try_from = "...")]` refuses is reported to whoever
    /// uses the plugin as an error of the registry.
    type Config: DeserializeOwned;

    /// Says what this plugin is.
    fn describe() -> Description;

    /// Checks what the step's JSON Schema cannot say, and returns the payload normalized: defaults filled in, synonyms
    /// resolved. Normalizing twice must give the same as normalizing once.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    fn validate(
        payload: Self::Payload,
        config: &Self::Config,
    ) -> Result<Self::Payload, Violations> {
        let _ = config;
        Ok(payload)
    }

    /// Decides where the step goes; asked once for each attempt. The default is the service that the protocol declares,
    /// with the payload as it was validated.
    fn route(context: &Context<Self>) -> Route {
        Route::Dispatch(context.dispatch())
    }

    /// Decides what a worker's report means. The default is [`Settle::by_default`].
    fn settle(context: &Context<Self>, outcome: &Outcome) -> Settle {
        let _ = context;
        Settle::by_default(outcome)
    }
}

/// Makes a [`Step`] the plugin that this crate's component is: `lucius_step_sdk::export!(Ocr);`.
///
/// Use it once in a crate, at its top level.
#[macro_export]
macro_rules! export {
    ($step:ty) => {
        // On every target, so that a step is checked and counts as used where nothing is exported.
        const _: fn() -> $crate::Description = <$step as $crate::Step>::describe;

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exported = $crate::exported::Exported<$step>;
    $crate::bindings::export_step!(Exported with_types_in $crate::bindings);
        };
    };
}
