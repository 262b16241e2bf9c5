//! The CPU time of processes.

use super::Result;

/// Nanoseconds that all threads of `pids` have run for. The scheduler's own figure is used, because that of
/// `stat` counts in ticks of 10 ms.
pub fn nanoseconds(pids: &[u32]) -> Result<u64> {
    let mut total = 0;
    for pid in pids {
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end between the listing and the reading.
            let Ok(text) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            total += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
    }
    Ok(total)
}
