//! How a text is cut into chunks that fit the model.
//!
//! Lengths are in the model's own word pieces, because that is what its window is measured in. A
//! chunk never spans two pages, so that it can be shown on the page it came from.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use super::position::Positions;
use super::sentence;

/// One word piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Its first byte.
    pub start: usize,
    /// The byte behind it.
    pub end: usize,
    /// False for a piece that continues the word of the piece before it.
    pub starts_word: bool,
}

/// What knows the word pieces of a text.
pub trait Pieces {
    /// Why a text has none.
    type Error;

    /// The word pieces of `text`, in order.
    fn pieces(&self, text: &str) -> Result<Vec<Piece>, Self::Error>;
}

/// How a text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Whole sentences and lines are packed together while they fit.
    #[default]
    Sentence,
    /// Every chunk but a page's last is as long as it may be, cut between words.
    Fixed,
}

impl Strategy {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Sentence, Self::Fixed];

    /// The name it has in a payload.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sentence => "sentence",
            Self::Fixed => "fixed",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let wanted = name.trim();
        let known = Self::ALL
            .into_iter()
            .find(|s| s.as_str().eq_ignore_ascii_case(wanted));
        known.ok_or_else(|| UnknownStrategy {
            name: name.to_owned(),
        })
    }
}

/// A name that is no strategy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no chunking strategy {name:?}; use \"sentence\" or \"fixed\"")]
pub struct UnknownStrategy {
    name: String,
}

/// How long chunks may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// The longest chunk, in word pieces; at least 1.
    pub max_tokens: usize,
    /// How much of its predecessor a chunk repeats at most, in word pieces; below `max_tokens`.
    pub overlap_tokens: usize,
}

/// Cuts `text` into the byte ranges of its chunks, in order. A part of the text without any word
/// piece (control characters alone) is in no chunk.
pub fn cut<P: Pieces>(
    text: &str,
    strategy: Strategy,
    lengths: Lengths,
    counter: &P,
) -> Result<Vec<Range<usize>>, P::Error> {
    let positions = Positions::new(text);
    let mut pages: Vec<(Option<u32>, Vec<Vec<Piece>>)> = Vec::new();
    for passage in sentence::passages(text) {
        let mut pieces = counter.pieces(&text[passage.clone()])?;
        for piece in &mut pieces {
            piece.start += passage.start;
            piece.end += passage.start;
        }
        let page = positions.page(passage.start);
        match pages.last_mut() {
            Some((last, sentences)) if *last == page => sentences.push(pieces),
            _ => pages.push((page, vec![pieces])),
        }
    }
    let chunks = pages.into_iter().flat_map(|(_, sentences)| match strategy {
        Strategy::Sentence => packed(&sentences, lengths),
        Strategy::Fixed => windows(&sentences.concat(), lengths),
    });
    Ok(chunks.collect())
}

/// Packs whole sentences; one that is longer than a chunk is cut into windows without overlap.
fn packed(sentences: &[Vec<Piece>], lengths: Lengths) -> Vec<Range<usize>> {
    let whole = Lengths {
        overlap_tokens: 0,
        ..lengths
    };
    let units: Vec<(Range<usize>, usize)> = sentences
        .iter()
        .flat_map(|pieces| cuts(pieces, whole).into_iter().map(|cut| &pieces[cut]))
        .filter_map(|pieces| Some((bytes(pieces)?, pieces.len())))
        .collect();
    let mut chunks = Vec::new();
    let (mut first, mut tokens) = (0, 0);
    for (next, (_, length)) in units.iter().enumerate() {
        if tokens + length > lengths.max_tokens && next > first {
            chunks.push(units[first].0.start..units[next - 1].0.end);
            let room = lengths
                .overlap_tokens
                .min(lengths.max_tokens.saturating_sub(*length));
            (first, tokens) = repeated(&units[first..next], room, next);
        }
        tokens += length;
    }
    if first < units.len() {
        chunks.push(units[first].0.start..units[units.len() - 1].0.end);
    }
    chunks
}

/// How far back from unit `next` a chunk begins that repeats at most `room` word pieces of its
/// predecessor, but never all of it: the first unit and the word pieces before `next`.
fn repeated(predecessor: &[(Range<usize>, usize)], room: usize, next: usize) -> (usize, usize) {
    let (mut units, mut tokens) = (0, 0);
    for (_, length) in predecessor.iter().skip(1).rev() {
        if tokens + length > room {
            break;
        }
        units += 1;
        tokens += length;
    }
    (next - units, tokens)
}

fn windows(pieces: &[Piece], lengths: Lengths) -> Vec<Range<usize>> {
    cuts(pieces, lengths)
        .into_iter()
        .filter_map(|cut| bytes(&pieces[cut]))
        .collect()
}

fn bytes(pieces: &[Piece]) -> Option<Range<usize>> {
    Some(pieces.first()?.start..pieces.last()?.end)
}

/// Windows over `pieces`, as index ranges, cut between words unless one word fills a window.
fn cuts(pieces: &[Piece], lengths: Lengths) -> Vec<Range<usize>> {
    let max = lengths.max_tokens.max(1);
    let mut found = Vec::new();
    let mut start = 0;
    while start < pieces.len() {
        let full = (start + max).min(pieces.len());
        let at_word = (start + 1..=full)
            .rev()
            .find(|end| pieces.get(*end).is_none_or(|piece| piece.starts_word));
        let end = at_word.unwrap_or(full);
        found.push(start..end);
        if end == pieces.len() {
            break;
        }
        let earliest = (end.saturating_sub(lengths.overlap_tokens)).max(start + 1);
        start = (earliest..end)
            .find(|next| pieces[*next].starts_word)
            .unwrap_or(end);
    }
    found
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Four letters are a piece.
    struct Fours;

    impl Pieces for Fours {
        type Error = Infallible;

        fn pieces(&self, text: &str) -> Result<Vec<Piece>, Infallible> {
            let mut pieces: Vec<Piece> = Vec::new();
            let (mut in_word, mut letters) = (false, 0);
            for (start, c) in text.char_indices() {
                if c.is_whitespace() {
                    in_word = false;
                    continue;
                }
                let end = start + c.len_utf8();
                match pieces.last_mut() {
                    Some(piece) if in_word && letters % 4 != 0 => piece.end = end,
                    _ => {
                        letters = if in_word { letters } else { 0 };
                        pieces.push(Piece {
                            start,
                            end,
                            starts_word: !in_word,
                        });
                    }
                }
                in_word = true;
                letters += 1;
            }
            Ok(pieces)
        }
    }

    fn chunks(
        text: &str,
        strategy: Strategy,
        max_tokens: usize,
        overlap_tokens: usize,
    ) -> Vec<&str> {
        let Ok(cut) = cut(
            text,
            strategy,
            Lengths {
                max_tokens,
                overlap_tokens,
            },
            &Fours,
        );
        cut.into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn sentences_are_packed_while_they_fit() {
        let text = "One two. Six ten.\nBe it. Eve.";
        assert_eq!(
            chunks(text, Strategy::Sentence, 4, 0),
            ["One two. Six ten.", "Be it. Eve."]
        );
        assert_eq!(
            chunks(text, Strategy::Sentence, 4, 2),
            ["One two. Six ten.", "Six ten.\nBe it.", "Be it. Eve."]
        );
        assert_eq!(chunks(text, Strategy::Sentence, 100, 50), [text]);
    }

    #[test]
    fn a_sentence_longer_than_a_chunk_is_cut_between_words() {
        assert_eq!(
            chunks(
                "Eve. Now a very big sentence ends. Eve.",
                Strategy::Sentence,
                4,
                0
            ),
            ["Eve.", "Now a very big", "sentence ends.", "Eve."]
        );
    }

    #[test]
    fn fixed_chunks_overlap_by_whole_words() {
        assert_eq!(
            chunks("aaaa bbbb cccccc dd ee", Strategy::Fixed, 3, 1),
            ["aaaa bbbb", "bbbb cccccc", "dd ee"]
        );
        assert_eq!(
            chunks("one two ten", Strategy::Fixed, 2, 1),
            ["one two", "two ten"]
        );
    }

    #[test]
    fn a_word_longer_than_a_chunk_is_cut_inside() {
        assert_eq!(
            chunks("aaaabbbbcc", Strategy::Fixed, 2, 1),
            ["aaaabbbb", "cc"]
        );
        assert_eq!(
            chunks("aaaabbbbcc", Strategy::Sentence, 2, 1),
            ["aaaabbbb", "cc"]
        );
    }

    #[test]
    fn no_chunk_spans_two_pages() {
        for strategy in Strategy::ALL {
            assert_eq!(
                chunks("one\u{c}two\u{c}", strategy, 100, 10),
                ["one", "two"]
            );
        }
    }

    #[test]
    fn every_piece_is_in_a_chunk_and_no_chunk_is_too_long() {
        let text = "A short one. Then a considerably longer sentence, wordily put, follows.\n\n\
                    Supercalifragilistic: 12.50\u{c}Next page! Ende";
        let Ok(pieces) = Fours.pieces(text);
        for strategy in Strategy::ALL {
            for (max_tokens, overlap_tokens) in [(1, 0), (2, 1), (5, 4), (7, 0), (40, 39)] {
                let lengths = Lengths {
                    max_tokens,
                    overlap_tokens,
                };
                let Ok(cut) = cut(text, strategy, lengths, &Fours);
                let holds =
                    |range: &Range<usize>, p: &Piece| range.start <= p.start && p.end <= range.end;
                assert!(
                    pieces
                        .iter()
                        .all(|p| cut.iter().any(|range| holds(range, p)))
                );
                for range in &cut {
                    let length = pieces.iter().filter(|p| holds(range, p)).count();
                    assert!((1..=max_tokens).contains(&length), "{lengths:?} {range:?}");
                }
                let starts_move_on = cut.windows(2).all(|pair| pair[0].start < pair[1].start);
                assert!(starts_move_on, "{lengths:?}");
            }
        }
    }

    #[test]
    fn a_text_without_words_has_no_chunks() {
        assert!(chunks(" \n\u{c} ", Strategy::Sentence, 5, 0).is_empty());
        assert!(chunks("", Strategy::Fixed, 5, 0).is_empty());
    }

    #[test]
    fn an_unknown_strategy_is_refused_with_the_known_ones() {
        let error = "semantic".parse::<Strategy>().unwrap_err();
        assert!(
            error.to_string().contains("\"sentence\" or \"fixed\""),
            "{error}"
        );
        assert_eq!(" Fixed".parse(), Ok(Strategy::Fixed));
    }
}
