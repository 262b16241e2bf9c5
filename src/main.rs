//! The `forebay` program.

use std::process::ExitCode;

/// Answers of an API are short-lived buffers of all sizes that threads hand to each other, which
/// mimalloc bears better than the allocators of the C libraries, musl's above all.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    forebay::cli::run()
}
