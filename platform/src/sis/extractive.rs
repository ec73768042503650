//! Answers without a generating model: the passages that are most like the question, to the letter.
//!
//! The vectors of the chunks say where to look, then each sentence and line of the likeliest chunks
//! gets a vector of its own and is compared with the question. What is less like the question than
//! the cut-off answers nothing, and the answer says so: an honest gap is worth more than a guess.

use std::collections::BTreeSet;

use super::artifact::{Answer, NOTHING_FOUND, Passage};
use super::generated::Shown;
use super::request::Request;
use super::settings::Settings;
use crate::embedding::artifact::Chunk;
use crate::embedding::{Embedder, sentence};
use crate::service::Failure;

/// What was found for a list of questions.
#[derive(Debug)]
pub(crate) struct Found {
    /// One a question.
    pub(crate) answers: Vec<Answer>,
    /// Best first for each question, in the order of the questions.
    pub(crate) passages: Vec<Passage>,
}

/// Searches `chunks`, which carry vectors of the embedder's model, for what answers each question.
pub(crate) async fn search(
    embedder: &Embedder<'_>,
    chunks: &[Chunk],
    request: &Request,
    settings: &Settings,
) -> Result<Found, Failure> {
    let asked = embedder
        .vectors(request.questions.clone(), "questions")
        .await?;
    let wanted: BTreeSet<usize> = asked
        .iter()
        .flat_map(|question| {
            let likeliest = by_likeness(question, chunks.iter().map(|chunk| &chunk.vector));
            likeliest
                .into_iter()
                .take(settings.shortlist_chunks.max(1))
                .map(|(_, place)| place)
        })
        .collect();
    let candidates = passages(wanted.into_iter().map(|place| &chunks[place]));
    let texts = candidates
        .iter()
        .map(|passage| passage.text.clone())
        .collect();
    let vectors = embedder.vectors(texts, "passages").await?;
    let mut found = Found {
        answers: Vec::new(),
        passages: Vec::new(),
    };
    for (question, (prompt, asked)) in request.questions.iter().zip(&asked).enumerate() {
        let best: Vec<Passage> = by_likeness(asked, vectors.iter())
            .into_iter()
            .take_while(|(score, _)| *score >= request.min_score)
            .filter(|(_, place)| says_more(&candidates[*place].text, prompt))
            .take(settings.max_passages.max(1))
            .map(|(score, place)| Passage {
                question: Some(question),
                score: Some(score),
                ..candidates[place].clone()
            })
            .collect();
        let answer = best.first().map(|passage| passage.text.clone());
        found.answers.push(Answer {
            prompt: prompt.clone(),
            found: answer.is_some(),
            answer: answer.unwrap_or_else(|| NOTHING_FOUND.to_owned()),
        });
        found.passages.extend(best);
    }
    Ok(found)
}

/// The chunks by their likeness to whichever question they are most like, best first.
pub(crate) fn ranked(questions: &[Vec<f32>], chunks: &[Chunk]) -> Vec<Shown> {
    let likeness = |chunk: &Chunk| {
        questions
            .iter()
            .map(|question| cosine(question, &chunk.vector))
            .fold(-1.0, f32::max)
    };
    let mut ranked: Vec<Shown> = chunks
        .iter()
        .map(|chunk| Shown {
            score: Some(likeness(chunk)),
            chunk: chunk.clone(),
        })
        .collect();
    ranked.sort_by(|a, b| {
        b.score
            .unwrap_or_default()
            .total_cmp(&a.score.unwrap_or_default())
    });
    ranked
}

/// The cosine of `question` and each of `vectors` with its place, best first; of equals, the first
/// wins.
fn by_likeness<'a>(
    question: &[f32],
    vectors: impl Iterator<Item = &'a Vec<f32>>,
) -> Vec<(f32, usize)> {
    let mut scored: Vec<(f32, usize)> = vectors
        .map(|vector| cosine(question, vector))
        .zip(0..)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored
}

/// Whether `passage` has a word that `question` has not. A heading such as `INVOICE` is very like a
/// question about the invoice, but what only repeats a question cannot answer it.
fn says_more(passage: &str, question: &str) -> bool {
    let words = |text: &str| -> BTreeSet<String> {
        let words = text
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty());
        words.map(str::to_lowercase).collect()
    };
    !words(passage).is_subset(&words(question))
}

/// The cosine of two vectors of the same dimension; 0 when one of them is zero.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot: f32 = a.iter().zip(b).map(|(x, y)| x * y).sum();
    let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    let lengths = length(a) * length(b);
    if lengths > 0.0 { dot / lengths } else { 0.0 }
}

/// The sentences and lines of `chunks`, in the order of the text, each once: where chunks overlap,
/// the part that another passage holds is dropped.
fn passages<'a>(chunks: impl Iterator<Item = &'a Chunk>) -> Vec<Passage> {
    let mut all: Vec<Passage> = chunks
        .flat_map(|chunk| {
            sentence::passages(&chunk.text).into_iter().map(|range| {
                let text = &chunk.text[range.clone()];
                let char_start = chunk.char_start + chunk.text[..range.start].chars().count();
                Passage {
                    question: None,
                    text: text.to_owned(),
                    page: chunk.page,
                    chunk: chunk.index,
                    char_start,
                    char_end: char_start + text.chars().count(),
                    byte_start: chunk.byte_start + range.start,
                    byte_end: chunk.byte_start + range.end,
                    score: None,
                }
            })
        })
        .filter(|passage| passage.text.chars().any(char::is_alphanumeric))
        .collect();
    all.sort_by_key(|passage| (passage.byte_start, std::cmp::Reverse(passage.byte_end)));
    let mut reach = 0;
    all.retain(|passage| {
        let new = passage.byte_end > reach;
        reach = reach.max(passage.byte_end);
        new
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(index: usize, whole: &str, byte_start: usize, byte_end: usize) -> Chunk {
        Chunk {
            index,
            text: whole[byte_start..byte_end].to_owned(),
            page: Some(1),
            char_start: whole[..byte_start].chars().count(),
            char_end: whole[..byte_end].chars().count(),
            byte_start,
            byte_end,
            tokens: 1,
            vector: vec![],
        }
    }

    #[test]
    fn passages_of_overlapping_chunks_appear_once_with_their_offsets() {
        let whole = "Zoë paid. Total: 5 EUR\nIt rained. The end.";
        let middle = whole.find("Total").unwrap();
        let chunks = [
            chunk(0, whole, 0, middle + 18),
            chunk(1, whole, middle, whole.len()),
        ];
        let found = passages(chunks.iter());
        let texts: Vec<&str> = found.iter().map(|p| p.text.as_str()).collect();
        assert_eq!(
            texts,
            ["Zoë paid.", "Total: 5 EUR", "It rained.", "The end."]
        );
        for passage in &found {
            assert_eq!(&whole[passage.byte_start..passage.byte_end], passage.text);
            let length = passage.char_end - passage.char_start;
            let chars: String = whole
                .chars()
                .skip(passage.char_start)
                .take(length)
                .collect();
            assert_eq!(chars, passage.text);
        }
    }

    #[test]
    fn a_line_of_dots_is_no_passage() {
        let whole = "----------\nTotal: 5\n. . .";
        let found = passages([chunk(0, whole, 0, whole.len())].iter());
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn what_only_repeats_the_question_is_no_answer() {
        assert!(!says_more("INVOICE", "What is the invoice number?"));
        assert!(!says_more("* Total due: *", "How much is the total due?"));
        assert!(says_more("Total due: 5", "How much is the total due?"));
    }

    #[test]
    fn cosine_does_not_depend_on_length() {
        assert!((cosine(&[1.0, 0.0], &[5.0, 0.0]) - 1.0).abs() < 1e-6);
        assert!((cosine(&[1.0, 1.0], &[-2.0, -2.0]) + 1.0).abs() < 1e-6);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 2.0]), 0.0);
    }

    #[test]
    fn the_likeliest_chunks_come_first() {
        let whole = "a b c";
        let mut chunks = [
            chunk(0, whole, 0, 1),
            chunk(1, whole, 2, 3),
            chunk(2, whole, 4, 5),
        ];
        chunks[0].vector = vec![0.0, 1.0];
        chunks[1].vector = vec![1.0, 0.1];
        chunks[2].vector = vec![1.0, 1.0];
        let places =
            |shown: Vec<Shown>| shown.into_iter().map(|s| s.chunk.index).collect::<Vec<_>>();
        assert_eq!(places(ranked(&[vec![1.0, 0.0]], &chunks)), [1, 2, 0]);
        assert_eq!(
            places(ranked(&[vec![0.9, 0.05], vec![0.0, 1.0]], &chunks)),
            [0, 1, 2]
        );
    }
}
