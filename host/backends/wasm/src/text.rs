//! Text from a guest, made fit to be shown: one line, bounded, and without anything a terminal would obey.

/// At most `max_chars` characters in one line. Control characters and those that reorder or break text become
/// spaces; a cut is marked.
pub(crate) fn one_line(text: &str, max_chars: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max_chars.saturating_mul(4)));
    for (count, c) in text.chars().enumerate() {
        if count == max_chars {
            line.push('…');
            break;
        }
        line.push(if obeyed(c) { ' ' } else { c });
    }
    line
}

/// True for what changes how the text around it is shown.
pub(crate) fn obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_line_loses_its_teeth() {
        assert_eq!(one_line("a\nb\u{1b}[31mc\u{202e}d", 100), "a b [31mc d");
    }

    #[test]
    fn a_long_line_is_cut_at_a_character_and_says_so() {
        assert_eq!(one_line("ééé", 3), "ééé");
        assert_eq!(one_line("éééé", 3), "ééé…");
    }
}
