//! What is refused before anything is compiled: by size, by kind, by imports, by version, by shape.
//!
//! A compiler is a large thing to hand a stranger's bytes to, so this walk, which allocates nearly nothing, comes
//! first. It also names what is wrong in words of the contract, where the compiler would speak of offsets.

mod counts;

use lucius_ports::plugin::{AdmissionError, Limits};
use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentType, Encoding, Instance, Parser, Payload,
};

use self::counts::Counts;
use crate::text::one_line;
use crate::world::World;

const NAME_CHARS: usize = 100;

/// What the walk has seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// The version of the contract that the component implements.
    pub(crate) world: World,
    /// How many bytes of memory it starts with.
    pub(crate) memory_bytes: u64,
}

/// Looks at a component without compiling it.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn inspect(
    bytes: &[u8],
    limits: &Limits,
    max_bytes: u64,
) -> Result<Seen, AdmissionError> {
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
    let world = walk.names.world()?;
    let memory_bytes = walk.counts.memory_bytes;
    check_memory(memory_bytes, limits)?;
    Ok(Seen {
        world,
        memory_bytes,
    })
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
    names: Names,
    counts: Counts,
}

impl Walk {
    fn payload(&mut self, payload: Payload<'_>) -> Result<(), AdmissionError> {
        if let Payload::Version { encoding, .. } = payload {
            return self.enter(encoding);
        }
        if let Payload::End(_) = payload {
            self.inside.pop();
            return Ok(());
        }
        match self.inside.last() {
            Some(Encoding::Module) => self.in_module(payload),
            Some(Encoding::Component) | None => self.in_component(payload),
        }
    }

    // Sections that are not looked at here are validated by the compiler.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the parser's list of sections is open"
    )]
    fn in_module(&mut self, payload: Payload<'_>) -> Result<(), AdmissionError> {
        let counts = &mut self.counts;
        match payload {
            Payload::TypeSection(types) => counts.types(types.count()),
            Payload::ImportSection(imports) => counts.links(imports.count()),
            Payload::FunctionSection(functions) => counts.functions(functions.count()),
            Payload::TableSection(tables) => counts.tables(tables),
            Payload::MemorySection(memories) => memories
                .into_iter()
                .try_for_each(|memory| counts.memory(&memory.map_err(broken)?)),
            Payload::GlobalSection(globals) => counts.globals(globals.count()),
            Payload::ExportSection(exports) => counts.links(exports.count()),
            Payload::ElementSection(segments) => counts.segments(segments.count()),
            Payload::DataSection(segments) => counts.segments(segments.count()),
            Payload::CodeSectionEntry(body) => counts::body(&body),
            _ => Ok(()),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the parser's list of sections is open"
    )]
    fn in_component(&mut self, payload: Payload<'_>) -> Result<(), AdmissionError> {
        let outermost = self.inside.len() == 1;
        match payload {
            Payload::InstanceSection(instances) => instances
                .into_iter()
                .try_for_each(|instance| self.instance(&instance.map_err(broken)?)),
            Payload::ComponentImportSection(imports) if outermost => imports
                .into_iter()
                .try_for_each(|import| self.names.imports(import.map_err(broken)?.name.name)),
            Payload::ComponentExportSection(exports) if outermost => {
                exports.into_iter().try_for_each(|export| {
                    self.names.exports(export.map_err(broken)?.name.name);
                    Ok(())
                })
            }
            Payload::ComponentTypeSection(types) => {
                self.counts.definitions(types.count())?;
                types
                    .into_iter()
                    .try_for_each(|ty| check_type(&ty.map_err(broken)?))
            }
            Payload::ComponentAliasSection(aliases) => self.counts.definitions(aliases.count()),
            Payload::CoreTypeSection(types) => self.counts.definitions(types.count()),
            Payload::ComponentCanonicalSection(functions) => {
                self.counts.definitions(functions.count())?;
                functions
                    .into_iter()
                    .try_for_each(|function| check_canonical(&function.map_err(broken)?))
            }
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

    fn instance(&mut self, instance: &Instance<'_>) -> Result<(), AdmissionError> {
        if self.inside.len() > 1 {
            return Err(shape(
                "code in a nested component: build one component, not a composition",
            ));
        }
        match instance {
            Instance::Instantiate { .. } => self.counts.instance(),
            Instance::FromExports(exports) => self
                .counts
                .links(u32::try_from(exports.len()).unwrap_or(u32::MAX)),
        }
    }
}

fn check_type(ty: &ComponentType<'_>) -> Result<(), AdmissionError> {
    match ty {
        ComponentType::Resource { .. } => Err(shape(
            "it has resources: the contract's values are plain data",
        )),
        ComponentType::Defined(_)
        | ComponentType::Func(_)
        | ComponentType::Component(_)
        | ComponentType::Instance(_) => Ok(()),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else a component could ask of the host, it does not get"
)]
fn check_canonical(function: &CanonicalFunction) -> Result<(), AdmissionError> {
    let options = match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => {
            options
        }
        _ => {
            return Err(shape(
                "it uses resources, threads or streams: the contract has plain functions and data",
            ));
        }
    };
    for option in options {
        match option {
            CanonicalOption::UTF16 | CanonicalOption::CompactUTF16 => {
                return Err(shape(
                    "its strings are not UTF-8: build it with string encoding utf8",
                ));
            }
            CanonicalOption::Async | CanonicalOption::Callback(_) => {
                return Err(shape(
                    "it has async functions: the contract's functions are synchronous",
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The component's own imports and exports.
#[derive(Default)]
struct Names {
    /// Imports that some version of the contract may have.
    imports: Vec<String>,
    world: Option<World>,
    other_handler: Option<String>,
}

impl Names {
    fn imports(&mut self, name: &str) -> Result<(), AdmissionError> {
        if !["log", "types"].iter().any(|it| World::is_ours(name, it)) {
            return Err(AdmissionError::Import(one_line(name, NAME_CHARS)));
        }
        self.imports.push(name.to_owned());
        Ok(())
    }

    fn exports(&mut self, name: &str) {
        match World::of_handler(name) {
            // The newest counts: a component may still serve older hosts as well.
            Some(world) => self.world = self.world.max(Some(world)),
            None if World::is_ours(name, "handler") => self.other_handler = Some(name.to_owned()),
            None => {}
        }
    }

    /// The version it is built for, when it imports and exports what that version has.
    fn world(&self) -> Result<World, AdmissionError> {
        let Some(world) = self.world else {
            return Err(match &self.other_handler {
                Some(name) => other_version("exports", name),
                None => shape(format!(
                    "it does not export {}: implement and export the handler",
                    World::NEWEST.handler()
                )),
            });
        };
        let known = |name: &str| world.imports().contains(&name);
        match self.imports.iter().find(|name| !known(name)) {
            Some(name) => Err(other_version("imports", name)),
            None => Ok(world),
        }
    }
}

fn other_version(verb: &str, name: &str) -> AdmissionError {
    shape(format!(
        "it {verb} {}, this host serves {}: build it against lucius:step@{}",
        one_line(name, NAME_CHARS),
        World::numbers(),
        World::NEWEST.number()
    ))
}
