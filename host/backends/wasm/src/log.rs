//! The one import a plugin has: a line for the host's log, which can neither flood nor forge it.

use std::sync::Arc;

use tracing::Level;
use wasmtime::StoreContextMut;
use wasmtime::component::WasmStr;

use crate::text::one_line;
use crate::walls::State;

/// Fuel for a line, besides one for each of its bytes: the guest pays for what the host does for it.
const LINE_FUEL: u64 = 1_000;

/// The lines one call may still write.
pub(crate) struct Lines {
    plugin: Arc<str>,
    left: u32,
    max_chars: usize,
}

impl Lines {
    /// A fresh allowance.
    pub(crate) fn new(plugin: Arc<str>, left: u32, max_chars: usize) -> Self {
        Self {
            plugin,
            left,
            max_chars,
        }
    }

    fn write(&mut self, level: Level, line: &str) {
        let plugin = &*self.plugin;
        match level {
            Level::TRACE => tracing::trace!(target: "plugin", plugin, "{line}"),
            Level::DEBUG => tracing::debug!(target: "plugin", plugin, "{line}"),
            Level::INFO => tracing::info!(target: "plugin", plugin, "{line}"),
            Level::WARN => tracing::warn!(target: "plugin", plugin, "{line}"),
            Level::ERROR => tracing::error!(target: "plugin", plugin, "{line}"),
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            tracing::warn!(target: "plugin", plugin, "more lines of this call are not shown");
        }
    }
}

/// Writes a guest's line, or nothing when it has written enough; either way it costs the guest fuel.
///
/// # Errors
/// The text is not where the guest says, or is not UTF-8: a trap.
pub(crate) fn write(
    mut store: StoreContextMut<'_, State>,
    level: Level,
    message: &WasmStr,
) -> wasmtime::Result<()> {
    let mut price = LINE_FUEL;
    if store.data().lines.left > 0 {
        let text = message.to_str(&store)?;
        price = price.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        let line = one_line(&text, store.data().lines.max_chars);
        store.data_mut().lines.write(level, &line);
    }
    let fuel = store.get_fuel()?.saturating_sub(price);
    store.set_fuel(fuel)
}
