//! The `forebay` program.

use std::process::ExitCode;

/// Answers of an API are short-lived buffers of all sizes that threads hand to each other, which
/// mimalloc bears better than the allocators of the C libraries, musl's above all.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for pages of 2 MiB, of which a small cache leaves most unused: 50 MB are resident
    // with 1,000 entries in place of 33, and hits are no faster for it. Where the kernel refuses, it costs
    // just that.
    #[cfg(target_os = "linux")]
    let _refused = rustix::thread::disable_transparent_huge_pages(true);
    forebay::cli::run()
}
