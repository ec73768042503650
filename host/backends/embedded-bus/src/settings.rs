//! What can be set, and why opening may fail.

use std::path::PathBuf;
use std::time::Duration;

/// How the bus behaves. The defaults are those of Azure Service Bus where it has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a receiver holds a message before someone else may have it; renewing starts it anew.
    pub lock_duration: Duration,
    /// After this many deliveries without a complete, a message goes to the dead-letter queue.
    pub max_delivery_count: u32,
    /// The largest message, body and properties together, in bytes.
    pub max_message_bytes: usize,
    /// Bodies and properties kept in memory, in bytes; what is beyond is read from the file when its turn comes.
    pub body_memory_bytes: usize,
    /// The most messages the bus holds, dead ones included. Each costs about 300 bytes of memory besides its body.
    pub max_messages: usize,
    /// The largest the file may grow, in bytes; a full bus refuses new messages and goes on delivering.
    pub max_file_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lock_duration: Duration::from_secs(60),
            max_delivery_count: 10,
            max_message_bytes: 256 * 1024,
            body_memory_bytes: 64 * 1024 * 1024,
            max_messages: 1_000_000,
            max_file_bytes: 4 * 1024 * 1024 * 1024,
        }
    }
}

/// Why the bus does not open. Each is one line and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A lock duration of zero, no deliveries, or the like.
    #[error("bus settings: {0}")]
    Settings(&'static str),
    /// SQLite before 3.51.3 can corrupt a file in WAL mode.
    #[error(
        "this build has SQLite {found}, whose WAL mode can corrupt data: build with 3.51.3 or newer"
    )]
    SqliteTooOld {
        /// The version that was linked.
        found: &'static str,
    },
    /// Another process, or another bus in this one, has the file.
    #[error("{} is in use by another process: stop it, or choose another data directory", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be opened or created.
    #[error("cannot open {}: {reason}; check that the directory exists and is writable", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
    /// It is another kind of file.
    #[error("{} is not a bus file: move it away, or choose another data directory", path.display())]
    NotABus {
        /// The file.
        path: PathBuf,
    },
    /// A later version wrote it.
    #[error("{} was written by a newer version (format {format}): use that version", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// The format it has.
        format: i64,
    },
    /// Its content is damaged; nothing is repaired in silence.
    #[error("{} is damaged ({reason}): restore it from a backup, or move it away to start with an empty bus", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The system gives no thread.
    #[error("cannot start a thread for the bus: {0}")]
    Thread(std::io::Error),
}

/// Why the running bus does not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The request is wrong and stays wrong.
    #[error("{0}")]
    Refused(String),
    /// The message is larger than the setting.
    #[error("the message has more than {limit} bytes, body and properties together")]
    TooLarge { limit: usize },
    /// No room, until messages are completed or disk space returns.
    #[error("the bus is full: {0}")]
    Full(String),
    /// The file failed; what it holds is known again only after it is opened anew.
    #[error("the bus file failed and needs a restart of the host: {0}")]
    Broken(String),
    /// The host is stopping.
    #[error("the bus is closing")]
    Closing,
}
