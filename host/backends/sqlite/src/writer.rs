//! The one thread that writes.
//!
//! It takes every request that waits, writes them all in one transaction and answers after the COMMIT, which has
//! synced the WAL: one sync serves as many commits as came while the one before it ran. Requests wait in a bounded
//! queue, so that more load than the disk can take makes callers wait instead of memory grow.
//!
//! When the transaction fails, nobody is told that it worked. If one of the requests may be the reason, each is tried
//! alone. If the disk is full, or another program holds the file, all are told that the ledger is unavailable, and it
//! goes on when there is room, or when the file is free. If the file cannot be written or synced, or is damaged, the
//! writer closes for good: after a failed sync the kernel may have dropped what was not written, and syncing again
//! would succeed without it.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use lucius_domain::id::JobId;
use lucius_ports::ledger::{Committed, Error, GenerationRecord};
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use crate::hot::{Hot, HotJobs};
use crate::open::Place;
use crate::records::{self, Put};
use crate::row::{Encoded, NewJob};
use crate::stats::Counters;
use crate::upkeep::{self, Purge};
use crate::write::{self, CreateOutcome};

/// Whom to answer.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// Something to write.
pub(crate) enum Request {
    Create(Box<NewJob>, Answer<CreateOutcome>),
    Commit(Box<Encoded>, Answer<Committed>),
    Append(GenerationRecord, Answer<Committed>),
    /// Answered with the record's version, or nothing when it is not as expected.
    Put(Put, Answer<Option<u64>>),
    /// Answered with how many jobs went.
    Purge(Purge, Answer<usize>),
    /// Finish what came before and stop.
    Close(oneshot::Sender<()>),
}

/// What one request came to, inside a transaction that is not committed yet.
enum Outcome {
    Create(CreateOutcome),
    /// The job's number in the tables, or a conflict.
    Commit(Option<i64>),
    Append(bool),
    Put(Option<u64>),
    Purge(usize),
    Close,
}

/// The thread's own state.
pub(crate) struct Writer {
    pub(crate) connection: Connection,
    /// Dropped last: whoever opens the ledger next finds this connection closed.
    pub(crate) place: Place,
    pub(crate) queue: mpsc::Receiver<Request>,
    pub(crate) batch_limit: usize,
    pub(crate) shared: Shared,
}

/// What the thread shares with those who ask.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) hot: Arc<HotJobs>,
    pub(crate) counters: Arc<Counters>,
    /// Why the writer closed for good.
    pub(crate) broken: Arc<OnceLock<String>>,
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Next {
    Batch,
    Stop,
}

impl Writer {
    /// Serves until everyone who could ask is gone, or is told to close, or can no longer trust the file.
    pub(crate) fn run(mut self) {
        let mut batch = Vec::with_capacity(self.batch_limit);
        loop {
            batch.clear();
            if self.queue.blocking_recv_many(&mut batch, self.batch_limit) == 0 {
                break;
            }
            self.shared.counters.batch(batch.len(), self.queue.len());
            let next = self.serve(&mut batch);
            self.shared.counters.wrote(self.connection.total_changes());
            if next == Next::Stop {
                break;
            }
        }
        self.queue.close();
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the ledger did not close cleanly; it recovers when opened next");
        }
        drop(self.place);
    }

    /// Writes a batch and answers it.
    fn serve(&mut self, batch: &mut Vec<Request>) -> Next {
        let failure = match self.write(batch) {
            Ok(outcomes) => return self.answer(batch.drain(..).zip(outcomes)),
            Err(failure) => failure,
        };
        self.shared.counters.failed();
        match Failure::of(&failure) {
            Failure::Fatal => self.break_down(&failure, batch),
            Failure::NoRoom => {
                tracing::error!(error = %failure, "the ledger cannot write: make room on its disk");
                self.refuse(batch, &failure);
                Next::Batch
            }
            Failure::Busy => {
                tracing::error!(error = %failure, "another program writes to the ledger: let it end, or stop it");
                self.refuse(batch, &failure);
                Next::Batch
            }
            Failure::Other if batch.len() > 1 => {
                tracing::warn!(error = %failure, "writing many failed; trying each alone");
                for request in batch.drain(..) {
                    if self.serve(&mut vec![request]) == Next::Stop {
                        return Next::Stop;
                    }
                }
                Next::Batch
            }
            Failure::Other => {
                tracing::error!(error = %failure, "the ledger did not take a change");
                self.refuse(batch, &failure);
                Next::Batch
            }
        }
    }

    /// One transaction; durable when it returns `Ok`.
    fn write(&self, batch: &[Request]) -> rusqlite::Result<Vec<Outcome>> {
        self.connection
            .prepare_cached("BEGIN IMMEDIATE")?
            .execute([])?;
        let written = self.write_each(batch).and_then(|outcomes| {
            self.connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(outcomes)
        });
        if written.is_err() && !self.connection.is_autocommit() {
            // Some errors roll back by themselves; after the others this does.
            self.connection.execute_batch("ROLLBACK")?;
        }
        written
    }

    fn write_each(&self, batch: &[Request]) -> rusqlite::Result<Vec<Outcome>> {
        let to = &self.connection;
        let outcome = |request: &Request| {
            Ok(match request {
                Request::Create(new, _) => Outcome::Create(write::create(to, new)?),
                Request::Commit(change, _) => {
                    let n = self.shared.hot.get(change.job.id).map(|hot| hot.n);
                    Outcome::Commit(write::commit(to, change, n)?)
                }
                Request::Append(record, _) => Outcome::Append(write::append(to, record)?),
                Request::Put(put, _) => Outcome::Put(records::put(to, put)?),
                Request::Purge(purge, _) => Outcome::Purge(upkeep::purge(to, *purge)?),
                Request::Close(_) => Outcome::Close,
            })
        };
        batch.iter().map(outcome).collect()
    }

    /// Makes what was committed visible, in the order of the commits, and then tells those who asked.
    fn answer(&self, done: impl Iterator<Item = (Request, Outcome)>) -> Next {
        let mut next = Next::Batch;
        for (request, outcome) in done {
            // Whoever stopped waiting will load the job and see.
            let _heard = match (request, outcome) {
                (Request::Create(new, answer), Outcome::Create(outcome)) => {
                    if let CreateOutcome::New { n } = outcome {
                        self.shared.hot.put(Hot {
                            n,
                            job: new.change.job,
                        });
                        self.shared.counters.committed();
                    }
                    answer.send(Ok(outcome)).is_ok()
                }
                (Request::Commit(change, answer), Outcome::Commit(n)) => {
                    let committed = match n {
                        Some(n) => {
                            self.shared.hot.put(Hot { n, job: change.job });
                            self.shared.counters.committed();
                            Committed::Done
                        }
                        None => {
                            self.shared.counters.conflicted();
                            Committed::Conflict
                        }
                    };
                    answer.send(Ok(committed)).is_ok()
                }
                (Request::Append(_, answer), Outcome::Append(appended)) => {
                    let committed = if appended {
                        Committed::Done
                    } else {
                        Committed::Conflict
                    };
                    answer.send(Ok(committed)).is_ok()
                }
                (Request::Put(_, answer), Outcome::Put(version)) => {
                    answer.send(Ok(version)).is_ok()
                }
                (Request::Purge(_, answer), Outcome::Purge(gone)) => answer.send(Ok(gone)).is_ok(),
                (Request::Close(answer), _) => {
                    next = Next::Stop;
                    answer.send(()).is_ok()
                }
                (
                    Request::Create(..)
                    | Request::Commit(..)
                    | Request::Append(..)
                    | Request::Put(..)
                    | Request::Purge(..),
                    _,
                ) => {
                    unreachable!("an outcome is that of its request")
                }
            };
        }
        next
    }

    /// Tells everyone in the batch that it may have happened or not.
    fn refuse(&self, batch: &mut Vec<Request>, failure: &rusqlite::Error) {
        for request in batch.drain(..) {
            let unavailable = Error::Unavailable(failure.to_string());
            let _heard = match request {
                Request::Create(new, answer) => {
                    self.forget(new.change.job.id);
                    answer.send(Err(unavailable)).is_ok()
                }
                Request::Commit(change, answer) => {
                    self.forget(change.job.id);
                    answer.send(Err(unavailable)).is_ok()
                }
                Request::Append(_, answer) => answer.send(Err(unavailable)).is_ok(),
                Request::Put(_, answer) => answer.send(Err(unavailable)).is_ok(),
                Request::Purge(_, answer) => answer.send(Err(unavailable)).is_ok(),
                Request::Close(answer) => answer.send(()).is_ok(),
            };
        }
    }

    fn forget(&self, id: JobId) {
        self.shared.hot.forget(id);
    }

    fn break_down(&self, failure: &rusqlite::Error, batch: &mut Vec<Request>) -> Next {
        let file: PathBuf = self.place.file();
        let reason = format!(
            "{} cannot be written ({failure}): check its disk and start again",
            file.display()
        );
        tracing::error!("{reason}");
        // Only the first reason counts, and there is only one: the writer stops here.
        let _first = self.shared.broken.set(reason);
        self.refuse(batch, failure);
        Next::Stop
    }
}

/// What a failed transaction says about the next one.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// Nothing written from now on could be trusted.
    Fatal,
    /// It may work when there is room.
    NoRoom,
    /// Another connection holds the file, for longer than one waits. To try each request alone would be to wait as
    /// long for each.
    Busy,
    /// One of the requests may be the reason.
    Other,
}

impl Failure {
    fn of(error: &rusqlite::Error) -> Self {
        let Some(code) = error.sqlite_error_code() else {
            return Self::Other;
        };
        let fatal = [
            ErrorCode::SystemIoFailure,
            ErrorCode::DatabaseCorrupt,
            ErrorCode::NotADatabase,
            ErrorCode::CannotOpen,
            ErrorCode::ReadOnly,
            ErrorCode::FileLockingProtocolFailed,
            ErrorCode::NoLargeFileSupport,
        ];
        if code == ErrorCode::DiskFull {
            Self::NoRoom
        } else if code == ErrorCode::DatabaseBusy {
            Self::Busy
        } else if fatal.contains(&code) {
            Self::Fatal
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests;
