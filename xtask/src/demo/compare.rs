//! How far a recognised text is from the known one.

/// The share of characters that are wrong: edits needed to make `found` of `known`, by the length of `known`.
///
/// White space is compared as single blanks, for a line's end is layout. 0 is perfect; it can exceed 1.
pub(super) fn character_error_rate(known: &str, found: &str) -> f64 {
    let known: Vec<char> = squeeze(known).chars().collect();
    let found: Vec<char> = squeeze(found).chars().collect();
    if known.is_empty() {
        return if found.is_empty() { 0.0 } else { 1.0 };
    }
    let edits = edit_distance(&known, &found);
    // Both counts are far below 2^52, so the conversion is exact.
    #[allow(
        clippy::cast_precision_loss,
        reason = "a page has far fewer than 2^52 characters"
    )]
    let rate = edits as f64 / known.len() as f64;
    rate
}

/// The text with each run of white space as one blank.
pub(super) fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Levenshtein's distance, one row at a time.
fn edit_distance(known: &[char], found: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=found.len()).collect();
    for (line, expected) in known.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, seen) in found.iter().enumerate() {
            let replaced = diagonal + usize::from(expected != seen);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[found.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_in_another_layout_has_no_errors() {
        assert_eq!(
            character_error_rate("Total due:\nEUR 1", "Total  due: EUR 1\n\n"),
            0.0
        );
    }

    #[test]
    fn one_wrong_one_missing_and_one_extra_character_count_alike() {
        for found in ["abcdefghiX", "abcdefghi", "abcdefghijk"] {
            assert_eq!(character_error_rate("abcdefghij", found), 0.1);
        }
    }

    #[test]
    fn no_text_at_all_is_wholly_wrong() {
        assert_eq!(character_error_rate("abc", ""), 1.0);
        assert_eq!(character_error_rate("", "abc"), 1.0);
    }
}
