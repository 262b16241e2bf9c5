//! The store's own clock, which goes on where it stood when the process, or the machine, ended.
//!
//! While the machine runs it is the machine's clock of ages, which no step of the wall clock moves. After a
//! new start of the machine the time that has passed is what the wall clock says, counted from an orderly
//! end. After any other end of the machine nobody knows what of the store had reached the disk: a mark may
//! be missing that an answer had waited for, so nothing counts. The same where the wall clock stands before
//! the end: how old things are cannot be told then.

use std::time::Duration;

use super::table::{Place, Table};
use crate::cache::entry::Thaw;
use crate::clock::{Clock, Timestamp};

/// How the machine's clock and the store's go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Era {
    /// Which start of the machine this is.
    pub boot: u64,
    /// What has to be added to the machine's clock, by wrapping.
    pub offset: u64,
}

/// Why nothing of a store counts any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The machine ended without an orderly end of the process.
    Machine,
    /// The wall clock stands before the end.
    Wall,
}

impl Lost {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Lost::Machine => "the machine ended before the process did, so some of it may be missing",
            Lost::Wall => "the wall clock stands before the last end, so its age cannot be told",
        }
    }
}

impl Era {
    /// The first one of a new store.
    pub fn first(boot: u64) -> Self {
        Self { boot, offset: 0 }
    }

    /// The one that follows what `table` tells.
    pub fn after(table: &Table, boot: u64, clock: &Clock) -> Result<Self, Lost> {
        let before = Self { boot: table.get(Place::Boot), offset: table.get(Place::Offset) };
        let alive = table.get(Place::Alive);
        if before.boot == boot && before.at(clock.now()) >= alive {
            return Ok(before);
        }
        if table.get(Place::Closed) != 1 {
            return Err(Lost::Machine);
        }
        let passed = clock.wall_seconds().checked_sub(table.get(Place::Wall)).ok_or(Lost::Wall)?;
        let now = alive.saturating_add(passed.saturating_mul(1_000_000_000));
        Ok(Self { boot, offset: now.wrapping_sub(clock.now().as_nanos()) })
    }

    /// A time by the store's clock.
    pub fn at(self, time: Timestamp) -> u64 {
        time.as_nanos().wrapping_add(self.offset)
    }

    /// A time of the store's clock by the machine's, where that reaches back so far.
    pub fn here(self, time: u64, now: Timestamp) -> Option<Timestamp> {
        let then = self.at(now);
        match then.checked_sub(time) {
            Some(ago) => {
                now.as_nanos().checked_sub(ago).filter(|nanos| *nanos > 0).map(Timestamp::from_nanos)
            }
            None => Some(now.after(Duration::from_nanos(time - then))),
        }
    }

    /// What an entry needs to know to come back at `now`.
    pub fn thaw(self, now: Timestamp) -> Thaw {
        Thaw { now, then: self.at(now) }
    }
}

/// A number for this start of the machine; another one each time where it does not tell.
pub fn this_boot() -> u64 {
    let told = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    match told.is_empty() {
        true => fastrand::u64(..),
        // FNV-1a: only has to be the same in the next process.
        false => told.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::Secret;

    const MINUTE: u64 = 60_000_000_000;

    /// A table that was left at `alive` and `wall`.
    fn left(era: Era, alive: u64, wall: u64, closed: bool) -> Table {
        let secret = Secret::from_bytes(&[7; 16]);
        let file = tempfile::tempfile().expect("writable");
        let numbers = [
            (Place::Boot, era.boot),
            (Place::Offset, era.offset),
            (Place::Alive, alive),
            (Place::Wall, wall),
            (Place::Closed, closed.into()),
        ];
        use std::os::unix::fs::FileExt;
        file.write_all_at(Table::new(&secret).bytes(), 0).expect("writable");
        for (place, number) in numbers {
            super::super::table::write(&file, &secret, place, &[number]).expect("writable");
        }
        let mut bytes = vec![0; super::super::table::BYTES];
        file.read_exact_at(&mut bytes, 0).expect("readable");
        Table::read(bytes, &secret).expect("as it was written")
    }

    #[test]
    fn the_clock_goes_on_through_steps_of_the_wall_clock_and_through_starts_of_the_machine() {
        let clock = Clock::manual();
        let first = Era::first(1);
        let (alive, wall) = (first.at(clock.now()), clock.wall_seconds());
        clock.advance(Duration::from_secs(60));
        clock.step_wall(5);
        let killed = left(first, alive, wall, false);
        assert_eq!(Era::after(&killed, 1, &clock), Ok(first), "only the process ended");
        assert_eq!(Era::after(&killed, 2, &clock), Err(Lost::Machine));
        let closed = left(first, alive, wall, true);
        assert_eq!(Era::after(&closed, 2, &clock), Err(Lost::Wall));
        clock.step_wall(wall + 90);
        let second = Era::after(&closed, 2, &clock).expect("90 s have passed");
        assert_eq!(second.at(clock.now()) - alive, MINUTE * 3 / 2);
        // The machine's own clock may have begun anew, far below what stands in the store.
        let young = Timestamp::from_nanos(MINUTE);
        let third = Era { boot: 3, offset: (alive + MINUTE).wrapping_sub(young.as_nanos()) };
        assert_eq!(third.at(young), alive + MINUTE);
        assert_eq!(third.here(alive + MINUTE - 7, young), Some(Timestamp::from_nanos(MINUTE - 7)));
        assert_eq!(third.here(alive - MINUTE, young), None, "before this clock began");
        assert_eq!(third.here(alive + 2 * MINUTE, young), Some(Timestamp::from_nanos(2 * MINUTE)));
        // A clock that runs behind what it showed before is another machine's.
        let ahead = left(first, first.at(clock.now()) + 1, wall, false);
        assert_eq!(Era::after(&ahead, 1, &clock), Err(Lost::Machine));
    }
}
