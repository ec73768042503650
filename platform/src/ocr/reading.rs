//! Reads a document page by page, several pages at once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;

use super::engine::{Engine, Page, Picture, Unit};
use super::format::{self, Format};
use super::output::{ReadPage, Source, visible};
use super::pages::PageRange;
use super::{Settings, poppler};
use crate::service::{Failure, Progress};

/// How one document is to be read.
pub(super) struct Reading<'a> {
    pub(super) settings: &'a Settings,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) language: String,
    /// Shared by all documents.
    pub(super) pages_at_once: &'a Semaphore,
    /// Whether the words' places are wanted of pages that have a text layer.
    pub(super) with_words: bool,
    pub(super) progress: Progress,
}

impl Reading<'_> {
    /// The wanted pages, in order.
    pub(super) async fn document(
        &self,
        path: &Path,
        format: Format,
        range: Option<&PageRange>,
    ) -> Result<Vec<ReadPage>, Failure> {
        let count = self.count(path, format).await?;
        // Counted before they are listed: a hostile document may claim any number of pages.
        let wanted_count = range.map_or(u64::from(count), PageRange::count);
        let limit = self.settings.pages_max;
        if wanted_count > u64::from(limit) {
            let message =
                format!("{wanted_count} pages are wanted, {limit} at most; use page_range");
            return Err(Failure::fatal("TOO_MANY_PAGES", message));
        }
        let wanted = match range {
            Some(range) => range.of(count)?,
            None => (1..=count).collect(),
        };
        let layer = self.text_layer(path, format, &wanted).await?;

        let total = wanted.len();
        let done = AtomicU32::new(0);
        self.progress.report(0, format!("0 of {total} pages read"));
        let pages = wanted.into_iter().zip(layer).map(|(number, layer)| {
            let done = &done;
            async move {
                let page = self.page(path, format, number, layer).await?;
                let read = done.fetch_add(1, Ordering::Relaxed) + 1;
                let percent = u64::from(read) * 100 / total as u64;
                let percent = u8::try_from(percent).unwrap_or(100);
                self.progress
                    .report(percent, format!("{read} of {total} pages read"));
                Ok::<_, Failure>(page)
            }
        });
        let at_once = self.settings.pages_at_once.get();
        stream::iter(pages).buffered(at_once).try_collect().await
    }

    async fn count(&self, path: &Path, format: Format) -> Result<u32, Failure> {
        match format {
            Format::Pdf => poppler::page_count(self.settings, path).await,
            Format::Png | Format::Jpeg | Format::Webp => Ok(1),
            Format::Tiff => {
                let path = path.to_owned();
                let counted = tokio::task::spawn_blocking(move || format::tiff_frames(&path)).await;
                let frames = counted
                    .map_err(|e| Failure::retryable("INPUT_UNREADABLE", e.to_string()))?
                    .ok()
                    .filter(|frames| *frames > 0);
                frames.ok_or_else(|| {
                    let message = "the TIFF has no whole picture; check that the file is complete";
                    Failure::fatal("IMAGE_UNREADABLE", message)
                })
            }
        }
    }

    /// The text layer of each wanted page that has a useful one.
    async fn text_layer(
        &self,
        path: &Path,
        format: Format,
        wanted: &[u32],
    ) -> Result<Vec<Option<String>>, Failure> {
        let (Format::Pdf, Some(first), Some(last)) = (format, wanted.first(), wanted.last()) else {
            return Ok(vec![None; wanted.len()]);
        };
        let texts = poppler::text_layer(self.settings, path, *first, *last).await?;
        let useful = |number: &u32| {
            let text = texts.get((number - first) as usize)?;
            is_useful(text, self.settings.text_layer_characters_min).then(|| text.clone())
        };
        Ok(wanted.iter().map(useful).collect())
    }

    async fn page(
        &self,
        path: &Path,
        format: Format,
        number: u32,
        layer: Option<String>,
    ) -> Result<ReadPage, Failure> {
        if let Some(text) = layer {
            let page = if self.with_words {
                poppler::text_page(self.settings, path, number, text).await?
            } else {
                Page {
                    width: 0.0,
                    height: 0.0,
                    unit: Unit::Pt,
                    text,
                    words: Vec::new(),
                }
            };
            return Ok(ReadPage::new(number, Source::TextLayer, page));
        }
        let _slot = self.pages_at_once.acquire().await.map_err(|closed| {
            // The service never closes its semaphore.
            Failure::retryable("OCR_TOOL_FAILED", closed.to_string())
        })?;
        let page = match format {
            Format::Pdf => {
                let rendered = poppler::render(self.settings, path, number).await?;
                self.recognize(Picture {
                    path: &rendered.path,
                    frame: None,
                })
                .await?
            }
            Format::Tiff => {
                self.recognize(Picture {
                    path,
                    frame: Some(number - 1),
                })
                .await?
            }
            Format::Png | Format::Jpeg | Format::Webp => {
                self.recognize(Picture { path, frame: None }).await?
            }
        };
        Ok(ReadPage::new(number, Source::Ocr, page))
    }

    async fn recognize(&self, picture: Picture<'_>) -> Result<Page, Failure> {
        self.engine.recognize(picture, &self.language).await
    }
}

/// Whether a page's text layer can stand for the page: enough can be seen, and little of it is what
/// fonts without a character map leave behind.
fn is_useful(text: &str, characters_min: usize) -> bool {
    let visible = visible(text);
    let unknown = text
        .chars()
        .filter(|c| *c == char::REPLACEMENT_CHARACTER || ('\u{e000}'..='\u{f8ff}').contains(c))
        .count();
    visible >= characters_min.max(1) && unknown * 4 < visible
}

#[cfg(test)]
mod tests {
    use super::is_useful;

    #[test]
    fn a_text_layer_counts_when_it_can_be_read() {
        assert!(is_useful("A page with words on it.", 16));
        assert!(!is_useful("  page 3 \n\u{c}", 16));
        assert!(!is_useful("", 0));
        assert!(!is_useful(
            "\u{fffd}\u{fffd}\u{fffd}\u{e001}\u{e002} some words here",
            16
        ));
    }
}
