//! The `lucius` program.

/// A request makes hundreds of small allocations on one thread and frees them on another, which the system's
/// allocator pays for with locks and long lists.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    lucius_server::cli::main()
}
