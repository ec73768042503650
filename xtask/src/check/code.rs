//! Rust source with its comments and literals blanked out.
//!
//! Rules that look for a word must not trip over one that is only talked about. This is no parser: it knows just
//! enough of the language to tell code from text, and keeps every line where it was.

/// The same text with the contents of comments, strings and characters replaced by spaces.
pub(super) fn only(source: &str) -> String {
    let mut rest = source;
    let mut kept = String::with_capacity(source.len());
    while let Some(first) = rest.chars().next() {
        let length = text_length(rest, kept.chars().next_back());
        if length == 0 {
            kept.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            let (text, after) = rest.split_at(length);
            kept.extend(text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = after;
        }
    }
    kept
}

/// The length in bytes of the comment or literal that `rest` starts with; 0 when it starts with code.
fn text_length(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return quoted(rest, '"');
    }
    if rest.starts_with('\'') {
        return character(rest);
    }
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if in_word { 0 } else { raw_string(rest) }
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character literal; a lifetime is code.
fn character(rest: &str) -> usize {
    let mut following = rest[1..].chars();
    match (following.next(), following.next()) {
        (Some('\\'), _) => quoted(rest, '\''),
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 0,
    }
}

fn raw_string(rest: &str) -> usize {
    let Some(after) = rest.strip_prefix('r').or_else(|| rest.strip_prefix("br")) else {
        return 0;
    };
    let hashes = after.len() - after.trim_start_matches('#').len();
    if !after[hashes..].starts_with('"') {
        return 0;
    }
    let start = rest.len() - after.len() + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    rest[start..]
        .find(&end)
        .map_or(rest.len(), |at| start + at + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_become_blank_and_lines_stay() {
        let source = "let a = \"x // y\"; // b\nlet c = r#\"d \"e\"\"#; /* f /* g */ h */ i";
        let kept = only(source);
        assert_eq!(kept.lines().count(), 2);
        assert_eq!(
            kept.split_whitespace().collect::<Vec<_>>().join(" "),
            "let a = ; let c = ; i"
        );
    }

    #[test]
    fn lifetimes_are_code_and_characters_are_not() {
        assert_eq!(only("fn f<'a>(x: &'a str) {}"), "fn f<'a>(x: &'a str) {}");
        assert_eq!(only("['\"', '\\'', 'é']"), "[   ,     ,    ]");
    }

    #[test]
    fn a_name_that_ends_in_r_starts_no_raw_string() {
        assert_eq!(only("for\"a\"b").replace(' ', ""), "forb");
    }

    #[test]
    fn text_that_never_ends_is_blank_to_the_end() {
        assert_eq!(only("a \"b").trim(), "a");
        assert_eq!(only("a /* b").trim(), "a");
    }
}
