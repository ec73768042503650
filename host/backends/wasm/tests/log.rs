//! What a plugin writes reaches the host's log bounded and defused.
//!
//! The recorder is the process's only subscriber, so this test has a binary of its own.

mod guests;

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use lucius_domain::id::Digest;
use lucius_ports::plugin::{Limits, Runtime};
use lucius_wasm::{Sandbox, Settings};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

use guests::Guest;

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Line>>>);

#[derive(Clone, Debug, Default, PartialEq)]
struct Line {
    level: Option<Level>,
    plugin: String,
    message: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "plugin" {
            value.clone_into(&mut self.plugin);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "plugin"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line {
            level: Some(*event.metadata().level()),
            ..Line::default()
        };
        event.record(&mut line);
        self.0.lock().expect("no recorder panics").push(line);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn lines_are_bounded_defused_and_marked_with_the_plugins_name() {
    let recorder = Recorder::default();
    tracing::subscriber::set_global_default(recorder.clone()).unwrap();
    let settings = Settings {
        log_lines: 3,
        log_line_chars: 5,
        ..Settings::default()
    };
    let sandbox = Sandbox::start(settings).unwrap();
    let guest = Guest {
        more: r#"(data (i32.const 2048) "a\0a\1b[mlong")"#.to_owned(),
        validate: format!(
            "(loop $again
               (call $log (i32.const 2) (i32.const 2048) (i32.const 9))
               (local.set $i (i32.add (local.get $i) (i32.const 1)))
               (br_if $again (i32.lt_u (local.get $i) (i32.const 1000))))
             {}",
            Guest::default().validate
        ),
        ..Guest::default()
    };
    let component = guest.component();
    sandbox
        .admit(Arc::clone(&component), Limits::default())
        .await
        .unwrap();
    let call = guests::validate();
    sandbox
        .call(&Digest::of(&component), Limits::default(), call)
        .await
        .unwrap();
    let line = |message: &str| Line {
        level: Some(Level::WARN),
        plugin: "ocr".to_owned(),
        message: message.to_owned(),
    };
    let cut = line("a  [m…");
    let expected = [
        cut.clone(),
        cut.clone(),
        cut,
        line("more lines of this call are not shown"),
    ];
    assert_eq!(*recorder.0.lock().unwrap(), expected);
}
