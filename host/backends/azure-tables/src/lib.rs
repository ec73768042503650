//! The ledger in Azure Table Storage, which many hosts share.
//!
//! What it promises: a commit is one entity group transaction, guarded by the ETag of the job's row, so it happens as
//! a whole or not at all and only on the version it was decided on. An answer that did not come means *unknown*: every
//! transaction carries a number that is its own, and what became of it is read back.
//!
//! ```text
//! create   reserve the key (tenants) and announce the due time (due) -> insert the job (jobs)
//! commit   announce a due time that is earlier, an end that is rare  -> replace the job (jobs)
//! sweep    rows of a lane up to now -> the jobs they name, as they are -> those that are due
//! ```
//!
//! Side rows are written before the commit that they announce. So a crash leaves at most a row that names a job which
//! is not as the row says, and every reader looks at the job before it believes a row. Rows that will never count
//! again are deleted by scans, many at a time. Where everything lies is in docs/table-storage-schema.md.
//!
//! On failure: while the service does not answer, reads and writes are tried again within a budget and then given up
//! as unavailable; nothing is kept here that the tables do not have.

mod attempts;
mod commit;
mod connection;
mod create;
mod due;
mod known;
mod layout;
mod list;
mod load;
mod past;
mod port;
mod records;
mod registry;
mod service;
mod upkeep;

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lucius_domain::time::Timestamp;
use lucius_ports::ledger;
use uuid::Uuid;

use crate::known::Known;
use crate::layout::Names;
use crate::layout::document::DocumentError;
use crate::service::{Query, Tables};

pub use attempts::Attempts;
pub use connection::{Connection, ConnectionError};
pub use service::{Error, Means, Network, NoAnswer, Random, Retry, Transport};

/// How many requests one call makes at once, where it needs many.
pub(crate) const AT_ONCE: usize = 16;

/// How the ledger is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What the names of the tables begin with: letters and digits, a letter first.
    pub table_prefix: String,
    /// How requests are tried again.
    pub retry: Retry,
    /// Of how many jobs it is kept in memory what they were seen at last.
    pub known_jobs: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            table_prefix: "lucius".to_owned(),
            retry: Retry::default(),
            known_jobs: 20_000,
        }
    }
}

/// Why the ledger does not open; one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The prefix makes no table names.
    #[error(
        "ledger.table_prefix {0:?} makes no table names: use 1 to 50 letters and digits, a letter first"
    )]
    Prefix(String),
    /// Tables are missing.
    #[error(
        "there is no table {table} at {endpoint}: create the tables with `lucius azure apply`, or correct ledger.table_prefix"
    )]
    NoTable {
        /// Which.
        table: String,
        /// Where.
        endpoint: String,
    },
    /// The service does not accept the key or signature.
    #[error(
        "{endpoint} does not accept the key or signature ({reason}): correct LUCIUS_TABLES_CONNECTION, and this machine's clock if it is off by minutes"
    )]
    Denied {
        /// Where.
        endpoint: String,
        /// The service's words.
        reason: String,
    },
    /// Nothing answers, or not as Table Storage does.
    #[error(
        "{endpoint} does not answer ({reason}): correct LUCIUS_TABLES_CONNECTION, or wait until it is reachable"
    )]
    Unreachable {
        /// Where.
        endpoint: String,
        /// What was seen.
        reason: String,
    },
}

/// The ledger in tables.
pub struct TableLedger {
    tables: Tables,
    names: Names,
    known: Known,
}

impl TableLedger {
    /// Opens the ledger; its tables must be there.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do; see [`OpenError`].
    pub async fn open(
        connection: Connection,
        means: Means,
        settings: Settings,
    ) -> Result<Arc<Self>, OpenError> {
        let known_jobs = settings.known_jobs;
        let storage = Storage::new(connection, means, settings)?;
        let missing = storage.missing().await?;
        if let Some(table) = missing.first() {
            return Err(storage.open_error(Error::NoTable(table.clone())));
        }
        let Storage { tables, names } = storage;
        let known = Known::new(known_jobs);
        Ok(Arc::new(Self {
            tables,
            names,
            known,
        }))
    }

    /// Says whether the tables answer now, for readiness.
    ///
    /// # Errors
    /// Why not, in one line.
    pub async fn check(&self) -> Result<(), String> {
        let read = self.tables.page(&self.names.registry, &one(), None).await;
        read.map(drop).map_err(|error| error.to_string())
    }

    fn now(&self) -> Timestamp {
        self.tables.means().clock.now()
    }

    fn random(&self) -> u128 {
        (self.tables.means().random)()
    }

    /// A number for one write, that no other write has.
    fn write_id(&self) -> String {
        Uuid::from_u128(self.random()).simple().to_string()
    }
}

/// The tables themselves: which are missing, and making them.
pub struct Storage {
    tables: Tables,
    names: Names,
}

impl Storage {
    /// The tables of a prefix.
    ///
    /// # Errors
    /// The prefix makes no table names.
    pub fn new(
        connection: Connection,
        means: Means,
        settings: Settings,
    ) -> Result<Self, OpenError> {
        let prefix = &settings.table_prefix;
        let sound = prefix.starts_with(|first: char| first.is_ascii_alphabetic())
            && prefix.chars().all(|char| char.is_ascii_alphanumeric())
            && prefix.len() <= 50;
        if !sound {
            return Err(OpenError::Prefix(prefix.clone()));
        }
        Ok(Self {
            names: Names::new(prefix),
            tables: Tables::new(connection, means, settings.retry),
        })
    }

    /// The names of all tables.
    pub fn names(&self) -> Vec<String> {
        self.names.all().map(str::to_owned).to_vec()
    }

    /// The names of the tables that are not there.
    ///
    /// # Errors
    /// The service does not answer, or does not allow it.
    pub async fn missing(&self) -> Result<Vec<String>, OpenError> {
        let looks = self
            .names
            .all()
            .map(|table| async move { Ok((!self.has(table).await?).then(|| table.to_owned())) });
        let found: Vec<_> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn has(&self, table: &str) -> Result<bool, OpenError> {
        match self.tables.page(table, &one(), None).await {
            Ok(_) => Ok(true),
            Err(Error::NoTable(_)) => Ok(false),
            Err(error) => Err(self.open_error(error)),
        }
    }

    /// Refuses to go on without a table.
    async fn needs(&self, table: &str) -> Result<(), OpenError> {
        match self.has(table).await? {
            true => Ok(()),
            false => Err(self.open_error(Error::NoTable(table.to_owned()))),
        }
    }

    /// Makes one table; it does no harm when it is there.
    ///
    /// # Errors
    /// The service does not answer, or does not allow it.
    pub async fn create(&self, table: &str) -> Result<(), OpenError> {
        let mut failed = 0;
        loop {
            let error = match self.tables.create_table(table).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            failed += 1;
            let again = self.tables.again(failed, error).await;
            again.map_err(|error| self.open_error(error))?;
        }
    }

    fn open_error(&self, error: Error) -> OpenError {
        let endpoint = self.tables.connection().endpoint().to_owned();
        match error {
            Error::Denied(reason) => OpenError::Denied { endpoint, reason },
            Error::NoTable(table) => OpenError::NoTable { table, endpoint },
            Error::Unknown { .. } | Error::TooLarge(_) | Error::Refused(_) => {
                let reason = error.to_string();
                OpenError::Unreachable { endpoint, reason }
            }
        }
    }
}

/// The smallest question that a table answers.
fn one() -> Query {
    Query {
        filter: "PartitionKey eq 'x'".to_owned(),
        select: "RowKey",
        top: 1,
    }
}

/// A text in a query.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl From<Error> for ledger::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::TooLarge(what) => Self::TooLarge(what),
            Error::Unknown { .. } | Error::Denied(_) | Error::NoTable(_) | Error::Refused(_) => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}

impl From<DocumentError> for ledger::Error {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::TooLarge { .. } => Self::TooLarge(error.to_string()),
            DocumentError::NotUnderstood { .. } => Self::Corrupt(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_text_cannot_leave_its_quotes() {
        assert_eq!(super::quoted("a' or 'b"), "'a'' or ''b'");
    }
}
