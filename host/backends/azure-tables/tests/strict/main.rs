//! The ledger on a strict model of the service: every promise of the port, with small and empty pages, and with
//! answers that get lost.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is the point"
)]

mod attempts;
mod limits;
mod model;
mod orphans;
mod past;
mod rig;

mod on_a_good_day {
    use crate::model::GOOD;
    use crate::rig::ledger;

    lucius_ports::ledger_conformance!(ledger(GOOD, 1).await);
    lucius_ports::records_conformance!(ledger(GOOD, 1).await);
    lucius_ports::upkeep_conformance!(ledger(GOOD, 1).await);
}

mod with_small_and_empty_pages {
    use crate::model::{Behaviour, GOOD};
    use crate::rig::ledger;

    const PAGES: Behaviour = Behaviour {
        page: 2,
        empty_page_in: 3,
        ..GOOD
    };

    lucius_ports::ledger_conformance!(ledger(PAGES, 2).await);
    lucius_ports::records_conformance!(ledger(PAGES, 2).await);
    lucius_ports::upkeep_conformance!(ledger(PAGES, 2).await);
}

mod with_answers_that_get_lost {
    use crate::model::Behaviour;
    use crate::rig::ledger;

    const FAULTS: Behaviour = Behaviour {
        page: 3,
        empty_page_in: 4,
        fault_in: 9,
    };

    lucius_ports::ledger_conformance!(ledger(FAULTS, 3).await);
    lucius_ports::records_conformance!(ledger(FAULTS, 3).await);
    lucius_ports::upkeep_conformance!(ledger(FAULTS, 3).await);
}
