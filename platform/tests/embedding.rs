//! The model gives what the Python reference gives. tests/fixtures/embedding-reference.json says how
//! that was recorded.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use lucius_platform::embedding::chunk::Pieces;
use lucius_platform::embedding::model::{Embedding, Model, Prepared};
use serde::Deserialize;

const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Reference {
    weights_sha256: String,
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    text: String,
    /// With the model's own two marks.
    tokens: usize,
    pooled_norm: f32,
    vector: Vec<f32>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("fixtures/embedding-reference.json"))
        .expect("the fixture is JSON of this shape")
}

fn directory() -> PathBuf {
    let set = std::env::var_os("LUCIUS_MODELS").map(PathBuf::from);
    let models =
        set.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/models"));
    let directory = models.join("all-MiniLM-L6-v2");
    let weights = directory.join("model.safetensors");
    assert!(
        weights.is_file(),
        "{} is missing: run cargo xtask setup",
        weights.display()
    );
    directory
}

fn load(directory: &Path) -> Model {
    let threads = NonZeroUsize::new(2).expect("two is not zero");
    Model::load(directory, "all-MiniLM-L6-v2", threads).expect("the installed model loads")
}

fn embed(model: &Model, texts: &[&str]) -> Vec<Embedding> {
    let prepared: Vec<Prepared> = texts
        .iter()
        .map(|text| model.prepare(text).expect("any text has word pieces"))
        .collect();
    model
        .embed(&prepared.iter().collect::<Vec<_>>())
        .expect("the batch fits the model")
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(x, y)| (x - y).abs())
        .fold(0.0, f32::max)
}

#[test]
fn vectors_equal_those_of_the_python_reference() {
    let model = load(&directory());
    let reference = reference();
    assert_eq!(model.revision(), reference.weights_sha256);
    assert_eq!((model.dimension(), model.max_tokens()), (384, 254));
    for sample in &reference.samples {
        let embedding = embed(&model, &[&sample.text]).remove(0);
        assert_eq!(embedding.tokens + 2, sample.tokens, "{}", sample.text);
        let norm = embedding.vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!(
            (norm - sample.pooled_norm).abs() < 1e-3,
            "{norm} {}",
            sample.pooled_norm
        );
        let found = difference(&embedding.normalized().vector, &sample.vector);
        assert!(found < TOLERANCE, "{found} {}", sample.text);
    }
}

#[test]
fn a_batch_gives_each_text_what_it_gets_alone() {
    let model = load(&directory());
    let reference = reference();
    let texts: Vec<&str> = reference
        .samples
        .iter()
        .map(|sample| sample.text.as_str())
        .collect();
    let together = embed(&model, &texts);
    for (embedding, sample) in together.into_iter().zip(&reference.samples) {
        let found = difference(&embedding.normalized().vector, &sample.vector);
        assert!(found < TOLERANCE, "{found} {}", sample.text);
    }
}

#[test]
fn batches_hold_every_text_once_and_pad_little() {
    let model = load(&directory());
    let long = "word ".repeat(300);
    let texts: Vec<&str> = (0..40)
        .map(|i| {
            if i % 8 == 0 {
                long.as_str()
            } else {
                "short text"
            }
        })
        .collect();
    let prepared: Vec<Prepared> = texts
        .iter()
        .map(|text| model.prepare(text).unwrap())
        .collect();
    let batches = Model::batches(&prepared);
    let mut all = batches.concat();
    all.sort_unstable();
    assert_eq!(all, (0..40).collect::<Vec<_>>());
    for batch in &batches {
        let long = batch.iter().filter(|index| *index % 8 == 0).count();
        assert!(
            long == 0 || long == batch.len(),
            "short texts padded to long ones: {batch:?}"
        );
    }
    assert!(batches.len() <= 4, "{batches:?}");
}

#[test]
fn an_older_directory_with_a_vocabulary_gives_the_same() {
    let full = directory();
    let older = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "vocab.txt"] {
        let source = full.join(file);
        assert!(
            source.is_file(),
            "{} is missing: run cargo xtask setup",
            source.display()
        );
        std::fs::hard_link(&source, older.path().join(file))
            .or_else(|_| std::fs::copy(&source, older.path().join(file)).map(drop))
            .unwrap();
    }
    let model = load(older.path());
    for sample in &reference().samples {
        let embedding = embed(&model, &[&sample.text]).remove(0);
        let found = difference(&embedding.normalized().vector, &sample.vector);
        assert!(found < TOLERANCE, "{found} {}", sample.text);
    }
}

#[test]
fn word_pieces_know_the_bytes_they_stand_for() {
    let model = load(&directory());
    let text = "Café brûlée, 価格 🙂 supercalifragilistic";
    let pieces = model.pieces(text).unwrap();
    let words: Vec<&str> = pieces
        .iter()
        .filter(|p| p.starts_word)
        .map(|p| &text[p.start..p.end])
        .collect();
    assert_eq!(words[..6], ["Café", "br", ",", "価", "格", "🙂"]);
    assert!(pieces.len() > words.len());
    assert!(pieces.windows(2).all(|pair| pair[0].end <= pair[1].start));
}

#[test]
fn a_directory_that_wants_another_pooling_is_refused() {
    let full = directory();
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(full.join("config.json"), other.path().join("config.json")).unwrap();
    std::fs::create_dir(other.path().join("1_Pooling")).unwrap();
    let pooling = r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#;
    std::fs::write(other.path().join("1_Pooling/config.json"), pooling).unwrap();
    let error = Model::load(other.path(), "m", NonZeroUsize::MIN)
        .unwrap_err()
        .to_string();
    assert!(error.contains("mean pooling"), "{error}");
}
