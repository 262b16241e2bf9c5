//! The table: a file of fixed size in which each place stands for itself.
//!
//! A place is written alone, where it is, by one system call that a kill cannot cut in two; so what is
//! written before an answer leaves is there for the next process, without a journal that grows and without
//! waiting for the disk. What the machine's end may take is a matter of [`super::era`].
//!
//! Every place has a checksum with the secret and its number in it: a place that was damaged, moved, cut off
//! or written with another secret makes the whole store worthless, since a lost mark would bring back what
//! was overtaken.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::cache::groups::SLOTS;
use crate::cache::key::Secret;

/// What is written at the front. Changes with everything that makes an older store unreadable or wrong.
pub const VERSION: u64 = 0x666f_7265_6261_7901 ^ crate::cache::entry::FORMAT as u64;

/// How many upstreams have their silence remembered.
pub const SITES: usize = 256;

/// How many keys share a mark with no other, at most: what was removed for one key is remembered by place.
pub const KEYS: usize = 1 << 14;

/// How many actors are told apart, at most.
pub const ACTORS: usize = 1 << 14;

/// How many accepted credentials are remembered. Two that meet in one place cost a call.
pub const ACCEPTED: usize = 1 << 13;

/// A place of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// [`VERSION`].
    Version,
    /// No number of the logical clock was ever as high.
    Clock,
    /// Which start of the machine the times are of.
    Boot,
    /// What has to be added to the machine's clock to get the store's, by wrapping.
    Offset,
    /// When the store was known to be in use, by its own clock.
    Alive,
    /// The same by the wall clock, in seconds.
    Wall,
    /// 1 after an orderly end.
    Closed,
    /// Since when actors are known.
    ActorsSince,
    /// Since when an upstream gives no answer at all; 0: it does.
    Silent(usize),
    /// Since when an upstream answers that it is down; 0: it does not.
    Outage(usize),
    /// The mark of a group.
    Group(usize),
    /// The mark of a key.
    Key(usize),
    /// When somebody wrote.
    Actor(usize),
    /// An accepted credential.
    Accepted(usize),
}

/// How many numbers an accepted credential takes: with the checksum a power of two, so that no row lies
/// across a border of pages, at which a kill could cut it.
pub const ROW: usize = 15;

const HEAD: usize = 16;
const CELL: usize = 16;
const SITES_AT: usize = HEAD;
const GROUPS_AT: usize = SITES_AT + 2 * SITES;
const KEYS_AT: usize = GROUPS_AT + SLOTS;
const ACTORS_AT: usize = KEYS_AT + KEYS;
const ACCEPTED_AT: usize = ACTORS_AT + ACTORS;
/// Behind the cells, rows of numbers and a checksum.
const ROW_BYTES: usize = 8 * (ROW + 1);

/// How large the file is, in bytes.
pub const BYTES: usize = CELL * ACCEPTED_AT + ROW_BYTES * ACCEPTED;

impl Place {
    fn number(self) -> usize {
        match self {
            Place::Version => 0,
            Place::Clock => 1,
            Place::Boot => 2,
            Place::Offset => 3,
            Place::Alive => 4,
            Place::Wall => 5,
            Place::Closed => 6,
            Place::ActorsSince => 7,
            Place::Silent(site) => SITES_AT + site,
            Place::Outage(site) => SITES_AT + SITES + site,
            Place::Group(group) => GROUPS_AT + group,
            Place::Key(key) => KEYS_AT + key,
            Place::Actor(actor) => ACTORS_AT + actor,
            Place::Accepted(row) => ACCEPTED_AT + row,
        }
    }

    fn offset(self) -> usize {
        let number = self.number();
        match number.checked_sub(ACCEPTED_AT) {
            None => CELL * number,
            Some(row) => CELL * ACCEPTED_AT + ROW_BYTES * row,
        }
    }

    /// How many numbers it holds.
    fn width(self) -> usize {
        if matches!(self, Place::Accepted(_)) { ROW } else { 1 }
    }

    fn all() -> impl Iterator<Item = Place> {
        use Place::*;
        [Version, Clock, Boot, Offset, Alive, Wall, Closed, ActorsSince]
            .into_iter()
            .chain((0..SITES).flat_map(|site| [Silent(site), Outage(site)]))
            .chain((0..SLOTS).map(Group))
            .chain((0..KEYS).map(Key))
            .chain((0..ACTORS).map(Actor))
            .chain((0..ACCEPTED).map(Accepted))
    }
}

/// The numbers of a table as they were read.
pub struct Table(Vec<u8>);

impl Table {
    /// One in which every number is 0 but the version.
    pub fn new(secret: &Secret) -> Self {
        let (mut table, key) = (Self(vec![0; BYTES]), key(secret));
        for place in Place::all() {
            let numbers = if place == Place::Version { [VERSION; ROW] } else { [0; ROW] };
            let numbers = &numbers[..place.width()];
            let (at, end) = (place.offset(), place.offset() + 8 * numbers.len());
            if place == Place::Version {
                table.0[at..end].copy_from_slice(&VERSION.to_le_bytes());
            }
            table.0[end..end + 8].copy_from_slice(&seal(key, place, numbers).to_le_bytes());
        }
        table
    }

    /// The one that these bytes are, if every place of it is as it was written.
    pub fn read(bytes: Vec<u8>, secret: &Secret) -> Option<Self> {
        let (table, key) = (Self(bytes), key(secret));
        let is_whole = table.0.len() == BYTES
            && Place::all().all(|place| {
                let (numbers, end) = (table.numbers(place), place.offset() + 8 * place.width());
                table.0[end..end + 8] == seal(key, place, &numbers[..place.width()]).to_le_bytes()
            });
        (is_whole && table.get(Place::Version) == VERSION).then_some(table)
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The only number of a place, or the first.
    pub fn get(&self, place: Place) -> u64 {
        self.numbers(place)[0]
    }

    /// All numbers of a place.
    pub fn numbers(&self, place: Place) -> [u64; ROW] {
        let mut numbers = [0; ROW];
        let bytes = &self.0[place.offset()..][..8 * place.width()];
        for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
            *number = u64::from_le_bytes(bytes.try_into().expect("chunks of eight"));
        }
        numbers
    }
}

/// Writes the numbers of a place where they belong.
pub fn write(file: &File, secret: &Secret, place: Place, numbers: &[u64]) -> std::io::Result<()> {
    let mut bytes = [0; ROW_BYTES];
    for (to, number) in bytes.chunks_exact_mut(8).zip(numbers) {
        to.copy_from_slice(&number.to_le_bytes());
    }
    let end = 8 * numbers.len();
    bytes[end..end + 8].copy_from_slice(&seal(key(secret), place, numbers).to_le_bytes());
    file.write_all_at(&bytes[..end + 8], place.offset() as u64)
}

/// What the secret adds to every checksum here.
fn key(secret: &Secret) -> u64 {
    secret.seal(b't', &[])
}

/// A checksum against damage; whoever could forge one has the secret. Each step is a bijection (the mixer of
/// SplitMix64), so a change of one number is never missed.
fn seal(key: u64, place: Place, numbers: &[u64]) -> u64 {
    numbers.iter().fold(key.wrapping_add(place.number() as u64), |sum, number| {
        let mut mixed = (sum ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_its_own_and_any_damage_is_seen() {
        let secret = Secret::from_bytes(&[7; 16]);
        let bytes = Table::new(&secret).0;
        let mut end = 0;
        for place in Place::all().collect::<Vec<_>>().into_iter() {
            end = end.max(place.offset() + 8 * (place.width() + 1));
        }
        assert_eq!((end, bytes.len()), (BYTES, BYTES));
        let mut offsets: Vec<usize> = Place::all().map(Place::offset).collect();
        offsets.sort();
        offsets.dedup();
        assert_eq!(offsets.len(), Place::all().count());
        assert!(Table::read(bytes.clone(), &secret).is_some());
        assert!(Table::read(bytes.clone(), &Secret::from_bytes(&[8; 16])).is_none());
        assert!(Table::read(bytes[..BYTES - 1].to_vec(), &secret).is_none());
        assert!(Table::read(vec![0; BYTES], &secret).is_none());
        // Two marks that change places.
        let file = tempfile::tempfile().expect("writable");
        file.write_all_at(&bytes, 0).expect("writable");
        write(&file, &secret, Place::Group(5), &[77]).expect("writable");
        let mut read = vec![0; BYTES];
        file.read_exact_at(&mut read, 0).expect("readable");
        let table = Table::read(read.clone(), &secret).expect("as it was written");
        assert_eq!((table.get(Place::Group(5)), table.get(Place::Group(6))), (77, 0));
        let at = Place::Group(5).offset();
        let moved = read[at..at + CELL].to_vec();
        read[at + CELL..at + 2 * CELL].copy_from_slice(&moved);
        assert!(Table::read(read, &secret).is_none());
        for at in [0, 17, 300, CELL * HEAD, BYTES / 2, CELL * ACCEPTED_AT + 3, BYTES - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert!(Table::read(damaged, &secret).is_none(), "at {at}");
        }
    }
}
