//! The CPU time of processes.

use std::collections::HashMap;

use super::Result;

/// For how long each thread of some processes has run.
pub struct Reading(HashMap<String, u64>);

impl Reading {
    /// Reads the scheduler's own figures, because those of `stat` count in ticks of 10 ms.
    pub fn of(pids: &[u32]) -> Result<Reading> {
        let mut threads = HashMap::new();
        for pid in pids {
            // Threads and whole processes may end between a listing and its reading.
            let Ok(listing) = std::fs::read_dir(format!("/proc/{pid}/task")) else { continue };
            for thread in listing.flatten() {
                let Ok(text) = std::fs::read_to_string(thread.path().join("schedstat")) else { continue };
                let ran = text.split(' ').next().unwrap_or_default().parse()?;
                threads.insert(thread.file_name().to_string_lossy().into_owned(), ran);
            }
        }
        Ok(Reading(threads))
    }

    /// Nanoseconds that the threads that are still there have run since `earlier`.
    pub fn since(&self, earlier: &Reading) -> u64 {
        self.0.iter().map(|(thread, ran)| ran - earlier.0.get(thread).unwrap_or(&0)).sum()
    }
}
