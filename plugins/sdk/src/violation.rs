//! What is wrong with a payload, gathered so that the client gets all of it at once.

use crate::bindings::lucius::step::types as wit;

/// The longest message, in characters. Messages quote what a client sent, and that may be of any length.
const MESSAGE_CHARACTERS_MAX: usize = 400;

/// The most that [`quoted`] quotes, in characters.
const QUOTED_CHARACTERS_MAX: usize = 40;

/// What a client sent, for a message: in quotation marks, control characters escaped, and cut when long.
pub fn quoted(text: &str) -> String {
    let short: String = text.chars().take(QUOTED_CHARACTERS_MAX).collect();
    let cut = if short.len() < text.len() { "..." } else { "" };
    format!("{:?}", format!("{short}{cut}"))
}

/// One thing that is wrong with a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON Pointer (RFC 6901) into the payload: `/page_range`. Empty for the whole payload.
    pub pointer: String,
    /// A stable code in UPPER_SNAKE_CASE, for programs.
    pub code: String,
    /// What is wrong and what to do, for a person.
    pub message: String,
}

/// Everything that is wrong with a payload so far.
///
/// ```
/// # use lucius_step_sdk::Violations;
/// let mut violations = Violations::new();
/// violations.add("/pages", "PAGES_NONE", "name at least one page");
/// assert!(violations.or("the payload").is_err());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Nothing wrong yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A single violation, for a check that cannot go on.
    pub fn one(
        pointer: impl Into<String>,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let mut violations = Self::new();
        violations.add(pointer, code, message);
        violations
    }

    /// Notes one more. `pointer` is a JSON Pointer into the payload, `code` is stable and in UPPER_SNAKE_CASE, and
    /// `message` says what to do; beyond 400 characters it is cut.
    pub fn add(
        &mut self,
        pointer: impl Into<String>,
        code: impl Into<String>,
        message: impl Into<String>,
    ) {
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(MESSAGE_CHARACTERS_MAX) {
            message.truncate(end);
            message.push_str("...");
        }
        self.0.push(Violation {
            pointer: pointer.into(),
            code: code.into(),
            message,
        });
    }

    /// True when nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The violations in the order in which they were added.
    pub fn iter(&self) -> std::slice::Iter<'_, Violation> {
        self.0.iter()
    }

    /// Ends a check: `value` when nothing is wrong.
    ///
    /// # Errors
    /// The violations, when there are any.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }

    /// All in one sentence, for places that have room for a single message.
    pub(crate) fn summary(&self) -> String {
        let parts: Vec<String> = self
            .iter()
            .map(|violation| match violation.pointer.as_str() {
                "" => violation.message.clone(),
                pointer => format!("{pointer}: {}", violation.message),
            })
            .collect();
        parts.join("; ")
    }
}

impl IntoIterator for Violations {
    type Item = Violation;
    type IntoIter = std::vec::IntoIter<Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Violations {
    type Item = &'a Violation;
    type IntoIter = std::slice::Iter<'a, Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Violations> for Vec<wit::Violation> {
    fn from(violations: Violations) -> Self {
        violations
            .into_iter()
            .map(
                |Violation {
                     pointer,
                     code,
                     message,
                 }| wit::Violation {
                    pointer,
                    code,
                    message,
                },
            )
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_short_and_harmless() {
        assert_eq!(quoted("a\n\"b\u{1b}"), r#""a\n\"b\u{1b}""#);
        assert_eq!(quoted(&"ä".repeat(40)), format!("{:?}", "ä".repeat(40)));
        assert_eq!(
            quoted(&"ä".repeat(41)),
            format!("\"{}...\"", "ä".repeat(40))
        );
    }

    #[test]
    fn a_message_is_cut_when_long() {
        let violations = Violations::one("", "LONG", "ö".repeat(1_000));
        let longest = violations
            .iter()
            .map(|violation| violation.message.chars().count())
            .max();
        assert_eq!(longest, Some(403));
    }
}
