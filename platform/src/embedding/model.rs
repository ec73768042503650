//! A sentence embedding model of the BERT family, in pure Rust.
//!
//! Reads a directory in the usual Hugging Face layout and does what `sentence-transformers` does
//! with it: word pieces, at most [`Model::max_tokens`] of them, the encoder, the mean over the
//! tokens. A directory that asks for anything else is refused rather than embedded differently from
//! its reference. Weights are read into memory once and the file's buffer is dropped.

use std::io;
use std::num::NonZeroUsize;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config, DTYPE};
use sha2::{Digest, Sha256};
use tokenizers::{PostProcessor, Tokenizer, TruncationDirection};

use super::chunk::{Piece, Pieces};
use super::tokenizer;

/// What a directory that does not say otherwise is taken to have been trained with.
const DEFAULT_MAX_TOKENS: usize = 256;

/// Token slots of one batch, padding included. Bounds memory, at about 30 KB a slot; more is not
/// faster.
const BATCH_TOKENS: usize = 1024;

/// A model that is ready to use.
#[derive(Debug)]
pub struct Model {
    id: String,
    revision: String,
    dimension: usize,
    max_tokens: usize,
    pad_token: u32,
    tokenizer: Tokenizer,
    weights: Weights,
    threads: rayon::ThreadPool,
}

/// The encoder, which has no `Debug` of its own.
struct Weights(BertModel);

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Weights")
    }
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file is missing or unreadable.
    #[error("{file}: {error}")]
    File {
        /// The file's name within the directory.
        file: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{file} is unusable: {reason}")]
    Content {
        /// The file's name within the directory.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The system gives no threads.
    #[error("threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

impl LoadError {
    /// A file whose content is of no use, and why.
    pub(super) fn content(file: &'static str, reason: impl ToString) -> Self {
        Self::Content {
            file,
            reason: reason.to_string(),
        }
    }
}

/// Why a text could not be embedded.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The text could not be cut into word pieces.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The encoder failed.
    #[error("encoder: {0}")]
    Encoder(#[from] candle_core::Error),
    /// The encoder's numbers overflowed.
    #[error("the model answered with a vector that is not finite")]
    NotFinite,
}

/// The word pieces of one text, ready for the encoder.
#[derive(Debug, Clone)]
pub struct Prepared {
    ids: Vec<u32>,
    tokens: usize,
}

/// One text's vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// As many numbers as the model's dimension; not normalized.
    pub vector: Vec<f32>,
    /// How many word pieces of the text the model saw, without the marks it adds itself.
    pub tokens: usize,
}

impl Embedding {
    /// The vector scaled to length 1.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        let length = self
            .vector
            .iter()
            .map(|x| x * x)
            .sum::<f32>()
            .sqrt()
            .max(1e-12);
        self.vector.iter_mut().for_each(|x| *x /= length);
        self
    }
}

impl Model {
    /// Loads the model in `directory`, to be known as `id`, to compute on `threads` threads of its
    /// own. Takes about a second; blocks.
    pub fn load(directory: &Path, id: &str, threads: NonZeroUsize) -> Result<Self, LoadError> {
        let config_json = read(directory, "config.json")?;
        let config: Config = serde_json::from_slice(&config_json)
            .map_err(|error| LoadError::content("config.json", error))?;
        if config
            .model_type
            .as_deref()
            .is_some_and(|kind| kind != "bert")
        {
            return Err(LoadError::content(
                "config.json",
                "its model_type is not \"bert\"",
            ));
        }
        check_pooling(directory)?;
        let max_tokens = max_tokens(directory, &config)?;
        let tokenizer = tokenizer::load(directory)?;
        let added = tokenizer
            .get_post_processor()
            .map_or(0, |post| post.added_tokens(false));
        if max_tokens <= added {
            return Err(LoadError::content(
                "config.json",
                "its window has no room for a text",
            ));
        }
        let bytes = read(directory, "model.safetensors")?;
        let revision = format!("{:x}", Sha256::digest(&bytes));
        let weights = VarBuilder::from_slice_safetensors(&bytes, DTYPE, &Device::Cpu)
            .and_then(|variables| BertModel::load(variables, &config))
            .map_err(|error| LoadError::content("model.safetensors", error))?;
        // The process-wide pool has a thread for every core; a worker shares its machine.
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.get())
            .thread_name(|index| format!("embedding-{index}"))
            .build()?;
        Ok(Self {
            id: id.to_owned(),
            revision,
            dimension: config.hidden_size,
            max_tokens: max_tokens - added,
            pad_token: u32::try_from(config.pad_token_id).unwrap_or(0),
            tokenizer,
            weights: Weights(weights),
            threads,
        })
    }

    /// The name it is known by.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The SHA-256 of its weights, 64 hex digits. Vectors of two revisions must not be compared.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// How many numbers a vector has.
    pub const fn dimension(&self) -> usize {
        self.dimension
    }

    /// How many word pieces of a text it sees; what follows is ignored.
    pub const fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Cuts `text` into word pieces, as many as the model sees.
    pub fn prepare(&self, text: &str) -> Result<Prepared, EmbedError> {
        let tokenizer_error = |error: tokenizers::Error| EmbedError::Tokenizer(error.to_string());
        let mut encoding = self
            .tokenizer
            .encode(text, false)
            .map_err(tokenizer_error)?;
        encoding.truncate(self.max_tokens, 0, TruncationDirection::Right);
        encoding.take_overflowing();
        let tokens = encoding.len();
        let whole = self
            .tokenizer
            .post_process(encoding, None, true)
            .map_err(tokenizer_error)?;
        Ok(Prepared {
            ids: whole.get_ids().to_vec(),
            tokens,
        })
    }

    /// Groups texts for [`Model::embed`], by index: alike in length, so that little is padded.
    pub fn batches(prepared: &[Prepared]) -> Vec<Vec<usize>> {
        let mut by_length: Vec<usize> = (0..prepared.len()).collect();
        by_length.sort_by_key(|index| std::cmp::Reverse(prepared[*index].ids.len()));
        let mut batches: Vec<Vec<usize>> = Vec::new();
        let mut width = 0;
        for index in by_length {
            let length = prepared[index].ids.len();
            let alike = width - length.min(width) <= (width / 4).max(8);
            match batches.last_mut() {
                Some(batch) if alike && (batch.len() + 1) * width <= BATCH_TOKENS => {
                    batch.push(index);
                }
                _ => {
                    width = length;
                    batches.push(vec![index]);
                }
            }
        }
        batches
    }

    /// One vector for each text of a batch, in the order of `batch`. Blocks for up to a second or
    /// two.
    pub fn embed(&self, batch: &[&Prepared]) -> Result<Vec<Embedding>, EmbedError> {
        let Some(width) = batch.iter().map(|text| text.ids.len()).max() else {
            return Ok(Vec::new());
        };
        let shape = (batch.len(), width);
        let mut ids = Vec::with_capacity(batch.len() * width);
        let mut mask = Vec::with_capacity(batch.len() * width);
        for text in batch {
            let padding = width - text.ids.len();
            ids.extend(
                text.ids
                    .iter()
                    .copied()
                    .chain(std::iter::repeat_n(self.pad_token, padding)),
            );
            mask.extend(std::iter::repeat_n(1_f32, text.ids.len()));
            mask.extend(std::iter::repeat_n(0_f32, padding));
        }
        let ids = Tensor::from_vec(ids, shape, &Device::Cpu)?;
        let mask = Tensor::from_vec(mask, shape, &Device::Cpu)?;
        let types = ids.zeros_like()?;
        let states = self
            .threads
            .install(|| self.weights.0.forward(&ids, &types, Some(&mask)))?;
        let mask = mask.unsqueeze(2)?;
        let sums = states.to_dtype(DType::F32)?.broadcast_mul(&mask)?.sum(1)?;
        let means = sums.broadcast_div(&mask.sum(1)?)?.to_vec2::<f32>()?;
        if means.iter().flatten().any(|x| !x.is_finite()) {
            return Err(EmbedError::NotFinite);
        }
        let embeddings = means.into_iter().zip(batch);
        Ok(embeddings
            .map(|(vector, text)| Embedding {
                vector,
                tokens: text.tokens,
            })
            .collect())
    }
}

impl Pieces for Model {
    type Error = EmbedError;

    fn pieces(&self, text: &str) -> Result<Vec<Piece>, EmbedError> {
        let encoding = self
            .tokenizer
            .encode(text, false)
            .map_err(|error| EmbedError::Tokenizer(error.to_string()))?;
        let mut previous = None;
        let mut pieces = Vec::with_capacity(encoding.len());
        for (&(start, end), &word) in encoding.get_offsets().iter().zip(encoding.get_word_ids()) {
            let starts_word = word.is_none() || word != previous;
            previous = word;
            pieces.push(Piece {
                start,
                end,
                starts_word,
            });
        }
        Ok(pieces)
    }
}

fn read(directory: &Path, file: &'static str) -> Result<Vec<u8>, LoadError> {
    std::fs::read(directory.join(file)).map_err(|error| LoadError::File { file, error })
}

/// The JSON of a file that a directory need not have.
pub(super) fn optional_json(
    directory: &Path,
    file: &'static str,
) -> Result<Option<serde_json::Value>, LoadError> {
    match read(directory, file) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| LoadError::content(file, error)),
        Err(LoadError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Means over the tokens is what is done here; a directory that wants something else is refused.
fn check_pooling(directory: &Path) -> Result<(), LoadError> {
    const FILE: &str = "1_Pooling/config.json";
    let Some(pooling) = optional_json(directory, FILE)? else {
        return Ok(());
    };
    let wanted: Vec<&str> = pooling
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| key.starts_with("pooling_mode_") && value.as_bool() == Some(true))
        .map(|(key, _)| key.as_str())
        .collect();
    if wanted == ["pooling_mode_mean_tokens"] {
        return Ok(());
    }
    Err(LoadError::content(
        FILE,
        format!("only mean pooling is done here, not {wanted:?}"),
    ))
}

/// The model's window in word pieces, its own marks included.
fn max_tokens(directory: &Path, config: &Config) -> Result<usize, LoadError> {
    let said = optional_json(directory, "sentence_bert_config.json")?
        .and_then(|config| config.get("max_seq_length")?.as_u64())
        .and_then(|tokens| usize::try_from(tokens).ok());
    Ok(said
        .unwrap_or(DEFAULT_MAX_TOKENS)
        .min(config.max_position_embeddings))
}
