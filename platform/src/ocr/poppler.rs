//! PDFs, by poppler's command-line programs.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::engine::{Page, Unit};
use super::{Settings, tool, tsv};
use crate::process::{Output, args};
use crate::service::Failure;

/// Room for what `pdfinfo` says, in bytes.
const INFO_BYTES: usize = 1024 * 1024;

/// Room for the text layer of one run, in bytes.
const TEXT_BYTES: usize = 256 * 1024 * 1024;

/// How many pages a PDF has.
pub(super) async fn page_count(settings: &Settings, pdf: &Path) -> Result<u32, Failure> {
    let output = tool::run(settings, &tool::PDFINFO, args([&"--", &pdf]), INFO_BYTES).await?;
    if !output.status.success() {
        return Err(refused(&output));
    }
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let count = listed
        .lines()
        .find_map(|line| line.strip_prefix("Pages:")?.trim().parse().ok());
    match count {
        Some(0) => Err(no_pages()),
        Some(count) => Ok(count),
        None => Err(unreadable("its number of pages is not known")),
    }
}

/// The text layer of pages `first` to `last`, one text a page. A page without one gives an empty
/// text.
pub(super) async fn text_layer(
    settings: &Settings,
    pdf: &Path,
    first: u32,
    last: u32,
) -> Result<Vec<String>, Failure> {
    let (from, to) = (first.to_string(), last.to_string());
    let call = args([
        &"-layout", &"-enc", &"UTF-8", &"-f", &from, &"-l", &to, &"--", &pdf, &"-",
    ]);
    let output = tool::run(settings, &tool::PDFTOTEXT, call, TEXT_BYTES).await?;
    if output.status.code() == Some(3) {
        let message = "the PDF does not allow its text to be copied; remove its restrictions";
        return Err(Failure::fatal("PDF_ENCRYPTED", message));
    }
    if !output.status.success() {
        return Err(refused(&output));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut pages: Vec<String> = text.split('\u{c}').map(str::to_owned).collect();
    // Every page ends in a form feed, so the last part belongs to none.
    pages.truncate((last - first + 1) as usize);
    pages.resize((last - first + 1) as usize, String::new());
    Ok(pages)
}

/// One page of the text layer with its words' places.
pub(super) async fn text_page(
    settings: &Settings,
    pdf: &Path,
    number: u32,
    text: String,
) -> Result<Page, Failure> {
    let number = number.to_string();
    let call = args([
        &"-tsv", &"-enc", &"UTF-8", &"-f", &number, &"-l", &number, &"--", &pdf, &"-",
    ]);
    let output = tool::run(settings, &tool::PDFTOTEXT, call, TEXT_BYTES).await?;
    if !output.status.success() {
        return Err(refused(&output));
    }
    let table = tsv::read(&String::from_utf8_lossy(&output.stdout));
    let (width, height) = table.size.unwrap_or_default();
    Ok(Page {
        width,
        height,
        unit: Unit::Pt,
        text,
        words: table.words,
    })
}

/// A page as a picture, in a folder that goes when dropped.
pub(super) struct Rendered {
    pub(super) path: PathBuf,
    _folder: TempDir,
}

/// Renders one page in grey.
pub(super) async fn render(
    settings: &Settings,
    pdf: &Path,
    number: u32,
) -> Result<Rendered, Failure> {
    let folder = tool::folder_beside(pdf)?;
    let base = folder.path().join("page");
    let (page, dpi) = (number.to_string(), settings.dpi.to_string());
    let mut call = args([&"-r", &dpi, &"-gray", &"-png", &"-singlefile"]);
    call.extend(args([&"-f", &page, &"-l", &page, &"--", &pdf, &base]));
    let output = tool::run(settings, &tool::PDFTOPPM, call, INFO_BYTES).await?;
    let path = base.with_extension("png");
    let what = format!("page {number} cannot be rendered");
    if !output.status.success() || !path.is_file() {
        return Err(tool::failed(&output, "PDF_UNREADABLE", &what));
    }
    tool::enough_memory(&output, &what)?;
    Ok(Rendered {
        path,
        _folder: folder,
    })
}

fn refused(output: &Output) -> Failure {
    let says = |sign: &str| output.stderr.contains(sign);
    if says("Incorrect password") || says("unsupported security") || says("Unsupported security") {
        let message = "the PDF needs a password; remove its encryption and submit it again";
        return Failure::fatal("PDF_ENCRYPTED", message);
    }
    if says("Invalid page count 0") || says("after the last page (0)") {
        return no_pages();
    }
    tool::failed(output, "PDF_UNREADABLE", "the PDF cannot be read")
}

fn no_pages() -> Failure {
    Failure::fatal(
        "PDF_NO_PAGES",
        "the PDF has no pages; check how it was made",
    )
}

fn unreadable(why: &str) -> Failure {
    Failure::fatal("PDF_UNREADABLE", format!("the PDF cannot be read: {why}"))
}
