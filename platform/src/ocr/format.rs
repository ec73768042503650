//! What a file is, by its first bytes.
//!
//! This is asked before any tool sees the file: tesseract takes what is no image for a list of file
//! names and opens those, so a text file would show a client any picture on the machine.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// How far into a file readers look for a PDF's header, in bytes.
const PDF_HEADER_WITHIN_BYTES: usize = 1024;

/// More frames than any scanner makes; the chain of a hostile file may be endless.
const FRAMES_MAX: u32 = 100_000;

/// The kinds of documents that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Pdf,
    Png,
    Jpeg,
    Webp,
    Tiff,
}

/// The format that these first bytes belong to.
pub(super) fn sniff(head: &[u8]) -> Option<Format> {
    match head {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Format::Png),
        [0xff, 0xd8, 0xff, ..] => Some(Format::Jpeg),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some(Format::Tiff),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some(Format::Webp),
        _ => {
            let within = &head[..head.len().min(PDF_HEADER_WITHIN_BYTES)];
            within
                .windows(5)
                .any(|bytes| bytes == b"%PDF-")
                .then_some(Format::Pdf)
        }
    }
}

/// The format of a file; `None` when it is no document. Blocks.
pub(super) fn of_file(path: &Path) -> io::Result<Option<Format>> {
    let mut head = Vec::with_capacity(PDF_HEADER_WITHIN_BYTES);
    let file = std::fs::File::open(path)?;
    file.take(PDF_HEADER_WITHIN_BYTES as u64)
        .read_to_end(&mut head)?;
    Ok(sniff(&head))
}

/// How many pictures a TIFF holds. Blocks.
pub(super) fn tiff_frames(path: &Path) -> io::Result<u32> {
    count_frames(&mut std::fs::File::open(path)?)
}

fn count_frames<F: Read + Seek>(file: &mut F) -> io::Result<u32> {
    let mut head = [0_u8; 8];
    file.read_exact(&mut head)?;
    let little = head[0] == b'I';
    let u16_of = |b: [u8; 2]| {
        if little {
            u16::from_le_bytes(b)
        } else {
            u16::from_be_bytes(b)
        }
    };
    let u32_of = |b: [u8; 4]| {
        if little {
            u32::from_le_bytes(b)
        } else {
            u32::from_be_bytes(b)
        }
    };
    let mut next = u32_of([head[4], head[5], head[6], head[7]]);
    let mut frames = 0;
    while next != 0 && frames < FRAMES_MAX {
        file.seek(SeekFrom::Start(u64::from(next)))?;
        let mut entries = [0_u8; 2];
        file.read_exact(&mut entries)?;
        file.seek(SeekFrom::Current(i64::from(u16_of(entries)) * 12))?;
        let mut link = [0_u8; 4];
        file.read_exact(&mut link)?;
        next = u32_of(link);
        frames += 1;
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn documents_are_known_by_their_first_bytes_and_nothing_else_is() {
        assert_eq!(sniff(b"%PDF-1.7\n"), Some(Format::Pdf));
        assert_eq!(sniff(b"\n junk \n%PDF-1.4"), Some(Format::Pdf));
        assert_eq!(sniff(b"\x89PNG\r\n\x1a\n..."), Some(Format::Png));
        assert_eq!(sniff(b"\xff\xd8\xff\xe0"), Some(Format::Jpeg));
        assert_eq!(sniff(b"II*\0"), Some(Format::Tiff));
        assert_eq!(sniff(b"MM\0*"), Some(Format::Tiff));
        assert_eq!(sniff(b"RIFF\x01\x02\x03\x04WEBPVP8 "), Some(Format::Webp));
        let nothing: [&[u8]; 6] = [
            b"",
            b"/etc/secret.png\n",
            b"RIFF1234WAVE",
            b"GIF89a",
            b"\x89PNG",
            b"<html>",
        ];
        for head in nothing {
            assert_eq!(sniff(head), None, "{head:?}");
        }
    }

    #[test]
    fn the_frames_of_a_tiff_are_counted_in_either_byte_order() {
        let little: &[u8] = b"II*\0\x08\0\0\0\0\0\x0e\0\0\0\0\0\0\0\0\0";
        assert_eq!(count_frames(&mut Cursor::new(little)).unwrap(), 2);
        let big: &[u8] = b"MM\0*\0\0\0\x08\0\0\0\0\0\0";
        assert_eq!(count_frames(&mut Cursor::new(big)).unwrap(), 1);
    }

    #[test]
    fn a_tiff_whose_frames_go_in_a_circle_is_counted_to_the_limit_only() {
        let circle: &[u8] = b"II*\0\x08\0\0\0\0\0\x08\0\0\0";
        assert_eq!(count_frames(&mut Cursor::new(circle)).unwrap(), FRAMES_MAX);
        let cut: &[u8] = b"II*\0\x08\0\0\0\xff\xff";
        assert!(count_frames(&mut Cursor::new(cut)).is_err());
    }
}
