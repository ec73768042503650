//! What is refused before anything is compiled: by size, by kind, by imports, by version, by shape.
//!
//! A compiler is a large thing to hand a stranger's bytes to, so this walk, which allocates nearly nothing, comes
//! first. It also names what is wrong in words of the contract, where the compiler would speak of offsets.

use lucius_ports::plugin::{AdmissionError, Limits};
use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentExternName, Encoding, Instance, MemoryType,
    Parser, Payload, TableInit,
};

use crate::engine::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};
use crate::log;
use crate::text::one_line;

/// The interface a plugin exports.
pub(crate) const HANDLER: &str = "lucius:step/handler@1.0.0";
/// The contract's version that this crate serves.
const VERSION: &str = "1.0.0";
/// The types the log speaks in: an import without a single function.
const TYPES: &str = "lucius:step/types@1.0.0";

const PAGE_BYTES: u64 = 65_536;
const NAME_CHARS: usize = 100;

/// Looks at a component without compiling it, and answers how many bytes of memory it starts with.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn inspect(
    bytes: &[u8],
    limits: &Limits,
    max_bytes: u64,
) -> Result<u64, AdmissionError> {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if size > max_bytes {
        return Err(AdmissionError::TooLarge {
            bytes: size,
            limit: max_bytes,
        });
    }
    kind(bytes)?;
    let mut walk = Walk::default();
    for payload in Parser::new(0).parse_all(bytes) {
        walk.payload(payload.map_err(broken)?)?;
    }
    walk.exports.check()?;
    check_memory(walk.memory_bytes, limits)?;
    Ok(walk.memory_bytes)
}

/// Checks what a component starts with against what it may have.
///
/// # Errors
/// [`AdmissionError::Resources`] when it is more.
pub(crate) fn check_memory(initial_bytes: u64, limits: &Limits) -> Result<(), AdmissionError> {
    if initial_bytes <= limits.memory_bytes {
        return Ok(());
    }
    Err(AdmissionError::Resources(format!(
        "it starts with {initial_bytes} bytes of memory, {} are allowed: raise memory_bytes or build it smaller",
        limits.memory_bytes
    )))
}

fn kind(bytes: &[u8]) -> Result<(), AdmissionError> {
    let not = |why: &str| Err(AdmissionError::NotAComponent(why.to_owned()));
    match bytes {
        [b'\0', b'a', b's', b'm', _, _, 1, 0, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            not("it is a core module: wrap it as a component of the world lucius:step/step")
        }
        [0x7f, b'E', b'L', b'F', ..] => {
            not("it is compiled code, which is never taken from outside: give the component itself")
        }
        [b'(', ..] => not("it is WebAssembly text: give the binary form"),
        [] => not("it is empty"),
        [..] => not("it does not begin as WebAssembly does: build it again, or fetch it again"),
    }
}

fn broken(error: wasmparser::BinaryReaderError) -> AdmissionError {
    AdmissionError::NotAComponent(format!(
        "it is damaged at byte {}: {}",
        error.offset(),
        one_line(error.message(), NAME_CHARS)
    ))
}

fn shape(what: impl Into<String>) -> AdmissionError {
    AdmissionError::World(what.into())
}

#[derive(Default)]
struct Walk {
    /// What the parser is inside of, outermost first.
    inside: Vec<Encoding>,
    exports: Exports,
    memory_bytes: u64,
    memories: u32,
    tables: u32,
    elements: u64,
    instances: u32,
}

impl Walk {
    // Sections that are not looked at here are validated by the compiler.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the parser's list of sections is open"
    )]
    fn payload(&mut self, payload: Payload<'_>) -> Result<(), AdmissionError> {
        match payload {
            Payload::Version { encoding, .. } => self.enter(encoding),
            Payload::End(_) => {
                self.inside.pop();
                Ok(())
            }
            Payload::MemorySection(memories) => memories
                .into_iter()
                .try_for_each(|memory| self.memory(&memory.map_err(broken)?)),
            Payload::TableSection(tables) => tables.into_iter().try_for_each(|table| {
                let table = table.map_err(broken)?;
                if let TableInit::Expr(_) = table.init {
                    return Err(shape(
                        "a table with an initial expression: build it without GC",
                    ));
                }
                self.table(table.ty.initial)
            }),
            Payload::InstanceSection(instances) => instances
                .into_iter()
                .try_for_each(|instance| self.instance(&instance.map_err(broken)?)),
            Payload::ComponentImportSection(imports) if self.inside.len() == 1 => imports
                .into_iter()
                .try_for_each(|import| check_import(&import.map_err(broken)?.name)),
            Payload::ComponentExportSection(exports) if self.inside.len() == 1 => {
                exports.into_iter().try_for_each(|export| {
                    self.exports.saw(export.map_err(broken)?.name.name);
                    Ok(())
                })
            }
            Payload::ComponentCanonicalSection(functions) => functions
                .into_iter()
                .try_for_each(|function| check_canonical(&function.map_err(broken)?)),
            Payload::ComponentStartSection { .. } => Err(shape(
                "a component with a start function: nothing runs before a call",
            )),
            _ => Ok(()),
        }
    }

    fn enter(&mut self, encoding: Encoding) -> Result<(), AdmissionError> {
        let outer = self.inside.len();
        self.inside.push(encoding);
        match (outer, encoding) {
            (0, Encoding::Component) | (1, Encoding::Module | Encoding::Component) => Ok(()),
            (0, Encoding::Module) => {
                Err(AdmissionError::NotAComponent("it is a core module".into()))
            }
            // Tools wrap an export's types in a component without code; anything deeper is composition, whose
            // adapters are more compiler than the contract needs.
            (_, _) => Err(shape(
                "components nested in components: build one component, not a composition",
            )),
        }
    }

    fn memory(&mut self, memory: &MemoryType) -> Result<(), AdmissionError> {
        if memory.memory64 || memory.shared || memory.page_size_log2.is_some() {
            return Err(AdmissionError::Resources(
                "a 64-bit, shared or odd-paged memory: build it for wasm32 without threads".into(),
            ));
        }
        self.memories = self.memories.saturating_add(1);
        let bytes = memory.initial.saturating_mul(PAGE_BYTES);
        self.memory_bytes = self.memory_bytes.saturating_add(bytes);
        at_most(
            u64::from(self.memories),
            u64::from(MAX_MEMORIES),
            "memories",
        )
    }

    fn table(&mut self, initial: u64) -> Result<(), AdmissionError> {
        self.tables = self.tables.saturating_add(1);
        self.elements = self.elements.saturating_add(initial);
        at_most(u64::from(self.tables), u64::from(MAX_TABLES), "tables")?;
        let most = u64::try_from(MAX_TABLE_ELEMENTS).unwrap_or(u64::MAX);
        at_most(self.elements, most, "table elements")
    }

    fn instance(&mut self, instance: &Instance<'_>) -> Result<(), AdmissionError> {
        if self.inside.len() > 1 {
            return Err(shape(
                "code in a nested component: build one component, not a composition",
            ));
        }
        if let Instance::Instantiate { .. } = instance {
            self.instances = self.instances.saturating_add(1);
        }
        at_most(
            u64::from(self.instances),
            u64::from(MAX_CORE_INSTANCES),
            "core instances",
        )
    }
}

fn at_most(count: u64, limit: u64, what: &str) -> Result<(), AdmissionError> {
    if count <= limit {
        return Ok(());
    }
    Err(AdmissionError::Resources(format!(
        "it has more than {limit} {what}"
    )))
}

fn check_import(name: &ComponentExternName<'_>) -> Result<(), AdmissionError> {
    let name = name.name;
    if name == log::INTERFACE || name == TYPES {
        return Ok(());
    }
    if name.starts_with("lucius:step/log@") || name.starts_with("lucius:step/types@") {
        return Err(other_version("imports", name));
    }
    Err(AdmissionError::Import(one_line(name, NAME_CHARS)))
}

fn other_version(verb: &str, name: &str) -> AdmissionError {
    shape(format!(
        "it {verb} {}, this host serves {VERSION}: build it against lucius:step@{VERSION}",
        one_line(name, NAME_CHARS)
    ))
}

fn check_canonical(function: &CanonicalFunction) -> Result<(), AdmissionError> {
    let (CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. }) =
        function
    else {
        // Resources, threads, streams: none is in the world, so the link fails where one matters.
        return Ok(());
    };
    for option in options {
        if matches!(
            option,
            CanonicalOption::UTF16 | CanonicalOption::CompactUTF16
        ) {
            return Err(shape(
                "its strings are not UTF-8: build it with string encoding utf8",
            ));
        }
        if matches!(
            option,
            CanonicalOption::Async | CanonicalOption::Callback(_)
        ) {
            return Err(shape(
                "it has async functions: the contract's functions are synchronous",
            ));
        }
    }
    Ok(())
}

#[derive(Default)]
struct Exports {
    handler: bool,
    other_handler: Option<String>,
}

impl Exports {
    fn saw(&mut self, name: &str) {
        self.handler |= name == HANDLER;
        if name != HANDLER && name.starts_with("lucius:step/handler") {
            self.other_handler = Some(name.to_owned());
        }
    }

    fn check(&self) -> Result<(), AdmissionError> {
        match (&self.other_handler, self.handler) {
            (_, true) => Ok(()),
            (Some(name), false) => Err(other_version("exports", name)),
            (None, false) => Err(shape(format!(
                "it does not export {HANDLER}: implement and export the handler"
            ))),
        }
    }
}
