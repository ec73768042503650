//! What the engine relies on when it asks plugins: admission by content, answers that depend on the question alone,
//! and faults that stay with the call they happened in.
//!
//! A backend calls [`all`] with a runtime and a [`Sample`]: a component that behaves like the ones that ship.

use std::sync::Arc;

use lucius_domain::id::Digest;
use lucius_domain::plugin::Description;

use crate::plugin::{AdmissionError, Answer, Answered, Call, Fault, Limits, Runtime};

/// A well-behaved component, and questions it can answer.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The component.
    pub component: Arc<[u8]>,
    /// What it says of itself.
    pub description: Description,
    /// A `validate` that accepts.
    pub accepted: Call,
    /// A `validate` that refuses, with at least one violation.
    pub refused: Call,
    /// A `route`.
    pub route: Call,
    /// A `settle`.
    pub settle: Call,
}

impl Sample {
    fn digest(&self) -> Digest {
        Digest::of(&self.component)
    }

    fn calls(&self) -> [&Call; 4] {
        [&self.accepted, &self.refused, &self.route, &self.settle]
    }
}

/// Runs every case, one after another, on one runtime that has nothing loaded.
pub async fn all(runtime: Arc<dyn Runtime>, sample: Sample) {
    let of = &*runtime;
    nothing_is_answered_before_it_is_admitted(of, &sample).await;
    what_is_no_component_is_refused_and_not_loaded(of).await;
    admitting_twice_says_the_same(of, &sample).await;
    every_question_gets_an_answer_of_its_kind(of, &sample).await;
    the_same_question_gets_the_same_answer_for_the_same_fuel(of, &sample).await;
    a_fault_stays_with_its_call(of, &sample).await;
    an_answer_over_the_limit_is_a_fault(of, &sample).await;
    many_callers_at_once_are_all_answered(&runtime, &sample).await;
    a_dropped_component_is_gone_until_it_is_admitted_again(of, &sample).await;
}

/// A component is known by the digest of its bytes, and only once it is admitted.
pub async fn nothing_is_answered_before_it_is_admitted(runtime: &dyn Runtime, sample: &Sample) {
    let call = sample.accepted.clone();
    let answer = runtime
        .call(&sample.digest(), Limits::default(), call)
        .await;
    assert_eq!(answer, Err(Fault::NotLoaded));
}

/// Junk is refused as junk.
pub async fn what_is_no_component_is_refused_and_not_loaded(runtime: &dyn Runtime) {
    for junk in [
        &b""[..],
        b"junk",
        b"\0asm\x01\0\0\0",
        b"\x7fELF\x02\x01\x01\0",
    ] {
        let refused = runtime.admit(junk.into(), Limits::default()).await;
        assert!(
            matches!(refused, Err(AdmissionError::NotAComponent(_))),
            "{refused:?}"
        );
        let call = Call::Validate {
            payload: serde_json::json!({}),
            config: serde_json::json!({}),
        };
        let answer = runtime
            .call(&Digest::of(junk), Limits::default(), call)
            .await;
        assert_eq!(answer, Err(Fault::NotLoaded));
    }
}

/// Admission is idempotent.
pub async fn admitting_twice_says_the_same(runtime: &dyn Runtime, sample: &Sample) {
    for _ in 0..2 {
        let description = runtime
            .admit(Arc::clone(&sample.component), Limits::default())
            .await;
        assert_eq!(description.as_ref(), Ok(&sample.description));
    }
}

/// The kind of the answer is the kind of the question.
pub async fn every_question_gets_an_answer_of_its_kind(runtime: &dyn Runtime, sample: &Sample) {
    let accepted = ask(runtime, sample, &sample.accepted).await.answer;
    assert!(matches!(accepted, Answer::Validated(Ok(_))), "{accepted:?}");
    let refused = ask(runtime, sample, &sample.refused).await.answer;
    assert!(
        matches!(&refused, Answer::Validated(Err(violations)) if !violations.is_empty()),
        "{refused:?}"
    );
    let route = ask(runtime, sample, &sample.route).await.answer;
    assert!(matches!(route, Answer::Routed(_)), "{route:?}");
    let settle = ask(runtime, sample, &sample.settle).await.answer;
    assert!(matches!(settle, Answer::Settled(_)), "{settle:?}");
}

/// A decision can be replayed: nothing is kept between calls, and fuel is counted, not measured.
pub async fn the_same_question_gets_the_same_answer_for_the_same_fuel(
    runtime: &dyn Runtime,
    sample: &Sample,
) {
    for call in sample.calls() {
        let first = ask(runtime, sample, call).await;
        assert!(first.fuel > 0, "{call:?} took no fuel");
        for other in sample.calls() {
            ask(runtime, sample, other).await;
        }
        assert_eq!(ask(runtime, sample, call).await, first);
    }
}

/// A call that runs out of fuel says so, and the next one is served.
pub async fn a_fault_stays_with_its_call(runtime: &dyn Runtime, sample: &Sample) {
    let before = ask(runtime, sample, &sample.accepted).await;
    let limits = Limits {
        fuel: 1,
        ..Limits::default()
    };
    let starved = runtime
        .call(&sample.digest(), limits, sample.accepted.clone())
        .await;
    assert_eq!(starved, Err(Fault::Fuel { limit: 1 }));
    assert_eq!(ask(runtime, sample, &sample.accepted).await, before);
}

/// The host bounds what a plugin may say.
pub async fn an_answer_over_the_limit_is_a_fault(runtime: &dyn Runtime, sample: &Sample) {
    let limits = Limits {
        output_bytes: 1,
        ..Limits::default()
    };
    let answer = runtime
        .call(&sample.digest(), limits, sample.accepted.clone())
        .await;
    assert!(matches!(answer, Err(Fault::Answer(_))), "{answer:?}");
}

/// Callers do not get in each other's way.
pub async fn many_callers_at_once_are_all_answered(runtime: &Arc<dyn Runtime>, sample: &Sample) {
    let expected = ask(&**runtime, sample, &sample.route).await;
    let callers: Vec<_> = (0..64)
        .map(|_| {
            let (runtime, sample) = (Arc::clone(runtime), sample.clone());
            tokio::spawn(async move { ask(&*runtime, &sample, &sample.route).await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.expect("a caller panicked"), expected);
    }
}

/// What is dropped answers no more; the same bytes may come back.
pub async fn a_dropped_component_is_gone_until_it_is_admitted_again(
    runtime: &dyn Runtime,
    sample: &Sample,
) {
    let before = ask(runtime, sample, &sample.settle).await;
    runtime.drop_component(&sample.digest());
    let gone = runtime
        .call(&sample.digest(), Limits::default(), sample.settle.clone())
        .await;
    assert_eq!(gone, Err(Fault::NotLoaded));
    admitting_twice_says_the_same(runtime, sample).await;
    assert_eq!(ask(runtime, sample, &sample.settle).await, before);
}

async fn ask(runtime: &dyn Runtime, sample: &Sample, call: &Call) -> Answered {
    runtime
        .call(&sample.digest(), Limits::default(), call.clone())
        .await
        .unwrap_or_else(|fault| panic!("{call:?} was not answered: {fault}"))
}
