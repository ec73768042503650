//! Who is next: fair shares between tenants, priorities within one.
//!
//! Tenants take turns, one directive each, however many they have waiting: a tenant with ten thousand delays another's only
//! one by a single turn. Within a tenant the higher priority goes first, and among equals who came first. Priorities
//! never reach beyond their tenant, or everybody would ask for the highest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};

use lucius_domain::id::TenantId;

/// What waits for its turn.
pub(crate) struct Fair<T> {
    /// Whose turn it is, of those who have something waiting; each is here once.
    turns: VecDeque<TenantId>,
    lines: HashMap<TenantId, BTreeMap<Reverse<u8>, VecDeque<T>>>,
    len: usize,
}

impl<T> Default for Fair<T> {
    fn default() -> Self {
        Self {
            turns: VecDeque::new(),
            lines: HashMap::new(),
            len: 0,
        }
    }
}

impl<T> Fair<T> {
    /// Gets in line.
    pub(crate) fn push(&mut self, tenant: &TenantId, priority: u8, it: T) {
        let lines = self.lines.entry(tenant.clone()).or_insert_with(|| {
            self.turns.push_back(tenant.clone());
            BTreeMap::new()
        });
        lines.entry(Reverse(priority)).or_default().push_back(it);
        self.len += 1;
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// Takes who is next out of line.
impl<T> Iterator for Fair<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let tenant = self.turns.pop_front()?;
        let lines = self.lines.get_mut(&tenant)?;
        let mut first = lines.first_entry()?;
        let it = first.get_mut().pop_front()?;
        if first.get().is_empty() {
            first.remove();
        }
        if lines.is_empty() {
            self.lines.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        self.len -= 1;
        Some(it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_with_ten_thousand_delays_another_by_one_turn() {
        let (hot, other) = (TenantId::from("hot"), TenantId::from("other"));
        let mut fair = Fair::default();
        for n in 0..10_000 {
            fair.push(&hot, 9, ("hot", n));
        }
        fair.push(&other, 0, ("other", 0));
        assert_eq!(fair.len(), 10_001);
        let order: Vec<_> = fair.by_ref().take(3).collect();
        assert_eq!(order, [("hot", 0), ("other", 0), ("hot", 1)]);
        assert_eq!((fair.len(), fair.count()), (9_998, 9_998));
    }

    #[test]
    fn within_a_tenant_the_higher_priority_goes_first_and_equals_in_their_order() {
        let acme = TenantId::from("acme");
        let mut fair = Fair::default();
        for (priority, name) in [(5, "a"), (5, "b"), (9, "c"), (0, "d"), (9, "e")] {
            fair.push(&acme, priority, name);
        }
        assert_eq!(fair.collect::<Vec<_>>(), ["c", "e", "a", "b", "d"]);
    }
}
