//! A sandbox that still serves.

use std::sync::Arc;

use lucius_domain::id::Digest;
use lucius_ports::plugin::{Answer, Limits, Runtime as _};
use lucius_wasm::Sandbox;
use serde_json::json;

use crate::guests::{self, Guest};

/// A friendly guest is admitted and answers.
pub(crate) async fn served(sandbox: &Sandbox) {
    let component = Guest::default().component();
    let admitted = sandbox.admit(Arc::clone(&component), Limits::default());
    assert_eq!(admitted.await, Ok(guests::description()));
    let answered = sandbox
        .call(
            &Digest::of(&component),
            Limits::default(),
            guests::validate(),
        )
        .await
        .expect("the host still serves");
    assert_eq!(
        answered.answer,
        Answer::Validated(Ok(json!({"page_range": "1-3"})))
    );
}
