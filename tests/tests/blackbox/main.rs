//! The built program as the outside world sees it, by the letter of its interface.
//!
//! One test program for all of it, so that the many short waits of one test are the working time of another. Each
//! test has a host of its own on a free port, and stops it.

mod azure;
mod azure_tools;
mod bad_input;
mod callbacks;
mod cancelling;
mod crashes;
mod documents;
mod idempotency;
mod lifecycle;
mod limits;
mod older_ledger;
mod operating;
mod program;
mod reading;
mod readme;
mod retries;
mod routes;
mod routing;
mod secrets;
mod shared_record;
mod start;
mod traces;
