//! What stands around one call: a store of its own with every limit set before the guest's first instruction.

use std::sync::Arc;

use lucius_ports::plugin::Limits;
use wasmtime::{Engine, ResourceLimiter, Store};

use crate::engine::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};
use crate::log::Lines;
use crate::ticker;

/// What the host may copy of a guest beyond the text it may return: list elements, and room for the log.
const HOSTCALL_SLACK_BYTES: usize = 64 << 10;

/// What a store holds for the host.
pub(crate) struct State {
    pub(crate) room: Room,
    pub(crate) lines: Lines,
}

/// The memory and tables of one instance. Memories count together: many small ones are no way around the limit.
pub(crate) struct Room {
    memory_limit: usize,
    memory: usize,
    last_memory: usize,
    elements: usize,
    last_elements: usize,
    refused: bool,
}

impl Room {
    fn new(memory_limit: usize) -> Self {
        Self {
            memory_limit,
            memory: 0,
            last_memory: 0,
            elements: 0,
            last_elements: 0,
            refused: false,
        }
    }

    /// What the instance has, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        u64::try_from(self.memory).unwrap_or(u64::MAX)
    }

    /// True when the guest wanted more than it may have; often the real reason for a trap soon after.
    pub(crate) fn refused(&self) -> bool {
        self.refused
    }

    fn grant(used: usize, current: usize, desired: usize, limit: usize) -> Option<usize> {
        let total = used.checked_add(desired.checked_sub(current)?)?;
        (total <= limit).then_some(total)
    }
}

impl ResourceLimiter for Room {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let granted = Self::grant(self.memory, current, desired, self.memory_limit);
        if let Some(total) = granted {
            self.last_memory = self.memory;
            self.memory = total;
        }
        self.refused |= granted.is_none();
        Ok(granted.is_some())
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory = self.last_memory;
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let granted = Self::grant(self.elements, current, desired, MAX_TABLE_ELEMENTS);
        if let Some(total) = granted {
            self.last_elements = self.elements;
            self.elements = total;
        }
        self.refused |= granted.is_none();
        Ok(granted.is_some())
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.elements = self.last_elements;
        Ok(())
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }
}

/// A store for one call.
///
/// # Errors
/// When the host has no memory for it.
pub(crate) fn store(
    engine: &Engine,
    limits: &Limits,
    lines: Lines,
) -> wasmtime::Result<Store<State>> {
    let room = Room::new(usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX));
    let mut store = Store::try_new(engine, State { room, lines })?;
    store.limiter(|state| &mut state.room);
    store.set_fuel(limits.fuel)?;
    store.set_epoch_deadline(ticker::ticks(limits.deadline_ms));
    store.epoch_deadline_trap();
    let output = usize::try_from(limits.output_bytes).unwrap_or(usize::MAX);
    store.set_hostcall_fuel(
        output
            .saturating_mul(2)
            .saturating_add(HOSTCALL_SLACK_BYTES),
    );
    // The contract has no resources, so a guest that makes handles is up to no good.
    store.set_max_component_handles(16);
    Ok(store)
}

/// Who writes, for [`store`].
pub(crate) fn lines(plugin: &Arc<str>, settings: &crate::Settings) -> Lines {
    Lines::new(
        Arc::clone(plugin),
        settings.log_lines,
        settings.log_line_chars,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_count_together() {
        let mut room = Room::new(100);
        assert!(room.memory_growing(0, 60, None).unwrap());
        assert!(room.memory_growing(0, 40, None).unwrap());
        assert!(!room.refused());
        assert!(!room.memory_growing(40, 41, None).unwrap());
        assert!(room.refused());
    }

    #[test]
    fn a_growth_that_failed_is_given_back() {
        let mut room = Room::new(100);
        assert!(room.memory_growing(0, 60, None).unwrap());
        assert!(room.memory_growing(60, 100, None).unwrap());
        room.memory_grow_failed(wasmtime::Error::msg("no pages"))
            .unwrap();
        assert!(room.memory_growing(0, 40, None).unwrap());
    }

    #[test]
    fn growth_beyond_the_guests_own_maximum_is_no_sin() {
        let mut room = Room::new(100);
        assert!(!room.memory_growing(0, 60, Some(50)).unwrap());
        assert!(!room.refused());
    }
}
