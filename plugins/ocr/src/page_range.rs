//! Which pages of a document: `1-3,5`.
//!
//! Pages count from 1, and the parts ascend without overlap, so that a range names each page once and in the order in
//! which it will be read. Both bounds below are far above any document; they keep a hostile range from costing anything.

use std::fmt;

use lucius_step_sdk::quoted;

/// The highest page number that may be named.
const PAGE_MAX: u32 = 1_000_000;

/// The most parts a range may have.
const PARTS_MAX: usize = 256;

/// A checked range; its `Display` is the one way to write it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PageRange(Vec<(u32, u32)>);

/// What is wrong with a range.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// A part, quoted, is neither a page nor a span of pages.
    Syntax(String),
    /// A part, quoted, names page 0.
    Zero(String),
    /// A span ends before it starts.
    Backwards(u32, u32),
    /// A part starts at or before the page where the part before it ended.
    Overlap(u32, u32),
    /// A page number is beyond all documents.
    PageTooHigh,
    /// There are too many parts.
    TooManyParts,
}

impl Wrong {
    /// The stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "PAGE_RANGE_SYNTAX",
            Self::Zero(_) => "PAGE_RANGE_ZERO",
            Self::Backwards(..) | Self::Overlap(..) => "PAGE_RANGE_ORDER",
            Self::PageTooHigh | Self::TooManyParts => "PAGE_RANGE_LIMIT",
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(part) => write!(
                f,
                "{part} is not a page or a span of pages; write pages like 1-3,5, or leave page_range out for all"
            ),
            Self::Zero(part) => write!(f, "{part} names page 0; pages count from 1"),
            Self::Backwards(first, last) => {
                write!(f, "{first}-{last} runs backwards; write {last}-{first}")
            }
            Self::Overlap(before, first) => write!(
                f,
                "page {first} comes after page {before}; name each page once, in ascending order"
            ),
            Self::PageTooHigh => write!(f, "name no page above {PAGE_MAX}"),
            Self::TooManyParts => write!(f, "name at most {PARTS_MAX} pages or spans of pages"),
        }
    }
}

impl PageRange {
    /// Reads a range; white space around numbers does not matter.
    pub(crate) fn parse(text: &str) -> Result<Self, Wrong> {
        let mut parts: Vec<(u32, u32)> = Vec::new();
        for part in text.split(',') {
            if parts.len() == PARTS_MAX {
                return Err(Wrong::TooManyParts);
            }
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (page(first, part)?, page(last, part)?),
                None => {
                    let only = page(part, part)?;
                    (only, only)
                }
            };
            if last < first {
                return Err(Wrong::Backwards(first, last));
            }
            if let Some(&(_, before)) = parts.last()
                && first <= before
            {
                return Err(Wrong::Overlap(before, first));
            }
            parts.push((first, last));
        }
        Ok(Self(parts))
    }
}

/// Reads one page number of `part`.
fn page(number: &str, part: &str) -> Result<u32, Wrong> {
    let digits = number.trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Wrong::Syntax(quoted(part.trim())));
    }
    match digits.parse() {
        Ok(0) => Err(Wrong::Zero(quoted(part.trim()))),
        Ok(page) if page <= PAGE_MAX => Ok(page),
        // Only digits, so the one way to fail is to be too large.
        Ok(_) | Err(_) => Err(Wrong::PageTooHigh),
    }
}

impl fmt::Display for PageRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (first, last)) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            write!(f, "{first}")?;
            if first != last {
                write!(f, "-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> &'static str {
        PageRange::parse(text)
            .expect_err("the range is wrong")
            .code()
    }

    #[test]
    fn a_range_is_written_one_way() {
        for (given, canonical) in [
            ("1-3,5", "1-3,5"),
            (" 1 - 3 ,\t5 ", "1-3,5"),
            ("7", "7"),
            ("4-4", "4"),
            ("007-09", "7-9"),
            ("1-2,3", "1-2,3"),
            ("1000000", "1000000"),
        ] {
            let written = PageRange::parse(given).map(|range| range.to_string());
            assert_eq!(written.as_deref(), Ok(canonical), "{given:?}");
        }
    }

    #[test]
    fn what_is_no_range_is_a_syntax_error() {
        for text in [
            "",
            " ",
            "a",
            "1,",
            ",1",
            "1,,2",
            "1-",
            "-1",
            "1-2-3",
            "1.5",
            "+1",
            "1 2",
            "１",
            "1;2",
            "1\u{2013}3",
        ] {
            assert_eq!(code(text), "PAGE_RANGE_SYNTAX", "{text:?}");
        }
    }

    #[test]
    fn pages_ascend_and_none_is_named_twice() {
        for text in ["3-1", "5,1-3", "1-3,3", "1-3,2-5", "2,2", "1-10,5"] {
            assert_eq!(code(text), "PAGE_RANGE_ORDER", "{text:?}");
        }
    }

    #[test]
    fn there_is_no_page_zero() {
        for text in ["0", "0-3", "00", "1,0"] {
            assert_eq!(code(text), "PAGE_RANGE_ZERO", "{text:?}");
        }
    }

    #[test]
    fn a_range_is_bounded() {
        let parts: Vec<String> = (1..=257).map(|page| page.to_string()).collect();
        for text in [
            "1000001",
            "99999999999999999999",
            "1-4294967296",
            &parts.join(","),
        ] {
            assert_eq!(code(text), "PAGE_RANGE_LIMIT");
        }
        assert!(PageRange::parse(&parts[..256].join(",")).is_ok());
    }

    #[test]
    fn what_is_quoted_back_is_short() {
        let message = PageRange::parse(&"x".repeat(10_000))
            .expect_err("no page")
            .to_string();
        assert!(message.len() < 200, "{message}");
    }
}
