//! Where the passages of a text begin and end.
//!
//! Recognised text is not prose: a line break may be the edge of the paper or the end of a field.
//! Gluing `Total due: EUR 1,284.50` to its neighbours hides the answer to "what is the total", and
//! cutting a wrapped sentence in two hides what it says. So lines are first joined where they look
//! wrapped, and only then is each joined run split at the ends of its sentences. Joining is the
//! exception: a short line, a label, a list item or a table row stands for itself.

use std::ops::Range;

/// A line narrower than this is not wrapped, whatever its neighbours look like.
const WRAPPED_LINE_CHARS: usize = 40;

/// A label such as `Amount due:` is at most this long.
const LABEL_CHARS: usize = 40;

/// Words that end in a full stop without ending their sentence.
const ABBREVIATIONS: &[&str] = &[
    "approx", "art", "cf", "dr", "e.g", "eq", "fig", "i.e", "mr", "mrs", "ms", "no", "nos", "nr",
    "p", "pp", "prof", "sec", "st", "vol", "vs",
];

/// The byte ranges of the passages of `text`, in order: disjoint, without white space at their
/// edges, and together holding all that is not white space. None spans a form feed.
pub fn passages(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut page_start = 0;
    for page in text.split('\u{c}') {
        for run in joined_lines(page) {
            let offset = page_start + run.start;
            let within = sentences(&page[run]);
            found.extend(within.into_iter().map(|r| r.start + offset..r.end + offset));
        }
        page_start += page.len() + 1;
    }
    found
}

/// Runs of lines of one page that read as one, as byte ranges.
fn joined_lines(page: &str) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for paragraph in paragraphs(page) {
        let widest = paragraph
            .iter()
            .map(|line| width(&page[line.clone()]))
            .max()
            .unwrap_or(0);
        let mut previous: Option<&Range<usize>> = None;
        for line in &paragraph {
            let joins =
                previous.is_some_and(|p| wrapped(&page[p.clone()], &page[line.clone()], widest));
            match runs.last_mut() {
                Some(run) if joins => run.end = line.end,
                _ => runs.push(line.clone()),
            }
            previous = Some(line);
        }
    }
    runs
}

/// The lines of a page, trimmed, grouped where blank lines separate them.
fn paragraphs(page: &str) -> Vec<Vec<Range<usize>>> {
    let mut groups = vec![Vec::new()];
    let mut start = 0;
    for line in page.split('\n') {
        let trimmed = trimmed(page, start..start + line.len());
        start += line.len() + 1;
        match groups.last_mut() {
            Some(group) if !trimmed.is_empty() => group.push(trimmed),
            Some(group) if group.is_empty() => {}
            _ => groups.push(Vec::new()),
        }
    }
    groups
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let left = part.trim_start();
    let start = range.start + (part.len() - left.len());
    start..start + left.trim_end().len()
}

fn width(line: &str) -> usize {
    line.chars().count()
}

/// Whether `next` continues `line`, in a paragraph whose widest line has `widest` characters.
fn wrapped(line: &str, next: &str, widest: usize) -> bool {
    if is_list_item(next) || has_columns(line) || has_columns(next) {
        return false;
    }
    if line.ends_with(':') && width(line) <= LABEL_CHARS {
        return !is_labelled(next);
    }
    let ends_in_value = line.ends_with(|c: char| c.is_numeric() || "€$£¥%".contains(c));
    if next.starts_with(char::is_lowercase) {
        return !(ends_in_value && is_labelled(line));
    }
    let full = width(line) >= WRAPPED_LINE_CHARS && width(line) * 4 >= widest * 3;
    full && !ends_in_value && !is_labelled(next)
}

/// `- item`, `• item`, `3. item`, `a) item`.
fn is_list_item(line: &str) -> bool {
    let Some((mark, _)) = line.split_once(char::is_whitespace) else {
        return false;
    };
    let number = mark.trim_start_matches('(').trim_end_matches(['.', ')']);
    let numbered = number.len() < mark.len()
        && (number.chars().all(|c| c.is_ascii_digit() || c == '.') || width(number) == 1);
    numbered || ["-", "–", "—", "•", "*", "·", "o", "+"].contains(&mark)
}

/// `Total due: EUR 12`, `Bill to:`.
fn is_labelled(line: &str) -> bool {
    let Some(colon) = line
        .find(": ")
        .or_else(|| line.ends_with(':').then(|| line.len() - 1))
    else {
        return false;
    };
    width(&line[..colon]) <= LABEL_CHARS
}

/// A gap inside the line, as between the cells of a table.
fn has_columns(line: &str) -> bool {
    line.contains("   ") || line.contains('\t') || line.contains(" | ")
}

/// The byte ranges of the sentences of `run`, which has no white space at its edges.
fn sentences(run: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut rest = run.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        if !is_terminal(c) {
            continue;
        }
        let mut end = at + c.len_utf8();
        while let Some((next_at, next)) = rest.next_if(|(_, n)| is_terminal(*n) || is_closing(*n)) {
            end = next_at + next.len_utf8();
        }
        if ends_sentence(&run[start..at], c, &run[end..]) {
            let sentence = trimmed(run, start..end);
            found.extend((!sentence.is_empty()).then_some(sentence));
            start = end;
        }
    }
    let last = trimmed(run, start..run.len());
    found.extend((!last.is_empty()).then_some(last));
    found
}

const fn is_terminal(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…' | '。' | '！' | '？')
}

const fn is_closing(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '»' | '”' | '’' | '」')
}

/// Whether `mark` ends the sentence that begins with `before`, when `after` follows.
fn ends_sentence(before: &str, mark: char, after: &str) -> bool {
    if matches!(mark, '。' | '！' | '？') {
        return true;
    }
    let next = after.trim_start();
    let spaced = next.len() < after.len();
    let Some(first) = next.chars().next() else {
        return true;
    };
    if !spaced || first.is_lowercase() {
        return false;
    }
    if mark != '.' {
        return true;
    }
    let word_start = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let word = before
        .get(word_start..)
        .unwrap_or(before)
        .trim_start_matches(['(', '"', '“']);
    let numbering = word_start == 0 && word.chars().all(|c| c.is_ascii_digit());
    let initial = width(word) == 1 && word.chars().all(char::is_uppercase);
    !numbering && !initial && !ABBREVIATIONS.contains(&word.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::passages;

    fn split(text: &str) -> Vec<&str> {
        passages(text)
            .into_iter()
            .map(|range| &text[range])
            .collect()
    }

    #[test]
    fn the_lines_of_an_invoice_stand_for_themselves() {
        let text = "INVOICE\nInvoice No. 2024-17\nDate: 14 March 2024\n\n\
                    Replacement filter cartridge, type B 12 45.00 540.00\n\
                    Maintenance visit, two technicians, half a day 744.50\n\
                    Total due: EUR 1,284.50\nplease pay to the account below\n";
        assert_eq!(
            split(text),
            [
                "INVOICE",
                "Invoice No. 2024-17",
                "Date: 14 March 2024",
                "Replacement filter cartridge, type B 12 45.00 540.00",
                "Maintenance visit, two technicians, half a day 744.50",
                "Total due: EUR 1,284.50",
                "please pay to the account below",
            ]
        );
    }

    #[test]
    fn a_wrapped_sentence_is_one_passage() {
        let text = "Payment is due within thirty days of the date of\nthe invoice. Interest of two \
                    percent a month is charged by\nNorthwind Traders on what is late.\n\nThank you!";
        assert_eq!(
            split(text),
            [
                "Payment is due within thirty days of the date of\nthe invoice.",
                "Interest of two percent a month is charged by\nNorthwind Traders on what is late.",
                "Thank you!",
            ]
        );
    }

    #[test]
    fn a_label_takes_the_line_below_it() {
        assert_eq!(
            split("Bill to:\nNorthwind Traders\nDue date:\nAmount: 3 EUR"),
            ["Bill to:\nNorthwind Traders", "Due date:", "Amount: 3 EUR"]
        );
    }

    #[test]
    fn list_items_and_table_rows_are_not_joined() {
        let text = "The supplier undertakes the following things\n- to deliver on time\n2. to test\n\
                    Widget, large, blue      12     45.00\nWidget, small, red       1      9.00";
        assert_eq!(split(text).len(), 5, "{:?}", split(text));
    }

    #[test]
    fn a_full_stop_in_an_abbreviation_or_number_ends_nothing() {
        let text = "Mr. J. Smith paid 1.50 for No. 5, e.g. Tea. He left. \"Why?\" Nobody knows…";
        assert_eq!(
            split(text),
            [
                "Mr. J. Smith paid 1.50 for No. 5, e.g. Tea.",
                "He left.",
                "\"Why?\"",
                "Nobody knows…"
            ]
        );
    }

    #[test]
    fn pages_and_scripts_without_spaces_are_split() {
        assert_eq!(
            split("half a\u{c}sentence 。これ。それ"),
            ["half a", "sentence 。", "これ。", "それ"]
        );
    }

    #[test]
    fn nothing_is_lost_repeated_or_out_of_order() {
        let samples = [
            "",
            " \r\n\t\u{c}\n ",
            ". . .\n!?\r\n\r\nA.\r\nb",
            "Zoë’s “naïve” façade.\u{a0}🙂 Ende.\u{c}\u{c}x\n:\n:",
            "1. One. 2. Two.\n3. Three",
        ];
        for text in samples {
            let found = passages(text);
            assert!(
                found.windows(2).all(|pair| pair[0].end <= pair[1].start),
                "{text:?}"
            );
            assert!(
                found
                    .iter()
                    .all(|r| text[r.clone()].trim() == &text[r.clone()]),
                "{text:?}"
            );
            let kept: String = found.into_iter().map(|r| &text[r]).collect();
            let solid = |s: &str| s.split_whitespace().collect::<String>();
            assert_eq!(solid(&kept), solid(text));
        }
    }
}
