//! A segment: records one behind the other, each with a checksum of its own.
//!
//! A record is written once and never changed. A kill may cut the last one, which ends the segment there;
//! what is damaged further in costs what lies behind it. A checksum covers where a record belongs, so no
//! record is taken for another.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};

use super::home::private;
use crate::cache::key::{Key, Secret};

/// What a record begins with: magic and length, key, number, last use, checksum of these.
pub const HEAD: usize = 4 + 4 + 16 + 8 + 8 + 8;
/// What it ends with: the checksum of its content.
pub const TAIL: usize = 8;
const MAGIC: [u8; 4] = *b"fbr1";

/// A file of records.
pub struct Segment {
    /// Its number, which no other segment of this store ever had.
    pub number: u32,
    /// Where it is.
    pub path: PathBuf,
    file: File,
}

/// What is known of a record without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// What it is kept under.
    pub key: Key,
    /// The number that its fetch took.
    pub sequence: u64,
    /// When it can be shown last, by the store's clock.
    pub until: u64,
    /// How many bytes its content has.
    pub length: u32,
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With its last record.
    Whole,
    /// In the middle of one.
    Cut,
    /// With what is no record of its own.
    Damaged,
}

impl RecordHead {
    /// How many bytes the whole record has.
    pub fn size(&self) -> u64 {
        HEAD as u64 + u64::from(self.length) + TAIL as u64
    }
}

impl Segment {
    /// A new one.
    pub fn create(number: u32, path: PathBuf) -> io::Result<Self> {
        let file = private(&path, OpenOptions::new().read(true).write(true).create_new(true))?;
        Ok(Self { number, path, file })
    }

    /// One that an earlier process left.
    pub fn open(number: u32, path: &Path) -> io::Result<Self> {
        Ok(Self { number, path: path.to_path_buf(), file: File::open(path)? })
    }

    /// How many bytes it has.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Writes records, made by [`record`], from `at` on. After an error nothing of them is there.
    pub fn append(&self, at: u64, records: &[u8]) -> io::Result<()> {
        self.file.write_all_at(records, at).inspect_err(|_| {
            // A record that is cut would end the segment for the next process, which is no harm either.
            let _shortened = self.file.set_len(at);
        })
    }

    /// The content of the record at `at`, if it is as it was written.
    pub fn content(&self, at: u64, head: &RecordHead, secret: &Secret) -> io::Result<Bytes> {
        let mut bytes = BytesMut::zeroed(head.size() as usize);
        self.file.read_exact_at(&mut bytes, at)?;
        let bytes = bytes.freeze();
        let tail = bytes.slice(bytes.len() - TAIL..);
        let content = bytes.slice(HEAD..bytes.len() - TAIL);
        let is_sound = parse(&bytes[..HEAD], self.number, at, secret) == Some(*head)
            && tail[..] == seal_content(secret, head.key, &content);
        is_sound
            .then_some(content)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a checksum fails"))
    }

    /// Calls `each` with every record and its place. Contents are not looked at.
    pub fn scan(&self, secret: &Secret, mut each: impl FnMut(u64, RecordHead)) -> io::Result<End> {
        let size = self.size()?;
        let mut reader = BufReader::with_capacity(64 << 10, &self.file);
        reader.rewind()?;
        let (mut at, mut bytes) = (0, [0; HEAD]);
        while at < size {
            if size - at < HEAD as u64 {
                return Ok(End::Cut);
            }
            reader.read_exact(&mut bytes)?;
            let Some(head) = parse(&bytes, self.number, at, secret) else { return Ok(End::Damaged) };
            if size - at < head.size() {
                return Ok(End::Cut);
            }
            each(at, head);
            reader.seek_relative((head.size() - HEAD as u64) as i64)?;
            at += head.size();
        }
        Ok(End::Whole)
    }

    /// Waits until what was written is on the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// The bytes of a record that will stand at `at` of the segment `number`.
pub fn record(number: u32, at: u64, head: &RecordHead, content: &[u8], secret: &Secret, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend(MAGIC);
    out.extend(head.length.to_le_bytes());
    out.extend(head.key.as_u128().to_le_bytes());
    out.extend(head.sequence.to_le_bytes());
    out.extend(head.until.to_le_bytes());
    let seal = seal_head(secret, number, at, &out[start..]);
    out.extend(seal);
    out.extend(content);
    out.extend(seal_content(secret, head.key, content));
}

fn parse(bytes: &[u8], number: u32, at: u64, secret: &Secret) -> Option<RecordHead> {
    let (head, seal) = bytes.split_at(HEAD - 8);
    if head[..4] != MAGIC || seal != seal_head(secret, number, at, head) {
        return None;
    }
    Some(RecordHead {
        length: u32::from_le_bytes(head[4..8].try_into().ok()?),
        key: Key::from_u128(u128::from_le_bytes(head[8..24].try_into().ok()?)),
        sequence: u64::from_le_bytes(head[24..32].try_into().ok()?),
        until: u64::from_le_bytes(head[32..40].try_into().ok()?),
    })
}

fn seal_head(secret: &Secret, number: u32, at: u64, head: &[u8]) -> [u8; 8] {
    secret.seal(b'h', &[&number.to_le_bytes(), &at.to_le_bytes(), head]).to_le_bytes()
}

fn seal_content(secret: &Secret, key: Key, content: &[u8]) -> [u8; 8] {
    secret.seal(b'b', &[&key.as_u128().to_le_bytes(), content]).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(secret: &Secret, path: PathBuf) -> (Segment, Vec<(u64, RecordHead)>, Vec<u8>) {
        let segment = Segment::create(5, path).expect("writable");
        let (mut bytes, mut heads) = (Vec::new(), Vec::new());
        for n in 0..4u8 {
            let content = vec![n; 10 + usize::from(n)];
            let head = RecordHead {
                key: Key::from_u128(n.into()),
                sequence: 70 + u64::from(n),
                until: 9,
                length: content.len() as u32,
            };
            let at = bytes.len() as u64;
            record(5, at, &head, &content, secret, &mut bytes);
            heads.push((at, head));
        }
        segment.append(0, &bytes).expect("writable");
        (segment, heads, bytes)
    }

    #[test]
    fn what_is_damaged_or_cut_is_never_given_out() {
        let secret = Secret::from_bytes(&[7; 16]);
        let directory = tempfile::tempdir().expect("a directory");
        let (segment, heads, bytes) = filled(&secret, directory.path().join("a"));
        let read = |segment: &Segment| {
            let mut found = Vec::new();
            let end = segment.scan(&secret, |at, head| found.push((at, head))).expect("readable");
            (found, end)
        };
        assert_eq!(read(&segment), (heads.clone(), End::Whole));
        for (n, (at, head)) in heads.iter().enumerate() {
            let content = segment.content(*at, head, &secret).expect("as it was written");
            assert_eq!(&content[..], &vec![n as u8; 10 + n][..]);
        }
        let elsewhere = directory.path().join("b");
        for length in 0..bytes.len() {
            std::fs::write(&elsewhere, &bytes[..length]).expect("writable");
            let (found, end) = read(&Segment::open(5, &elsewhere).expect("there"));
            let whole = heads.iter().filter(|(at, head)| at + head.size() <= length as u64).count();
            assert_eq!(
                (found.len(), end == End::Whole),
                (
                    whole,
                    bytes[..length].len() as u64 == heads[..whole].iter().map(|(_, h)| h.size()).sum::<u64>()
                ),
                "{length}"
            );
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            std::fs::write(&elsewhere, &damaged).expect("writable");
            let other = Segment::open(5, &elsewhere).expect("there");
            let (found, _) = read(&other);
            let sound = found.iter().filter(|(at, head)| other.content(*at, head, &secret).is_ok());
            let hit =
                heads.iter().position(|(start, head)| (at as u64) < start + head.size()).expect("in one");
            assert!(sound.clone().all(|record| heads.contains(record)));
            assert!(!sound.clone().any(|record| *record == heads[hit]), "the damaged one, at {at}");
            assert!(sound.count() >= hit, "what lies before is not lost");
        }
        // A segment in another's place, or another secret.
        std::fs::write(&elsewhere, &bytes).expect("writable");
        assert_eq!(read(&Segment::open(6, &elsewhere).expect("there")).1, End::Damaged);
        let other = Secret::from_bytes(&[8; 16]);
        let end = Segment::open(5, &elsewhere).expect("there").scan(&other, |_, _| ()).expect("readable");
        assert_eq!(end, End::Damaged);
    }
}
