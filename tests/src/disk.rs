//! A disk that fails when a test says so, under the program as it ships: see `disk.c`, which is preloaded into it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

/// Where to die, seen from one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The operation does not happen.
    Before,
    /// Half of a write happens; any other operation happens.
    Middle,
    /// It happens, and nothing after it.
    After,
}

impl Moment {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Before, Self::Middle, Self::After];

    fn number(self) -> u64 {
        match self {
            Self::Before => 0,
            Self::Middle => 1,
            Self::After => 2,
        }
    }
}

/// The words that the test and the library share, by their place in `struct control`.
#[derive(Clone, Copy)]
enum Word {
    Count,
    KillAt,
    KillHow,
    Full,
    SyncFails,
    SyncLies,
}

impl Word {
    fn offset(self) -> u64 {
        let place = match self {
            Self::Count => 0,
            Self::KillAt => 1,
            Self::KillHow => 2,
            Self::Full => 3,
            Self::SyncFails => 4,
            Self::SyncLies => 5,
        };
        place * 8
    }
}

/// One thing that a program did to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its number, from 1.
    pub number: u64,
    /// `write`, `truncate`, `sync`, `rename` or `remove`.
    pub what: String,
    /// The file, below the data directory; `.` is the directory itself.
    pub file: String,
}

/// The disk below one data directory.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
    control: File,
    keeps_what_was_synced: bool,
}

impl Disk {
    /// A disk that is well.
    ///
    /// # Panics
    /// There is no room for its control file.
    pub fn new() -> Self {
        Self::build(false)
    }

    /// A disk that notes what a power cut would leave of it.
    ///
    /// # Panics
    /// As [`Disk::new`].
    pub fn that_can_lose_power() -> Self {
        Self::build(true)
    }

    /// Whether a power cut can be had of it.
    pub fn can_lose_power(&self) -> bool {
        self.keeps_what_was_synced
    }

    fn build(keeps_what_was_synced: bool) -> Self {
        let build = || -> io::Result<Self> {
            let folder = TempDir::new()?;
            fs::create_dir_all(folder.path().join("survives/.content"))?;
            let path = folder.path().join("control");
            let control = File::options()
                .create_new(true)
                .read(true)
                .write(true)
                .open(path)?;
            control.set_len(4_096)?;
            Ok(Self {
                folder,
                control,
                keeps_what_was_synced,
            })
        };
        build().unwrap_or_else(|error| panic!("no disk: {error}"))
    }

    /// What a program has to be started with so that this is its disk.
    pub fn surroundings(&self, data: &Path) -> Vec<(String, PathBuf)> {
        let here = |name: &str| self.folder.path().join(name);
        let mut all = vec![
            ("LD_PRELOAD".to_owned(), library()),
            ("TEST_DISK".to_owned(), data.to_owned()),
            ("TEST_DISK_CONTROL".to_owned(), here("control")),
            ("TEST_DISK_LOG".to_owned(), here("log")),
        ];
        if self.keeps_what_was_synced {
            all.push(("TEST_DISK_SURVIVES".to_owned(), here("survives")));
        }
        all
    }

    /// How many operations there were so far.
    pub fn count(&self) -> u64 {
        let mut word = [0; 8];
        let read = self.control.read_exact_at(&mut word, Word::Count.offset());
        read.unwrap_or_else(|error| panic!("the control file is gone: {error}"));
        u64::from_ne_bytes(word)
    }

    /// All operations so far.
    pub fn operations(&self) -> Vec<Operation> {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let operation = |line: &str| {
            let mut words = line.splitn(3, ' ');
            Some(Operation {
                number: words.next()?.parse().ok()?,
                what: words.next()?.to_owned(),
                file: words.next()?.to_owned(),
            })
        };
        log.lines().filter_map(operation).collect()
    }

    /// Kills the program with SIGKILL at the operation with this number.
    pub fn kill_at(&self, number: u64, moment: Moment) {
        self.set(Word::KillHow, moment.number());
        self.set(Word::KillAt, number);
    }

    /// Kills nobody any more.
    pub fn spare(&self) {
        self.set(Word::KillAt, 0);
    }

    /// From now on no file can grow, or again it can.
    pub fn fill(&self, full: bool) {
        self.set(Word::Full, full.into());
    }

    /// From now on every sync fails, or again none does.
    pub fn fail_syncs(&self, fail: bool) {
        self.set(Word::SyncFails, fail.into());
    }

    /// From now on a sync answers and keeps nothing, as `synchronous=OFF` would have it.
    pub fn lie_about_syncs(&self, lie: bool) {
        self.set(Word::SyncLies, lie.into());
    }

    /// Replaces a data directory by what a power cut leaves of it. The program must be dead. Returns how many bytes
    /// were written and not synced.
    ///
    /// # Panics
    /// The files cannot be copied.
    pub fn cut_power(&self, data: &Path) -> usize {
        self.lose(data, |synced, _| synced)
    }

    /// The same of a disk that had begun to write what was not synced: of each sector that was written since, either
    /// what was synced is left or what came after, as the seed has it, and the file is as long as then or as now.
    ///
    /// # Panics
    /// As [`Disk::cut_power`].
    pub fn cut_power_while_it_writes(&self, data: &Path, seed: u64) -> usize {
        let mut dice = fastrand::Rng::with_seed(seed);
        self.lose(data, |synced, written| torn(synced, written, &mut dice))
    }

    /// Replaces a data directory by what is left of each file, which follows from what was synced and what was written.
    fn lose(&self, data: &Path, mut left: impl FnMut(Vec<u8>, &[u8]) -> Vec<u8>) -> usize {
        let survives = self.folder.path().join("survives");
        let contents = survives.join(".content");
        let mut swap = || -> io::Result<usize> {
            let mut unsynced = 0;
            for (inode, written) in files(data)? {
                let content = contents.join(inode.to_string());
                if content.is_file() {
                    let (synced, written) = (fs::read(&content)?, fs::read(written)?);
                    let same = synced.iter().zip(&written).filter(|(a, b)| a == b);
                    unsynced += synced.len().max(written.len()) - same.count();
                    fs::write(content, left(synced, &written))?;
                }
            }
            fs::remove_dir_all(data)?;
            copy(&survives, data)?;
            // The files are new ones now, and all there is of them is on the disk.
            fs::remove_dir_all(&survives)?;
            fs::create_dir_all(&contents)?;
            keep(data, &survives, &contents)?;
            Ok(unsynced)
        };
        swap().unwrap_or_else(|error| panic!("no power cut: {error}"))
    }

    fn set(&self, word: Word, value: u64) {
        let written = self
            .control
            .write_all_at(&value.to_ne_bytes(), word.offset());
        written.unwrap_or_else(|error| panic!("the control file is gone: {error}"));
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

/// What a disk writes at once.
const SECTOR_BYTES: usize = 512;

/// What is left of a file when the power goes while the disk writes.
fn torn(synced: Vec<u8>, written: &[u8], dice: &mut fastrand::Rng) -> Vec<u8> {
    let mut left = synced;
    if dice.bool() {
        left.resize(written.len(), 0);
    }
    for (at, sector) in (0..)
        .step_by(SECTOR_BYTES)
        .zip(left.chunks_mut(SECTOR_BYTES))
    {
        let written = written.get(at..).unwrap_or_default();
        if dice.bool() {
            let both = sector.len().min(written.len());
            sector[..both].copy_from_slice(&written[..both]);
        }
    }
    left
}

/// The files below a folder by their inodes, in the order of their names, so that a seed always means the same.
fn files(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_unstable_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let about = entry.metadata()?;
        if about.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push((about.ino(), entry.path()));
        }
    }
    Ok(found)
}

/// Copies what the names in a folder stand for.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        if entry.file_type()?.is_symlink() {
            fs::copy(&path, to.join(name))?;
        } else if name != ".content" {
            copy(&path, &to.join(name))?;
        }
    }
    Ok(())
}

/// Notes the files below a folder as synced, each content under the number of its inode.
fn keep(from: &Path, to: &Path, contents: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, about) = (entry.file_name(), entry.metadata()?);
        if about.is_dir() {
            keep(&entry.path(), &to.join(name), contents)?;
        } else {
            let content = contents.join(about.ino().to_string());
            fs::copy(entry.path(), &content)?;
            symlink(content, to.join(name))?;
        }
    }
    Ok(())
}

/// The library, compiled once in a test program's life.
///
/// # Panics
/// It cannot be compiled.
fn library() -> PathBuf {
    static LIBRARY: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let compile = || {
        let folder = TempDir::new().unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        let (source, library) = (folder.path().join("disk.c"), folder.path().join("disk.so"));
        let written = fs::write(&source, include_str!("disk.c"));
        written.unwrap_or_else(|error| panic!("no room: {error}"));
        let compiled = Command::new("cc")
            .args([
                "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o",
            ])
            .args([&library, &source])
            .status();
        assert!(
            compiled.is_ok_and(|status| status.success()),
            "cc cannot compile tests/src/disk.c: these tests need Linux and a C compiler, as SQLite's build does"
        );
        (folder, library)
    };
    LIBRARY.get_or_init(compile).1.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_torn_holds_sectors_of_then_and_of_now_and_nothing_else() {
        let (synced, written) = (vec![1; 5 * SECTOR_BYTES], vec![2; 8 * SECTOR_BYTES + 7]);
        let mut dice = fastrand::Rng::with_seed(1);
        let (mut lengths, mut bytes) = (Vec::new(), Vec::new());
        for _ in 0..64 {
            let left = torn(synced.clone(), &written, &mut dice);
            lengths.push(left.len());
            for (number, sector) in left.chunks(SECTOR_BYTES).enumerate() {
                // What was never written is nothing yet.
                let of_then = if number < 5 { 1 } else { 0 };
                assert!(sector.iter().all(|byte| *byte == sector[0]));
                assert!(
                    sector[0] == 2 || sector[0] == of_then,
                    "{number}: {}",
                    sector[0]
                );
                bytes.push(sector[0]);
            }
        }
        lengths.sort_unstable();
        lengths.dedup();
        assert_eq!(lengths, [synced.len(), written.len()]);
        bytes.sort_unstable();
        bytes.dedup();
        assert_eq!(bytes, [0, 1, 2]);
    }
}
