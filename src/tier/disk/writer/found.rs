//! What stands in the segments already: reading it, and finding what earlier processes left.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Held, MOST_RECORDS, Spot, Writer};
use crate::cache::entry::Entry;
use crate::cache::key::Key;
use crate::tier::disk::error::{DiskError, Trouble};
use crate::tier::disk::segment::{End, Segment};

impl Writer {
    /// Reads the entry of `key`.
    pub fn read(&self, key: Key) -> Option<Arc<Entry>> {
        let (spot, segment) = self.index.lock().get(key)?;
        let marker = &self.marker;
        let read = segment.content(spot.at, &spot.head, &marker.secret);
        let found = read.and_then(|content| {
            Entry::thaw(content, marker.era.thaw(marker.clock.now()))
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no entry"))
        });
        match found {
            Ok(entry) if self.is_current(&entry) => Some(Arc::new(entry)),
            // For good: it need not be read again.
            Ok(_) => {
                self.index.lock().remove_this(&spot);
                None
            }
            Err(error) => {
                self.index.lock().remove_this(&spot);
                let error = DiskError { path: segment.path.clone(), source: error };
                marker.troubles.note_error(&error, "the entry is lost");
                None
            }
        }
    }

    /// Notes what earlier processes left, whose numbers were all below `sequence`.
    pub fn scan(&self, found: Vec<(u32, PathBuf)>, sequence: u64) {
        for (number, path) in found {
            self.open.lock().next = number + 1;
            let (marker, shown) = (&self.marker, path.display().to_string());
            match self.scan_segment(number, &path, sequence) {
                Ok(End::Damaged) => {
                    let what = format!("{shown}: a checksum fails");
                    marker.troubles.note(Trouble::Corrupt, &what, "what lies behind it is lost");
                }
                // A kill may cut the last record.
                Ok(End::Whole | End::Cut) => {}
                Err(source) => {
                    let error = DiskError { path, source };
                    marker.troubles.note_error(&error, "its entries are lost");
                }
            }
        }
        self.trim();
        self.measure();
    }

    /// The bound may be another one than it was.
    fn trim(&self) {
        while let Some((held, _)) = self.over().then(|| self.index.lock().oldest()).flatten() {
            if self.remove_segment(&held).is_err() {
                break;
            }
        }
    }

    fn over(&self) -> bool {
        self.index.lock().size() > self.budget
    }

    fn scan_segment(&self, number: u32, path: &Path, sequence: u64) -> io::Result<End> {
        let marker = &self.marker;
        let now = marker.era.at(marker.clock.now());
        let segment = Arc::new(Segment::open(number, path)?);
        let size = segment.size()?;
        let mut index = self.index.lock();
        index.has_segment(Held { segment: segment.clone(), size });
        segment.scan(&marker.secret, |at, head| {
            let counts = head.sequence < sequence && head.until > now && index.len() < MOST_RECORDS;
            if counts && !marker.is_forgotten(head.key, head.sequence) {
                index.put(Spot { segment: number, at, head });
            }
        })
    }
}
