//! What makes two final failures the same: the code, the step, who did it and who decided, and the message without
//! what differs from one document to the next. A thousand jobs that failed for one reason are one group of dead
//! letters, with one thing to mend.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{Digest, ServiceName, StepId};
use crate::job::Job;

/// The longest message in a signature, in characters.
const MAX_MESSAGE_CHARS: usize = 200;
/// A run of hexadecimal digits at least this long is an id or a digest.
const HEX_RUN: usize = 8;

/// Why and where jobs failed for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The failure's stable code.
    pub code: String,
    /// The step that failed.
    pub step_id: StepId,
    /// The service that the protocol declares for it.
    pub service: ServiceName,
    /// The plugin that decides about it, as `id@version`.
    pub plugin: Option<String>,
    /// The message, with numbers, ids, addresses and paths made alike.
    pub message: String,
}

impl Signature {
    /// The signature of a job that failed for good; nothing for any other.
    pub fn of(job: &Job) -> Option<Self> {
        let failure = job.failure()?;
        let step = job.failed_step()?;
        let spec = job.spec.steps.get(step)?;
        Some(Self {
            code: failure.code.clone(),
            step_id: spec.step_id.clone(),
            service: spec.service.clone(),
            plugin: job.plugin(step).map(ToString::to_string),
            message: normalized(&failure.message),
        })
    }

    /// What it is stored and asked for by.
    pub fn id(&self) -> Id {
        let Self {
            code,
            step_id,
            service,
            plugin,
            message,
        } = self;
        let parts = (code, step_id.as_str(), service.as_str(), plugin, message);
        // Unlike a plain join, the debug form of texts cannot give two signatures one text.
        let digest = Digest::of(format!("{parts:?}").as_bytes()).0;
        Id(std::array::from_fn(|index| digest[index]))
    }
}

/// A signature's name, written as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 8]);

impl Id {
    /// Reads 16 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| is_hex)?;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom("a signature is written as 16 hexadecimal digits")
        })
    }
}

/// The message without what differs from one job to the next.
fn normalized(message: &str) -> String {
    let words: Vec<String> = message.split_whitespace().map(word).collect();
    let text = words.join(" ");
    text.chars().take(MAX_MESSAGE_CHARS).collect()
}

fn word(word: &str) -> String {
    let bare = word.trim_start_matches(|c: char| "\"'([<{`".contains(c));
    let (before, _) = word.split_at(word.len() - bare.len());
    let end = bare.trim_end_matches(|c: char| "\"')]>}`,;:.!?".contains(c));
    let (inner, after) = bare.split_at(end.len());
    let inner = if inner.contains("://") {
        "<uri>".to_owned()
    } else if inner.starts_with('/') && inner.len() > 1 {
        "<path>".to_owned()
    } else {
        numbers(inner)
    };
    format!("{before}{inner}{after}")
}

/// Every number, and every long run of hexadecimal digits that has a digit, becomes one `#`.
fn numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let run = |digit: fn(&char) -> bool| rest.chars().take_while(digit).count();
        let hex = run(char::is_ascii_hexdigit);
        let digits = run(char::is_ascii_digit);
        let is_id = hex >= HEX_RUN && rest[..hex].bytes().any(|byte| byte.is_ascii_digit());
        // Both count ASCII characters, so they are lengths in bytes too.
        let taken = if is_id { hex } else { digits };
        if taken > 0 {
            if !out.ends_with('#') && !out.ends_with("#-") {
                out.push('#');
            }
            rest = &rest[taken..];
            continue;
        }
        let mut chars = rest.chars();
        out.extend(chars.next());
        rest = chars.as_str();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_document_to_document_is_made_alike() {
        let same = [
            (
                "page 3 of file:///in/a.pdf is blank (1,024 bytes)",
                "page # of <uri> is blank (#,# bytes)",
            ),
            ("cannot read '/data/x/17.png'.", "cannot read '<path>'."),
            (
                "job 0192c0de-0000-7000-8000-00000000002a: digest deadbeef0123 differs",
                "job #-####: digest # differs",
            ),
            ("took 1.5s, not 30s", "took #.#s, not #s"),
            ("the model is overloaded", "the model is overloaded"),
            ("Größe über 10 MB", "Größe über # MB"),
        ];
        for (message, expected) in same {
            let ours = normalized(message);
            if message.contains("0192c0de") {
                let other = message.replace("0192c0de", "aaaaaaa1").replace("2a", "ff");
                assert_eq!(ours, normalized(&other));
                continue;
            }
            assert_eq!(ours, expected);
        }
        assert_eq!(
            normalized(&"ä".repeat(900)).chars().count(),
            MAX_MESSAGE_CHARS
        );
        assert_ne!(normalized("no engine"), normalized("no model"));
    }

    #[test]
    fn a_name_reads_back_what_it_writes() {
        let signature = Signature {
            code: "X".to_owned(),
            step_id: "ocr".into(),
            service: "platform-ocr".into(),
            plugin: None,
            message: "m".to_owned(),
        };
        let id = signature.id();
        assert_eq!(Id::parse(&id.to_string()), Some(id));
        assert_eq!(Id::parse("+123456789abcdef"), None);
        let other = Signature {
            plugin: Some("ocr@1.0.0".to_owned()),
            ..signature
        };
        assert_ne!(other.id(), id);
    }
}
