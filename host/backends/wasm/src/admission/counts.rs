//! What a component may have of everything, counted before anything is compiled.
//!
//! The parser's own ceilings are for every use of WebAssembly there is (a module of a gigabyte, a million functions);
//! these are for plugins. They are several times what a component needs that carries a whole Python.

use lucius_ports::plugin::AdmissionError;
use wasmparser::{FunctionBody, MemoryType, TableInit, TableSectionReader};

use super::{broken, shape};
use crate::engine::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};

/// Functions, globals, types, imports, exports and segments; of each kind, in all modules together.
const MAX_ITEMS: u64 = 100_000;
/// Types, functions and aliases of the component itself.
const MAX_DEFINITIONS: u64 = 10_000;
/// Of one function. Compilers take more than linear time for some shapes of code.
const MAX_BODY_BYTES: u64 = 1 << 20;
/// Of one function.
const MAX_LOCALS: u64 = 10_000;
const PAGE_BYTES: u64 = 65_536;

/// How many there are so far.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) memory_bytes: u64,
    memories: u64,
    tables: u64,
    elements: u64,
    instances: u64,
    functions: u64,
    globals: u64,
    types: u64,
    links: u64,
    segments: u64,
    definitions: u64,
}

impl Counts {
    pub(super) fn functions(&mut self, more: u32) -> Result<(), AdmissionError> {
        add(&mut self.functions, more, MAX_ITEMS, "functions")
    }

    pub(super) fn globals(&mut self, more: u32) -> Result<(), AdmissionError> {
        add(&mut self.globals, more, MAX_ITEMS, "globals")
    }

    pub(super) fn types(&mut self, more: u32) -> Result<(), AdmissionError> {
        add(&mut self.types, more, MAX_ITEMS, "types")
    }

    pub(super) fn links(&mut self, more: u32) -> Result<(), AdmissionError> {
        add(&mut self.links, more, MAX_ITEMS, "imports and exports")
    }

    pub(super) fn segments(&mut self, more: u32) -> Result<(), AdmissionError> {
        add(&mut self.segments, more, MAX_ITEMS, "segments")
    }

    pub(super) fn definitions(&mut self, more: u32) -> Result<(), AdmissionError> {
        let what = "types, functions and aliases of its own";
        add(&mut self.definitions, more, MAX_DEFINITIONS, what)
    }

    pub(super) fn instance(&mut self) -> Result<(), AdmissionError> {
        let most = u64::from(MAX_CORE_INSTANCES);
        add(&mut self.instances, 1, most, "core instances")
    }

    pub(super) fn memory(&mut self, memory: &MemoryType) -> Result<(), AdmissionError> {
        if memory.memory64 || memory.shared || memory.page_size_log2.is_some() {
            return Err(AdmissionError::Resources(
                "a 64-bit, shared or odd-paged memory: build it for wasm32 without threads".into(),
            ));
        }
        let bytes = memory.initial.saturating_mul(PAGE_BYTES);
        self.memory_bytes = self.memory_bytes.saturating_add(bytes);
        add(&mut self.memories, 1, u64::from(MAX_MEMORIES), "memories")
    }

    pub(super) fn tables(&mut self, tables: TableSectionReader<'_>) -> Result<(), AdmissionError> {
        for table in tables {
            let table = table.map_err(broken)?;
            if let TableInit::Expr(_) = table.init {
                return Err(shape(
                    "a table with an initial expression: build it without GC",
                ));
            }
            self.elements = self.elements.saturating_add(table.ty.initial);
            add(&mut self.tables, 1, u64::from(MAX_TABLES), "tables")?;
            let most = u64::try_from(MAX_TABLE_ELEMENTS).unwrap_or(u64::MAX);
            at_most(self.elements, most, "table elements")?;
        }
        Ok(())
    }
}

/// Checks the size of one function.
pub(super) fn body(body: &FunctionBody<'_>) -> Result<(), AdmissionError> {
    let range = body.range();
    let bytes = range.end.saturating_sub(range.start);
    at_most(
        u64::try_from(bytes).unwrap_or(u64::MAX),
        MAX_BODY_BYTES,
        "bytes in one function",
    )?;
    let mut locals = 0_u64;
    for declared in body.get_locals_reader().map_err(broken)? {
        let (count, _) = declared.map_err(broken)?;
        locals = locals.saturating_add(u64::from(count));
        at_most(locals, MAX_LOCALS, "locals in one function")?;
    }
    Ok(())
}

fn add(count: &mut u64, more: u32, most: u64, what: &str) -> Result<(), AdmissionError> {
    *count = count.saturating_add(u64::from(more));
    at_most(*count, most, what)
}

fn at_most(count: u64, limit: u64, what: &str) -> Result<(), AdmissionError> {
    if count <= limit {
        return Ok(());
    }
    Err(AdmissionError::Resources(format!(
        "it has more than {limit} {what}"
    )))
}
