//! One host for several tests, since compiling the plugins costs more than most tests do.
//!
//! Tests that share a host must not meet. Directives are told apart by lane and service alone, so each test takes
//! lanes of its own, and its tenants have names that lead there. A host whose lanes are used up is left to its tests,
//! and the next test starts another. The last test that holds a host stops it.

use std::ops::Deref;
use std::sync::{Arc, Weak};

use tokio::sync::Mutex;

use crate::host::{Host, Setup};
use crate::lane;

/// How many lanes a host has.
const LANES: u32 = 16;

/// The host that still has lanes to give, and how many are given.
static OPEN: Mutex<(Weak<Host>, u32)> = Mutex::const_new((Weak::new(), LANES));

/// A host that others use as well, and lanes that nobody else uses.
#[derive(Debug)]
pub struct Share {
    host: Arc<Host>,
    lanes: std::ops::Range<u32>,
}

/// Takes a share with lanes for so many tenants of a host as [`Setup::quick`] describes it.
pub async fn host_for(tenants: u32) -> Share {
    let mut open = OPEN.lock().await;
    let (host, given) = &mut *open;
    let running = host.upgrade().filter(|_| *given + tenants <= LANES);
    let running = match running {
        Some(running) => running,
        None => {
            let fresh = Arc::new(Setup::quick().start().await);
            (*host, *given) = (Arc::downgrade(&fresh), 0);
            fresh
        }
    };
    let lanes = *given..*given + tenants;
    *given = lanes.end;
    Share {
        host: running,
        lanes,
    }
}

impl Share {
    /// A tenant whose jobs travel, in mode DEFAULT, in a lane that no other test uses.
    ///
    /// # Panics
    /// More tenants are wanted than were asked for.
    pub fn tenant(&mut self, name: &str) -> String {
        let lane = self
            .lanes
            .next()
            .unwrap_or_else(|| panic!("ask for more lanes: {name} has none"));
        let names = (0..).map(|number| format!("{name} {number}"));
        let mut fitting = names.filter(|name| lane::of_key(&lane::norm(name)) == lane);
        fitting.next().unwrap_or_default()
    }
}

impl Deref for Share {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}
