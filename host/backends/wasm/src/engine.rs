//! The one engine: what guests may use of WebAssembly, and how much room all of them share.
//!
//! Everything a first-party plugin does not need is off, because a feature that is off has no bugs. Fuel gives the
//! verdict that is the same on every host, the epoch is the wall-clock backstop behind it. Instances come from a
//! pool that is reserved up front, so a fresh instance is a reset and not a mapping.
//!
//! Every access to memory is checked by the guest's code itself, not by unmapped pages behind the memory: those would
//! have to be protected and unprotected for every call, and each time the kernel interrupts all processors.

use wasmtime::{Config, Enabled, Engine, PoolingAllocationConfig};

/// Core instances one component may have; a component linked of many shared libraries has a few dozen.
pub(crate) const MAX_CORE_INSTANCES: u32 = 100;
/// Linear memories one component may have; their sizes count together.
pub(crate) const MAX_MEMORIES: u32 = 4;
/// Tables one component may have.
pub(crate) const MAX_TABLES: u32 = 16;
/// Elements of all of an instance's tables together.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 65_536;
/// Stack of a guest, in bytes; the threads that run guests have far more.
pub(crate) const GUEST_STACK_BYTES: usize = 512 << 10;

/// How much of a used instance's memory is wiped in place instead of given back to the system, where the kernel can
/// say which pages were touched (Linux 6.7). Where it cannot, all of it would have to be wiped: giving back is cheaper.
const KEEP_RESIDENT_BYTES: usize = 4 << 20;

/// An engine for `instances` guests at once, each with at most `memory_bytes` of memory.
///
/// # Errors
/// When this machine cannot run it, for example because address space is limited.
pub(crate) fn start(instances: u32, memory_bytes: usize) -> wasmtime::Result<Engine> {
    let mut pool = pool(instances, memory_bytes);
    pool.pagemap_scan(Enabled::Yes)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES);
    engine(&pool).or_else(|_| {
        pool.pagemap_scan(Enabled::No)
            .linear_memory_keep_resident(0);
        engine(&pool)
    })
}

fn engine(pool: &PoolingAllocationConfig) -> wasmtime::Result<Engine> {
    let mut config = rules();
    config.allocation_strategy(pool.clone());
    Engine::new(&config)
}

/// An engine that only compiles: by the same rules, and without reserving address space for instances.
///
/// # Errors
/// When this machine cannot run it.
pub(crate) fn compiler() -> wasmtime::Result<Engine> {
    Engine::new(&rules())
}

/// What guests may use, and what shapes their code. Floats have one NaN, so that they cannot tell hosts apart; bulk
/// operations cost fuel for each byte.
fn rules() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .consume_fuel(true)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .signals_based_traps(false)
        .memory_guard_size(0)
        .guard_before_linear_memory(false)
        .cranelift_nan_canonicalization(true)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_simd(false)
        .wasm_tail_call(false)
        .wasm_gc(false)
        .wasm_custom_page_sizes(false)
        .wasm_shared_everything_threads(false)
        .wasm_stack_switching(false)
        .wasm_wide_arithmetic(false)
        .wasm_component_model_error_context(false)
        .wasm_component_model_gc(false)
        .wasm_component_model_map(false)
        .wasm_component_model_memory64(false)
        .wasm_component_model_fixed_length_lists(false)
        .wasm_component_model_implements(false)
        .wasm_backtrace_max_frames(None);
    config
}

fn pool(instances: u32, memory_bytes: usize) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(MAX_CORE_INSTANCES))
        .total_memories(instances.saturating_mul(MAX_MEMORIES))
        .total_tables(instances.saturating_mul(MAX_TABLES))
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memories_per_module(1)
        .max_tables_per_module(MAX_TABLES)
        .table_elements(MAX_TABLE_ELEMENTS)
        .max_memory_size(memory_bytes)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        .table_keep_resident(16 << 10);
    pool
}
