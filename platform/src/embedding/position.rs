//! From byte offsets to what people and other languages count in: characters and pages.

/// Characters are counted once per this many bytes; a look-up counts at most this many more.
const STRIDE_BYTES: usize = 4096;

/// Answers, for one text, which character and which page a byte belongs to.
#[derive(Debug)]
pub struct Positions<'a> {
    text: &'a str,
    /// Characters that begin before byte `i * STRIDE_BYTES`.
    chars_before: Vec<usize>,
    /// Where the form feeds are.
    page_breaks: Vec<usize>,
}

impl<'a> Positions<'a> {
    /// Reads `text` once.
    pub fn new(text: &'a str) -> Self {
        let mut chars_before = vec![0];
        let mut count = 0;
        for block in text.as_bytes().chunks(STRIDE_BYTES) {
            count += block.iter().filter(|byte| begins_char(**byte)).count();
            chars_before.push(count);
        }
        let page_breaks = text.match_indices('\u{c}').map(|(at, _)| at).collect();
        Self {
            text,
            chars_before,
            page_breaks,
        }
    }

    /// How many characters (Unicode scalar values) begin before `byte`.
    pub fn chars_before(&self, byte: usize) -> usize {
        let byte = byte.min(self.text.len());
        let block = byte / STRIDE_BYTES;
        let rest = &self.text.as_bytes()[block * STRIDE_BYTES..byte];
        self.chars_before[block] + rest.iter().filter(|byte| begins_char(**byte)).count()
    }

    /// The page `byte` is on, from 1; `None` when no form feed separates pages.
    pub fn page(&self, byte: usize) -> Option<u32> {
        if self.page_breaks.is_empty() {
            return None;
        }
        let page = self.page_breaks.partition_point(|at| *at < byte) + 1;
        Some(u32::try_from(page).unwrap_or(u32::MAX))
    }
}

const fn begins_char(byte: u8) -> bool {
    byte & 0b1100_0000 != 0b1000_0000
}

#[cfg(test)]
mod tests {
    use super::Positions;

    #[test]
    fn characters_are_counted_as_scalar_values_however_long_the_text() {
        let text = "aé🙂\n".repeat(3000);
        let positions = Positions::new(&text);
        for (chars, (byte, _)) in text.char_indices().enumerate().step_by(97) {
            assert_eq!(positions.chars_before(byte), chars);
        }
        assert_eq!(positions.chars_before(text.len()), 12_000);
    }

    #[test]
    fn the_offset_behind_a_text_that_fills_its_blocks_is_its_length() {
        for len in [0, 1, 4095, 4096, 4097, 8192] {
            let text = "x".repeat(len);
            assert_eq!(Positions::new(&text).chars_before(len), len);
        }
    }

    #[test]
    fn pages_are_counted_only_where_form_feeds_separate_them() {
        assert_eq!(Positions::new("one").page(1), None);
        let two = Positions::new("one\u{c}two\u{c}");
        assert_eq!(
            [two.page(0), two.page(2), two.page(4), two.page(6)],
            [1, 1, 2, 2].map(Some)
        );
    }
}
