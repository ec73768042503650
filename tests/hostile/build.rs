//! Has wasm-smith make what the tests throw at the host: the same bytes wherever it is built.
//!
//! It happens here and not in the tests, because wasm-smith needs more of a crate than wasmtime does: in a test, that
//! would have wasmtime built a second time, for the tests alone.

use std::path::Path;
use std::{env, fs, io};

use arbitrary::Unstructured;
use fastrand::Rng;
use wasm_encoder::ValType::I32;
use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, ImportSection,
    Instruction, MemorySection, MemoryType, TypeSection,
};
use wasm_smith::{Component, Config, Module};

/// How many of each kind.
const EACH: u64 = 64;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo names no OUT_DIR"))?;
    let shape = shape();
    for seed in 0..EACH {
        write(&out, "component", seed, &component(seed)?)?;
        write(&out, "module", seed, &module(seed, shape.clone())?)?;
    }
    Ok(())
}

fn write(out: impl AsRef<Path>, kind: &str, seed: u64, bytes: &[u8]) -> io::Result<()> {
    let folder = out.as_ref().join(kind);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(format!("{seed:03}.wasm")), bytes)
}

fn noise(seed: u64) -> Vec<u8> {
    let mut dice = Rng::with_seed(seed);
    let bytes = dice.usize(512..8_192);
    (0..bytes).map(|_| dice.u8(..)).collect()
}

/// Any component: what a stranger's tool could make, about none of which fits the contract.
fn component(seed: u64) -> io::Result<Vec<u8>> {
    let noise = noise(seed);
    let component = Component::new(Config::default(), &mut Unstructured::new(&noise));
    Ok(component.map_err(io::Error::other)?.to_bytes())
}

/// A core module that imports and exports what a plugin does, and has any code: every other one with all proposals that
/// there are, the rest with what a sandbox takes.
fn module(seed: u64, shape: Vec<u8>) -> io::Result<Vec<u8>> {
    let tame = seed.is_multiple_of(2);
    let default = Config::default();
    let config = Config {
        module_shape: Some(shape),
        allow_start_export: !tame,
        exceptions_enabled: !tame,
        gc_enabled: !tame,
        memory64_enabled: !tame,
        reference_types_enabled: !tame,
        relaxed_simd_enabled: !tame,
        simd_enabled: !tame,
        tail_call_enabled: !tame,
        threads_enabled: !tame,
        max_memory32_bytes: if tame {
            1 << 20
        } else {
            default.max_memory32_bytes
        },
        max_table_elements: if tame {
            1_000
        } else {
            default.max_table_elements
        },
        ..default
    };
    let noise = noise(seed);
    let module = Module::new(config, &mut Unstructured::new(&noise));
    Ok(module.map_err(io::Error::other)?.to_bytes())
}

/// What the core module of a plugin exports: the contract as wit-component lowers it, with how many numbers go in.
const EXPORTS: [(&str, usize); 5] = [
    ("lucius:step/handler@1.0.0#describe", 0),
    ("lucius:step/handler@1.0.0#validate", 4),
    ("lucius:step/handler@1.0.0#route", 1),
    ("lucius:step/handler@1.0.0#settle", 1),
    ("cabi_realloc", 4),
];

/// A core module with the imports and exports of a plugin.
fn shape() -> Vec<u8> {
    let (mut types, mut functions, mut exports, mut code) =
        <(TypeSection, FunctionSection, ExportSection, CodeSection)>::default();
    types.ty().function([I32; 3], []);
    let mut imports = ImportSection::new();
    imports.import("lucius:step/log@1.0.0", "write", EntityType::Function(0));
    for (index, (name, params)) in (1..).zip(EXPORTS) {
        types.ty().function(vec![I32; params], [I32]);
        functions.function(index);
        exports.export(name, ExportKind::Func, index);
        let mut body = Function::new([]);
        body.instruction(&Instruction::Unreachable);
        body.instruction(&Instruction::End);
        code.function(&body);
    }
    exports.export("memory", ExportKind::Memory, 0);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 4,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut module = wasm_encoder::Module::new();
    module
        .section(&types)
        .section(&imports)
        .section(&functions)
        .section(&memories)
        .section(&exports)
        .section(&code);
    module.finish()
}
