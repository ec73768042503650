//! The tesseract engine, by its command line.
//!
//! One thread a page: tesseract's own threads made a page five times slower on two cores, and pages
//! run beside each other anyway.

use std::ffi::OsString;
use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::json;

use super::engine::{Engine, Page, Picture, Unit};
use super::{Settings, tool, tsv};
use crate::process::args;
use crate::service::Failure;

/// Room for the list of languages, in bytes; results go to files.
const STDOUT_BYTES: usize = 64 * 1024;

/// ISO 639-1 codes, which clients write, and the codes that tesseract's data has for them.
const LANGUAGES: [(&str, &str); 26] = [
    ("ar", "ara"),
    ("bg", "bul"),
    ("cs", "ces"),
    ("da", "dan"),
    ("de", "deu"),
    ("el", "ell"),
    ("en", "eng"),
    ("es", "spa"),
    ("et", "est"),
    ("fi", "fin"),
    ("fr", "fra"),
    ("he", "heb"),
    ("hu", "hun"),
    ("it", "ita"),
    ("ja", "jpn"),
    ("ko", "kor"),
    ("nl", "nld"),
    ("no", "nor"),
    ("pl", "pol"),
    ("pt", "por"),
    ("ro", "ron"),
    ("ru", "rus"),
    ("sv", "swe"),
    ("tr", "tur"),
    ("uk", "ukr"),
    ("zh", "chi_sim"),
];

/// Reads pages with `tesseract`.
#[derive(Debug, Clone)]
pub struct Tesseract {
    settings: Settings,
}

impl Tesseract {
    /// An engine with these limits.
    pub const fn new(settings: Settings) -> Self {
        Self { settings }
    }

    async fn installed(&self) -> Result<Vec<String>, Failure> {
        let output = tool::run(
            &self.settings,
            &tool::TESSERACT,
            args([&"--list-langs"]),
            STDOUT_BYTES,
        )
        .await?;
        if !output.status.success() {
            let why = output.last_words();
            let message = format!("tesseract cannot list its languages: {why}; reinstall it");
            return Err(Failure::retryable("OCR_TOOL_FAILED", message));
        }
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(listed
            .lines()
            .skip(1)
            .map(|line| line.trim().to_owned())
            .collect())
    }
}

#[async_trait]
impl Engine for Tesseract {
    fn name(&self) -> &str {
        "tesseract"
    }

    async fn language(&self, hint: Option<&str>) -> Result<String, Failure> {
        let hint = hint.map(str::trim).filter(|hint| !hint.is_empty());
        let hint = hint.unwrap_or(&self.settings.language);
        let wanted: Vec<&str> = hint.split('+').map(code_of).collect();
        let installed = self.installed().await?;
        let missing = wanted
            .iter()
            .find(|code| !installed.iter().any(|known| known == *code));
        let Some(code) = missing else {
            return Ok(wanted.join("+"));
        };
        let plain = code.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let advice = if plain && !code.is_empty() {
            format!(
                "install the Debian package tesseract-ocr-{}",
                code.replace('_', "-")
            )
        } else {
            "write a code like eng, or eng+deu".to_owned()
        };
        let message = format!("the language {code:?} is not installed on this worker; {advice}");
        Err(Failure::fatal("LANGUAGE_NOT_INSTALLED", message)
            .with_details(json!({ "installed": installed })))
    }

    async fn recognize(&self, picture: Picture<'_>, language: &str) -> Result<Page, Failure> {
        let folder = tool::folder_beside(picture.path)?;
        let base: PathBuf = folder.path().join("page");
        let mut call = args([&picture.path, &base, &"-l", &language, &"--psm", &"1"]);
        if let Some(frame) = picture.frame {
            call.extend(args([&"-c", &format!("tessedit_page_number={frame}")]));
        }
        call.extend([OsString::from("txt"), OsString::from("tsv")]);
        let output = tool::run(&self.settings, &tool::TESSERACT, call, STDOUT_BYTES).await?;
        if !output.status.success() {
            return Err(tool::failed(
                &output,
                "IMAGE_UNREADABLE",
                "the picture cannot be read",
            ));
        }
        tool::enough_memory(&output, "the picture cannot be read")?;
        let read = async |extension: &str| {
            let bytes = tokio::fs::read(base.with_extension(extension))
                .await
                .map_err(|error| {
                    let message =
                        format!("tesseract left no {extension} file: {error}; reinstall it");
                    Failure::retryable("OCR_TOOL_FAILED", message)
                })?;
            Ok::<_, Failure>(String::from_utf8_lossy(&bytes).into_owned())
        };
        let (text, table) = (read("txt").await?, tsv::read(&read("tsv").await?));
        let (width, height) = table.size.unwrap_or_default();
        Ok(Page {
            width,
            height,
            unit: Unit::Px,
            text,
            words: table.words,
        })
    }
}

/// The code of tesseract's data for one language as a client writes it: `en`, `en-US`, `eng`.
fn code_of(hint: &str) -> &str {
    let hint = hint.trim();
    let primary = hint.split('-').next().unwrap_or(hint);
    let short = LANGUAGES
        .iter()
        .find(|(iso, _)| iso.eq_ignore_ascii_case(primary));
    short.map_or(hint, |(_, code)| code)
}

#[cfg(test)]
mod tests {
    use super::code_of;

    #[test]
    fn a_language_is_known_by_the_codes_clients_write() {
        assert_eq!(code_of("en"), "eng");
        assert_eq!(code_of("EN-us"), "eng");
        assert_eq!(code_of("eng"), "eng");
        assert_eq!(code_of("chi_sim"), "chi_sim");
        assert_eq!(code_of(" de "), "deu");
        assert_eq!(code_of("../../x"), "../../x");
    }
}
