//! Table Storage as its documentation describes it, in memory, and stricter than the emulator.
//!
//! What the service would refuse is refused here: keys with forbidden characters, a write that names no state,
//! transactions of two partitions, over 100 operations or over 4 MiB, an entity named twice, properties over 64 KiB,
//! entities over 1 MiB. What the service may do is done here: pages are small and of any size, some are empty and go
//! on all the same, answers get lost before and after the work is done, and a busy service says so.

mod entities;
mod wire;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use lucius_azure_tables::{NoAnswer, Transport};
use lucius_ports::clock::Clock as _;
use lucius_ports::conformance::ledger::differential::Dice;

use entities::{Refusal, Table};

use crate::rig::Moving;

/// How the service behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behaviour {
    /// The most entities of a page; the service's own limit is 1,000.
    pub(crate) page: usize,
    /// One page in so many is empty and goes on; none when 0.
    pub(crate) empty_page_in: u64,
    /// One request in so many goes wrong; none when 0.
    pub(crate) fault_in: u64,
}

/// A service that does what it should, with its largest pages.
pub(crate) const GOOD: Behaviour = Behaviour {
    page: 1_000,
    empty_page_in: 0,
    fault_in: 0,
};

/// The service.
pub(crate) struct Model {
    behaviour: Behaviour,
    /// The one clock of the service and its clients.
    pub(crate) clock: Arc<Moving>,
    state: Mutex<State>,
    requests: AtomicU64,
}

struct State {
    tables: BTreeMap<String, Table>,
    dice: Dice,
    /// Counts writes: the source of ETags.
    writes: u64,
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It never arrives.
    LostOnTheWay,
    /// It is carried out and nobody hears of it.
    AnswerLost,
    /// It is carried out, and the answer says that something went wrong.
    ErrorAfterwards,
    /// The service is busy and does nothing.
    Busy,
}

impl Model {
    /// A service without tables.
    pub(crate) fn new(behaviour: Behaviour, seed: u64) -> Self {
        Self {
            behaviour,
            clock: Arc::default(),
            state: Mutex::new(State {
                tables: BTreeMap::new(),
                dice: Dice::new(seed),
                writes: 0,
            }),
            requests: AtomicU64::new(0),
        }
    }

    /// How many requests were made.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// How many entities a table holds.
    pub(crate) fn entities(&self, table: &str) -> usize {
        self.state().tables.get(table).map_or(0, Table::len)
    }

    /// Sets a property of every row of this name, as another version of the program may have written it.
    pub(crate) fn alter(&self, table: &str, row: &str, property: &str, value: &str) {
        let mut state = self.state();
        let table = state.tables.get_mut(table).expect("the table is there");
        table.alter(row, property, value);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self) -> Option<Fault> {
        let mut state = self.state();
        let Behaviour { fault_in, .. } = self.behaviour;
        if fault_in == 0 || state.dice.below(fault_in) > 0 {
            return None;
        }
        let faults = [
            Fault::LostOnTheWay,
            Fault::AnswerLost,
            Fault::ErrorAfterwards,
            Fault::Busy,
        ];
        Some(*state.dice.pick(&faults))
    }

    fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let headers = request.headers();
        assert!(
            headers.contains_key("authorization"),
            "a request without a signature"
        );
        assert!(headers.contains_key("x-ms-date") && headers.contains_key("x-ms-version"));
        let path = request.uri().path();
        let mut state = self.state();
        match (request.method(), path) {
            (&Method::POST, "/Tables") => {
                let name = wire::table_name(request.body());
                let alphanumeric = name.chars().all(|char| char.is_ascii_alphanumeric());
                assert!(
                    alphanumeric && (3..=63).contains(&name.len()),
                    "table {name:?}"
                );
                match state.tables.contains_key(&name) {
                    true => wire::error(StatusCode::CONFLICT, "TableAlreadyExists"),
                    false => {
                        state.tables.insert(name, Table::default());
                        wire::answer(StatusCode::NO_CONTENT, Bytes::new())
                    }
                }
            }
            (&Method::POST, "/$batch") => self.transact(&mut state, request.body()),
            (&Method::GET, _) => self.read(&mut state, request),
            (method, path) => panic!("{method} {path}: every write is a transaction"),
        }
    }

    fn transact(&self, state: &mut State, body: &Bytes) -> Response<Bytes> {
        assert!(
            body.len() <= 4 << 20,
            "a transaction of {} bytes",
            body.len()
        );
        let text = std::str::from_utf8(body).expect("it is text");
        let (table, operations) = wire::operations(text);
        assert!(
            (1..=100).contains(&operations.len()),
            "{} operations",
            operations.len()
        );
        state.writes += 1;
        let writes = state.writes;
        let now = self.clock.now().to_string();
        let Some(present) = state.tables.get(&table) else {
            return wire::failed(0, &Refusal::new(StatusCode::NOT_FOUND, "TableNotFound"));
        };
        // All or nothing: the copy takes the table's place once every operation has succeeded.
        let mut changed = present.clone();
        match changed.apply(&operations, writes, &now) {
            Ok(etags) => {
                state.tables.insert(table, changed);
                wire::done(&etags)
            }
            Err((index, refusal)) => wire::failed(index, &refusal),
        }
    }

    fn read(&self, state: &mut State, request: &Request<Bytes>) -> Response<Bytes> {
        let question = wire::question(request.uri());
        let Some(table) = state.tables.get(&question.table) else {
            return wire::error(StatusCode::NOT_FOUND, "TableNotFound");
        };
        if let Some(key) = &question.key {
            return match table.get(key) {
                Some(entity) => wire::one(key, entity, &question.select),
                None => wire::error(StatusCode::NOT_FOUND, "ResourceNotFound"),
            };
        }
        let Behaviour {
            page,
            empty_page_in,
            ..
        } = self.behaviour;
        let top = question.top.unwrap_or(1_000).min(page);
        let empty = empty_page_in > 0 && state.dice.below(empty_page_in) == 0;
        let limit = if empty { 0 } else { top };
        let table = &state.tables[&question.table];
        let matching = table.from(question.from.as_ref(), &question.filter);
        let entities: Vec<_> = matching.take(limit + 1).collect();
        wire::page(&entities, limit, &question.select)
    }
}

#[async_trait]
impl Transport for Model {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        // Others get their turn in between, as they do while a real answer is on its way.
        tokio::task::yield_now().await;
        match self.fault() {
            None => Ok(self.answer(&request)),
            Some(Fault::LostOnTheWay) => Err(NoAnswer("lost on the way".to_owned())),
            Some(Fault::AnswerLost) => {
                self.answer(&request);
                Err(NoAnswer("the answer is lost".to_owned()))
            }
            Some(Fault::ErrorAfterwards) => {
                self.answer(&request);
                Ok(wire::error(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "OperationTimedOut",
                ))
            }
            Some(Fault::Busy) => {
                let mut busy = wire::error(StatusCode::SERVICE_UNAVAILABLE, "ServerBusy");
                let seconds = http::HeaderValue::from_static("1");
                busy.headers_mut().insert("retry-after", seconds);
                Ok(busy)
            }
        }
    }
}
