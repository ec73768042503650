//! The clients: what they ask for, and what they were told.

use std::collections::BTreeMap;

use lucius_domain::id::JobId;
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::plugins::REQUEST_TYPES;
use crate::world::Violation;

/// A command. Orders of one group are one command to the ledger: they share an idempotency key.
pub(crate) struct Order {
    pub(crate) body: Value,
    pub(crate) group: usize,
}

/// All clients together.
#[derive(Default)]
pub(crate) struct Clients {
    pub(crate) orders: Vec<Order>,
    groups: usize,
    /// By group: which order was accepted, as which job.
    confirmed: BTreeMap<usize, (usize, JobId)>,
}

impl Clients {
    /// A new command; its number.
    pub(crate) fn invent(&mut self, dice: &mut Dice) -> usize {
        let group = self.groups;
        self.groups += 1;
        let tenant = *dice.pick(&["acme", "beta", "wide"]);
        let mut body = json!({
            "tenant_id": tenant, "request_type": *dice.pick(&REQUEST_TYPES),
            "doc_id": format!("g{group}-0"),
            "input_ref": "file:///in/a.pdf", "output_ref": "file:///out/",
            "payload": {}, "schema_version": "v1",
        });
        if dice.permille(500) {
            body["idempotency_key"] = format!("key-{group}").into();
        }
        if dice.permille(200) {
            body["mode"] = "BURST".into();
        }
        self.orders.push(Order { body, group });
        self.orders.len() - 1
    }

    /// A command of this type, and nothing left to chance; its number.
    pub(crate) fn order(&mut self, request_type: &str) -> usize {
        let group = self.groups;
        self.groups += 1;
        let body = json!({
            "tenant_id": "acme", "request_type": request_type,
            "input_ref": "file:///in/a.pdf", "output_ref": "file:///out/",
            "payload": {}, "schema_version": "v1",
        });
        self.orders.push(Order { body, group });
        self.orders.len() - 1
    }

    /// Another command under the key of an earlier one, if there is such a key; its number.
    pub(crate) fn reuse(&mut self, dice: &mut Dice) -> Option<usize> {
        if self.orders.is_empty() {
            return None;
        }
        let from = &self.orders[dice.index(self.orders.len())];
        from.body.get("idempotency_key")?;
        let (mut body, group) = (from.body.clone(), from.group);
        body["doc_id"] = format!("g{group}-{}", self.orders.len()).into();
        self.orders.push(Order { body, group });
        Some(self.orders.len() - 1)
    }

    /// A client was told that its command is a job. I5: always the same one, and never that of another command.
    pub(crate) fn confirmed(&mut self, order: usize, job: JobId) -> Option<Violation> {
        let group = self.orders[order].group;
        let (first, earlier) = *self.confirmed.entry(group).or_insert((order, job));
        if first != order {
            return crate::check::violation("I5", job, "two commands under one key were accepted");
        }
        if earlier != job {
            let what = format!("its command was confirmed as {earlier} before");
            return crate::check::violation("I5", job, what);
        }
        None
    }

    /// The jobs that clients count on.
    pub(crate) fn promised(&self) -> impl Iterator<Item = JobId> {
        self.confirmed.values().map(|(_, job)| *job)
    }
}
