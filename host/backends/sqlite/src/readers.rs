//! The connections that read, and where they do it.
//!
//! A read runs on tokio's blocking threads: they exist only while there is something to read, and the number of
//! connections bounds how many there are. The asynchronous threads never touch the file. A load that the writer's
//! cache answers comes nowhere near here.

use std::sync::{Arc, Mutex, PoisonError};

use lucius_ports::ledger::Error;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::open::{OpenError, Place};
use crate::row::ReadError;

#[derive(Debug)]
pub(crate) struct Readers {
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn open(place: &Place, count: usize) -> Result<Arc<Self>, OpenError> {
        let count = count.max(1);
        let idle: Result<Vec<_>, _> = (0..count).map(|_| place.open_reader()).collect();
        let permits = Arc::new(Semaphore::new(count));
        Ok(Arc::new(Self {
            idle: Mutex::new(idle?),
            permits,
        }))
    }

    /// Reads with the next connection that is free.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Error> {
        let closed = || Error::Unavailable("the ledger is closed".to_owned());
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| closed())?;
        let readers = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || {
            let borrowed = Borrowed::from(&readers).ok_or_else(closed)?;
            let answer = read(borrowed.connection()).map_err(Error::from);
            drop(borrowed);
            drop(permit);
            answer
        });
        reading
            .await
            .map_err(|error| Error::Unavailable(format!("a read did not end: {error}")))?
    }

    /// Closes the connections that are idle now; the others close when their read ends.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.idle().clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that goes back when the read is over, also when it panics.
struct Borrowed<'a> {
    readers: &'a Readers,
    connection: Option<Connection>,
}

impl<'a> Borrowed<'a> {
    fn from(readers: &'a Readers) -> Option<Self> {
        let connection = readers.idle().pop()?;
        Some(Self {
            readers,
            connection: Some(connection),
        })
    }

    fn connection(&self) -> &Connection {
        self.connection
            .as_ref()
            .expect("it is taken only when this is dropped")
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if !self.readers.permits.is_closed() {
            self.readers.idle().extend(self.connection.take());
        }
    }
}
