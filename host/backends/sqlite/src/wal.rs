//! Whether the WAL still holds all that was committed to it.
//!
//! SQLite reads a WAL up to the first frame that is not sound and takes what follows for the torn end of a write that
//! was never answered. After a crash that is right; after damage it would drop commits that were answered, without a
//! word. There is a second witness: the shared-memory index says how many frames were committed, and SQLite writes it
//! only after the frames were synced. So an index that knows of more frames than the WAL has soundly left means that
//! answered commits are gone, and the ledger must not open as if they had never been.
//!
//! Without an index, or with one of another WAL, there is nothing to compare and the WAL is taken as it is.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::open::OpenError;

const WAL_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const INDEX_HEADER: usize = 48;

/// Refuses a ledger whose WAL has lost commits.
pub(crate) fn check(database: &Path) -> Result<(), OpenError> {
    let wal = read(database, "-wal")?.unwrap_or_default();
    let index = read(database, "-shm")?.unwrap_or_default();
    let committed = committed(&wal, &index).unwrap_or(0);
    let sound = sound_frames(&wal);
    if sound >= committed {
        return Ok(());
    }
    let detail = format!("its -wal file has {sound} sound frames, and {committed} were committed");
    Err(OpenError::Damaged {
        path: database.to_owned(),
        detail,
    })
}

fn read(database: &Path, suffix: &str) -> Result<Option<Vec<u8>>, OpenError> {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    let path = PathBuf::from(path);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpenError::Io { path, source }),
    }
}

/// How many frames the index says that this very WAL must have; `None` when it is not about this one, or when its two
/// copies differ because the process died while it wrote them. A WAL that is gone, or has lost its beginning, is
/// missed only while not all of it is in the database.
fn committed(wal: &[u8], index: &[u8]) -> Option<usize> {
    let header = index.get(..INDEX_HEADER)?;
    let twin = index.get(INDEX_HEADER..2 * INDEX_HEADER)?;
    if header != twin || header[12] == 0 {
        return None;
    }
    let number = |at: usize| {
        let bytes = index.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_ne_bytes(bytes)).ok()
    };
    let (frames, in_the_database) = (number(16)?, number(2 * INDEX_HEADER)?);
    let is_missed = match wal.get(..WAL_HEADER) {
        Some(wal) => wal[16..24] == header[32..40],
        None => in_the_database < frames,
    };
    is_missed.then_some(frames)
}

/// How many frames, from the first, carry the salts of the WAL and a checksum that goes on from the one before.
fn sound_frames(wal: &[u8]) -> usize {
    let Some(header) = wal.get(..WAL_HEADER) else {
        return 0;
    };
    // The lowest bit of the magic number says in which order the checksum takes its words.
    let sum = Checksum {
        big_endian: header[3] & 1 == 1,
    };
    let page_size = usize::try_from(word(header, 8)).unwrap_or(0);
    let mut state = sum.over(&header[..24], (0, 0));
    if state != (word(header, 24), word(header, 28)) || page_size == 0 {
        return 0;
    }
    let frames = wal[WAL_HEADER..].chunks_exact(FRAME_HEADER + page_size);
    frames
        .take_while(|frame| {
            let (head, page) = frame.split_at(FRAME_HEADER);
            state = sum.over(page, sum.over(&head[..8], state));
            head[8..16] == header[16..24] && state == (word(head, 16), word(head, 20))
        })
        .count()
}

/// A number in the WAL's headers; they are big-endian whatever the checksum's order is.
fn word(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    bytes.map_or(0, u32::from_be_bytes)
}

/// SQLite's own, of two words at a time.
#[derive(Clone, Copy)]
struct Checksum {
    big_endian: bool,
}

impl Checksum {
    fn over(self, bytes: &[u8], mut state: (u32, u32)) -> (u32, u32) {
        let (pairs, _) = bytes.as_chunks::<8>();
        for [a, b, c, d, e, f, g, h] in pairs {
            let (first, second) = ([*a, *b, *c, *d], [*e, *f, *g, *h]);
            let (first, second) = match self.big_endian {
                true => (u32::from_be_bytes(first), u32::from_be_bytes(second)),
                false => (u32::from_le_bytes(first), u32::from_le_bytes(second)),
            };
            state.0 = state.0.wrapping_add(first).wrapping_add(state.1);
            state.1 = state.1.wrapping_add(second).wrapping_add(state.0);
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database with so many commits in its WAL, as a process that was killed leaves it.
    fn killed(commits: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("there is room");
        let (used, path) = (folder.path().join("used.db"), folder.path().join("left.db"));
        let connection = rusqlite::Connection::open(&used).expect("a new database");
        let mode = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        assert_eq!(mode.as_deref(), Ok("wal"));
        connection
            .execute_batch("CREATE TABLE t (x TEXT)")
            .expect("a table");
        for _ in 0..commits {
            connection
                .execute("INSERT INTO t VALUES (hex(randomblob(900)))", [])
                .expect("a row");
        }
        for suffix in ["", "-wal", "-shm"] {
            let name = |path: &Path| format!("{}{suffix}", path.display());
            std::fs::copy(name(&used), name(&path)).expect("a copy");
        }
        (folder, path)
    }

    fn wal_of(path: &Path) -> PathBuf {
        PathBuf::from(format!("{}-wal", path.display()))
    }

    #[test]
    fn f6_what_a_killed_process_leaves_is_whole() {
        let (_folder, path) = killed(20);
        check(&path).expect("nothing is missing");
        let wal = std::fs::read(wal_of(&path)).expect("it is there");
        assert!(sound_frames(&wal) > 20, "{}", sound_frames(&wal));
    }

    #[test]
    fn f6_a_torn_frame_after_the_last_commit_is_no_damage() {
        let (_folder, path) = killed(5);
        let mut wal = std::fs::read(wal_of(&path)).expect("it is there");
        wal.extend_from_slice(&[7; 2_000]);
        std::fs::write(wal_of(&path), &wal).expect("there is room");
        check(&path).expect("it was never committed");
    }

    #[test]
    fn f6_f7_a_wal_that_lost_a_commit_is_refused_wherever_it_was_hit() {
        let (_folder, path) = killed(20);
        let whole = std::fs::read(wal_of(&path)).expect("it is there");
        let cuts = [0, 31, 32, 100, whole.len() / 2, whole.len() - 1];
        for keep in cuts {
            std::fs::write(wal_of(&path), &whole[..keep]).expect("there is room");
            check(&path).expect_err(&format!("{keep} bytes are left"));
        }
        std::fs::remove_file(wal_of(&path)).expect("it is there");
        check(&path).expect_err("all of it is gone");
        for at in (WAL_HEADER..whole.len()).step_by(997) {
            let mut wal = whole.clone();
            wal[at] ^= 0x10;
            std::fs::write(wal_of(&path), &wal).expect("there is room");
            let refused = check(&path).expect_err("a commit is gone");
            assert!(
                refused.to_string().contains("frames"),
                "byte {at}: {refused}"
            );
        }
    }
}
