//! Which pages of a document are wanted: `1-3,5`.

use crate::service::Failure;

/// A checked page range: ascending, not overlapping, pages from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PageRange(Vec<(u32, u32)>);

impl PageRange {
    /// Reads a range as the step payload writes it; `PAGE_RANGE_INVALID` when it is none.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let invalid = || {
            let message = format!("{text:?} is no page range; write pages in order, like 1-3,5");
            Failure::fatal("PAGE_RANGE_INVALID", message)
        };
        let mut spans = Vec::new();
        let mut before = 0;
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<u32>().map_err(|_| invalid());
            let (first, last) = (number(first)?, number(last)?);
            if first <= before || last < first {
                return Err(invalid());
            }
            spans.push((first, last));
            before = last;
        }
        Ok(Self(spans))
    }

    /// How many pages are wanted.
    pub(super) fn count(&self) -> u64 {
        self.0
            .iter()
            .map(|(first, last)| u64::from(last - first) + 1)
            .sum()
    }

    /// The wanted pages of a document with `count` pages; a page it does not have is
    /// `PAGE_RANGE_OUTSIDE_DOCUMENT`.
    pub(super) fn of(&self, count: u32) -> Result<Vec<u32>, Failure> {
        let last = self.0.last().map_or(0, |(_, last)| *last);
        if last > count {
            let message = format!("page {last} is wanted of a document with {count} pages");
            return Err(Failure::fatal("PAGE_RANGE_OUTSIDE_DOCUMENT", message));
        }
        Ok(self
            .0
            .iter()
            .flat_map(|(first, last)| *first..=*last)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_names_its_pages_in_order() {
        assert_eq!(
            PageRange::parse("1-3,5").unwrap().of(5).unwrap(),
            [1, 2, 3, 5]
        );
        assert_eq!(PageRange::parse("1-3,5").unwrap().count(), 4);
        assert_eq!(
            PageRange::parse(" 2 , 4 - 4 ").unwrap().of(9).unwrap(),
            [2, 4]
        );
    }

    #[test]
    fn what_is_no_ascending_range_is_refused() {
        for text in [
            "",
            "0",
            "3-1",
            "2,1",
            "1-3,3",
            "a",
            "1-",
            "-2",
            "1,,2",
            "99999999999",
        ] {
            let refused = PageRange::parse(text).unwrap_err();
            assert_eq!(refused.code, "PAGE_RANGE_INVALID", "{text}");
        }
    }

    #[test]
    fn a_page_that_the_document_does_not_have_is_named() {
        let refused = PageRange::parse("2-4000000000").unwrap().of(3).unwrap_err();
        assert_eq!(refused.code, "PAGE_RANGE_OUTSIDE_DOCUMENT");
        assert!(refused.message.contains("4000000000"), "{refused}");
    }
}
