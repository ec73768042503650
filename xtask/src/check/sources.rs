//! Rules for source files: short enough to be read in one go, and nothing left unfinished.

use super::{Finding, code};

/// Above this a file should be split.
const LONG_LINES: usize = 400;
/// Above this it must be, or say why not.
const TOO_LONG_LINES: usize = 600;
/// How a file that has to be long says so, and within how many of its first lines.
const REASON: &str = "Length: ";
const REASON_LINES: usize = 10;

/// A file's length, unless its first lines give a reason for it.
pub(super) fn length(file: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let reason = text.lines().take(REASON_LINES).any(|line| {
        let comment = line.trim_start_matches(['/', '!', '#', ' ']);
        comment.len() < line.len()
            && comment
                .strip_prefix(REASON)
                .is_some_and(|why| !why.trim().is_empty())
    });
    if reason || lines <= LONG_LINES {
        return None;
    }
    let what = format!("has {lines} lines");
    Some(if lines > TOO_LONG_LINES {
        let remedy =
            format!("split it by concern, or give the reason near the top: `// {REASON}...`");
        Finding::error(file, what, remedy)
    } else {
        Finding::warning(
            file,
            what,
            format!("split it by concern before it passes {TOO_LONG_LINES}"),
        )
    })
}

/// Tests that are switched off and code that is not written yet.
pub(super) fn unfinished(file: &str, text: &str) -> Vec<Finding> {
    // In texts and comments they are allowed, so this list and its tests are no finding of their own.
    const SIGNS: [(&str, &str, &str); 3] = [
        (
            "#[ignore",
            "switches a test off",
            "make it pass, or remove it",
        ),
        ("todo!", "leaves code unwritten", "write it"),
        (
            "unimplemented!",
            "leaves code unwritten",
            "write it, or make the case impossible",
        ),
    ];
    let code = code::only(text);
    let mut findings = Vec::new();
    for (number, line) in code.lines().enumerate() {
        for (sign, what, remedy) in SIGNS {
            if line.contains(sign) {
                let place = format!("{file}:{}", number + 1);
                findings.push(Finding::error(&place, what, remedy));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Weight;
    use super::*;

    fn weight_of(lines: usize, first: &str) -> Option<Weight> {
        let text = format!("{first}\n{}", "x\n".repeat(lines - 1));
        length("a.rs", &text).map(|finding| finding.weight)
    }

    #[test]
    fn a_file_is_warned_about_first_and_refused_later() {
        assert_eq!(weight_of(400, "x"), None);
        assert_eq!(weight_of(401, "x"), Some(Weight::Warning));
        assert_eq!(weight_of(600, "x"), Some(Weight::Warning));
        assert_eq!(weight_of(601, "x"), Some(Weight::Error));
    }

    #[test]
    fn a_reason_near_the_top_lets_a_file_be_long_and_an_empty_one_does_not() {
        assert_eq!(
            weight_of(900, "// Length: one table, read as a whole"),
            None
        );
        assert_eq!(
            weight_of(900, "//! Length: one table, read as a whole"),
            None
        );
        assert_eq!(weight_of(900, "// Length: "), Some(Weight::Error));
        assert_eq!(
            weight_of(900, "Length: not in a comment"),
            Some(Weight::Error)
        );
    }

    #[test]
    fn unfinished_code_is_found_with_its_line() {
        let findings = unfinished(
            "a.rs",
            "fn f() {\n    todo!()\n}\n#[ignore = \"slow\"]\nfn t() {}",
        );
        let places: Vec<&str> = findings
            .iter()
            .map(|finding| finding.file.as_str())
            .collect();
        assert_eq!(places, ["a.rs:2", "a.rs:4"]);
    }

    #[test]
    fn talking_about_unfinished_code_is_allowed() {
        assert_eq!(
            unfinished("a.rs", "// todo!() is refused\nlet a = \"unimplemented!\";"),
            []
        );
    }
}
