//! The word pieces of a model directory: `tokenizer.json`, or `vocab.txt` of an older one.

use std::path::Path;

use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Tokenizer};

use super::model::{LoadError, optional_json};

/// Reads the tokenizer of `directory`, without the truncation and padding it may ask for: those are
/// decided by the model's window and by the batch.
pub(super) fn load(directory: &Path) -> Result<Tokenizer, LoadError> {
    const FILE: &str = "tokenizer.json";
    if !directory.join(FILE).exists() && directory.join("vocab.txt").exists() {
        return from_vocabulary(directory);
    }
    let bytes = std::fs::read(directory.join(FILE))
        .map_err(|error| LoadError::File { file: FILE, error })?;
    let mut tokenizer =
        Tokenizer::from_bytes(&bytes).map_err(|error| LoadError::content(FILE, error))?;
    tokenizer
        .with_truncation(None)
        .map_err(|error| LoadError::content(FILE, error))?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

/// BERT's own rules over a vocabulary with one word piece a line.
fn from_vocabulary(directory: &Path) -> Result<Tokenizer, LoadError> {
    const FILE: &str = "vocab.txt";
    let unusable = |error: tokenizers::Error| LoadError::content(FILE, error);
    let bytes = std::fs::read(directory.join(FILE))
        .map_err(|error| LoadError::File { file: FILE, error })?;
    let vocabulary = WordPiece::read_bytes(&bytes).map_err(unusable)?;
    let model = WordPiece::builder()
        .vocab(vocabulary)
        .unk_token("[UNK]".to_owned())
        .build()
        .map_err(unusable)?;
    let mut tokenizer = Tokenizer::new(model);
    let mark = |token: &str| match tokenizer.token_to_id(token) {
        Some(id) => Ok((token.to_owned(), id)),
        None => Err(LoadError::content(FILE, format!("it has no {token}"))),
    };
    let processing = BertProcessing::new(mark("[SEP]")?, mark("[CLS]")?);
    let lowercase = optional_json(directory, "tokenizer_config.json")?
        .and_then(|config| config.get("do_lower_case")?.as_bool())
        .unwrap_or(true);
    let specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    tokenizer
        .with_normalizer(Some(BertNormalizer::new(true, true, None, lowercase)))
        .map_err(unusable)?
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .with_post_processor(Some(processing));
    tokenizer
        .add_special_tokens(specials.map(|token| AddedToken::from(token, true)))
        .map_err(unusable)?;
    Ok(tokenizer)
}
