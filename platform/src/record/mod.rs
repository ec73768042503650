//! What workers have finished, so that nobody works for it again.
//!
//! The bus delivers at least once. Written before the RESULT is sent, the record turns a second
//! delivery of a finished attempt into the same RESULT again, byte for byte, and never into the
//! same work again. Entries are forgotten once no message can still be about them.
//!
//! By default it is a file of this worker's own ([`sqlite`]). Workers of one service that share no
//! disk may share a record elsewhere: then a directive that comes to another worker than before is
//! known there too.

pub(crate) mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;

use crate::contract::{AttemptKey, AttemptResult};

/// The record cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file does not do what it should.
    #[error("the worker's record: {0}")]
    File(#[from] sqlite::Error),
    /// A stored RESULT cannot be read, or a new one written.
    #[error("the worker's record: {0}")]
    Body(#[from] serde_json::Error),
    /// The store does not answer, or refuses.
    #[error("the worker's record: {0}")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Where finished attempts are remembered: a text for each. What was put is found by everybody who
/// uses the same store, until it is older than the store keeps.
#[async_trait]
pub trait Store: Send + Sync {
    /// What is remembered of this very attempt.
    ///
    /// # Errors
    /// It is not known; the message comes again.
    async fn get(&self, attempt: &AttemptKey) -> Result<Option<String>, Error>;

    /// Remembers a text, in place of what was there. It is durable when this returns.
    ///
    /// # Errors
    /// It may be remembered or not.
    async fn put(&self, attempt: &AttemptKey, text: String) -> Result<(), Error>;
}

/// The durable record of finished attempts.
#[derive(Clone)]
pub(crate) struct Record(Arc<dyn Store>);

impl Record {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// The RESULT of this very attempt, if it is finished.
    pub(crate) async fn find(&self, attempt: &AttemptKey) -> Result<Option<AttemptResult>, Error> {
        let stored = self.0.get(attempt).await?;
        Ok(stored.map(|body| serde_json::from_str(&body)).transpose()?)
    }

    /// Remembers how an attempt ended, in place of what was remembered before.
    pub(crate) async fn remember(&self, result: &AttemptResult) -> Result<(), Error> {
        let body = serde_json::to_string(result)?;
        self.0.put(&result.envelope.attempt, body).await
    }
}
