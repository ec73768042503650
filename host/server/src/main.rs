//! The `lucius` program.

fn main() -> std::process::ExitCode {
    lucius_server::cli::main()
}
