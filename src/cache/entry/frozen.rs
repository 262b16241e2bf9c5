//! An entry as bytes, for a store that outlives the process.
//!
//! What comes back is the last known state: it is never fresh, and as old as it is (invariant 8). Bytes
//! that this very program did not write are no entry; every one of them is looked at before any is used.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderName, HeaderValue, StatusCode};

use super::{Compact, Entry, KNOWN, SPELLED};
use crate::cache::groups::{GroupId, Sequence};
use crate::cache::key::CredentialId;
use crate::clock::Timestamp;
use crate::rules::Sharing;

/// Changes with every change of what is written here or of what it means: the list of known names, the
/// places of groups, what a key is made of.
pub const FORMAT: u8 = 1;

/// Stands for no reason phrase in place of its length.
const NO_REASON: u16 = u16::MAX;

/// What an entry is when it comes back.
#[derive(Clone, Copy, Debug)]
pub struct Thaw {
    /// Now.
    pub now: Timestamp,
    /// Now on the clock by which the entry's time was written.
    pub then: u64,
}

impl Entry {
    /// For how long it may be shown at all, counted from when its head arrived.
    pub fn usable_for(&self) -> Duration {
        let lifetimes = self.lifetimes();
        let most =
            lifetimes.fresh.saturating_add(lifetimes.stale_while_revalidate.max(lifetimes.stale_if_error));
        most.saturating_sub(Duration::from_secs(self.initial_age.into()))
    }

    /// Whether it may ever be shown once it has expired.
    pub fn may_be_stale(&self) -> bool {
        self.lifetimes.stale_while_revalidate.max(self.lifetimes.stale_if_error) != 0
    }

    /// When its head arrived.
    pub fn arrived(&self) -> Timestamp {
        self.at
    }

    /// The entry as bytes, which arrived at `at` by the store's own clock.
    pub fn freeze(&self, at: u64) -> BytesMut {
        let mut out = BytesMut::with_capacity(128 + 4 * self.groups.len() + self.block.len());
        out.put_u8(FORMAT);
        out.put_u64_le(self.sequence.as_u64());
        out.put_u64_le(at);
        out.put_u32_le(self.initial_age);
        let Compact { fresh, stale_while_revalidate, stale_if_error } = self.lifetimes;
        [fresh, stale_while_revalidate, stale_if_error].iter().for_each(|nanos| out.put_u64_le(*nanos));
        out.put_u32_le(self.site);
        out.put_u128_le(self.maker.as_u128());
        out.put_u16_le(self.status.as_u16());
        out.put_u8(self.share as u8);
        out.put_u8(self.compressible.into());
        out.put_u16_le(self.field_count);
        out.put_u32_le(self.fields_start);
        out.put_u32_le(self.body_start);
        out.put_u16_le(self.groups.len() as u16);
        self.groups.iter().for_each(|group| out.put_u32_le(group.place()));
        out.put_u16_le(self.rule.len() as u16);
        out.put_slice(self.rule.as_bytes());
        out.put_u16_le(self.reason().map_or(NO_REASON, |reason| reason.len() as u16));
        out.put_slice(self.reason().map_or(&[][..], |reason| reason));
        out.put_slice(&self.block);
        out
    }

    /// The entry that these bytes are, stale from the start; `None` if they are none.
    pub fn thaw(mut bytes: Bytes, thaw: Thaw) -> Option<Entry> {
        let from = &mut bytes;
        if from.try_get_u8().ok()? != FORMAT {
            return None;
        }
        let sequence = Sequence::from_u64(from.try_get_u64_le().ok()?);
        let age = Duration::from_nanos(thaw.then.checked_sub(from.try_get_u64_le().ok()?)?);
        let initial_age = Duration::from_secs(from.try_get_u32_le().ok()?.into());
        let mut nanos = || from.try_get_u64_le().ok();
        let lifetimes =
            Compact { fresh: nanos()?, stale_while_revalidate: nanos()?, stale_if_error: nanos()? };
        let site = from.try_get_u32_le().ok()?;
        let maker = CredentialId::from_u128(from.try_get_u128_le().ok()?);
        let status = StatusCode::from_u16(from.try_get_u16_le().ok()?).ok()?;
        let share = sharing(from.try_get_u8().ok()?)?;
        let compressible = from.try_get_u8().ok()? == 1;
        let field_count = from.try_get_u16_le().ok()?;
        let (fields_start, body_start) = (from.try_get_u32_le().ok()?, from.try_get_u32_le().ok()?);
        let count = from.try_get_u16_le().ok()?;
        let groups: Option<Arc<[GroupId]>> =
            (0..count).map(|_| GroupId::from_place(from.try_get_u32_le().ok()?)).collect();
        let rule = text(from)?;
        let rule: Arc<str> = std::str::from_utf8(&rule).ok()?.into();
        let reason = match from.try_get_u16_le().ok()? {
            NO_REASON => None,
            length => Some(part(from, length.into())?),
        };
        let block = bytes;
        is_sound(&block, fields_start as usize, body_start as usize, field_count)?;
        // Whole seconds, rounded up: an entry is never made younger.
        let age = (age + initial_age).as_nanos().div_ceil(1_000_000_000);
        Some(Entry {
            block,
            fields_start,
            body_start,
            field_count,
            compressible,
            recoded: false,
            status,
            soft_expired: AtomicBool::new(true),
            compressing: AtomicBool::new(false),
            used: Default::default(),
            served_stale: Default::default(),
            reason: reason.map(Box::new),
            groups: groups?,
            rule,
            share,
            site,
            maker,
            initial_age: u32::try_from(age).ok()?,
            sequence,
            at: thaw.now,
            lifetimes,
            places: Default::default(),
        })
    }
}

fn sharing(number: u8) -> Option<Sharing> {
    [Sharing::Credential, Sharing::Principal, Sharing::Rights, Sharing::Everyone]
        .into_iter()
        .find(|share| *share as u8 == number)
}

fn part(from: &mut Bytes, length: usize) -> Option<Bytes> {
    (from.len() >= length).then(|| from.split_to(length))
}

fn text(from: &mut Bytes) -> Option<Bytes> {
    let length = from.try_get_u16_le().ok()?;
    part(from, length.into())
}

/// Whether the block is what [`Entry`] relies on: a target in UTF-8, and that many fields.
fn is_sound(block: &[u8], fields_start: usize, body_start: usize, field_count: u16) -> Option<()> {
    std::str::from_utf8(block.get(..fields_start)?).ok()?;
    let mut fields = block.get(fields_start..body_start)?;
    for _ in 0..field_count {
        match fields.split_off_first()? {
            &SPELLED => {
                let length = *fields.split_off_first()?;
                HeaderName::from_lowercase(fields.split_off(..length.into())?).ok()?;
            }
            known => drop(KNOWN.get(usize::from(*known))?.clone()),
        }
        let length = u16::from_le_bytes(fields.split_off(..2)?.try_into().ok()?);
        HeaderValue::from_bytes(fields.split_off(..length.into())?).ok()?;
    }
    fields.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::{Head, Provenance};
    use super::*;
    use crate::cache::entry::{Freshness, Lifetimes};
    use crate::cache::groups::{GroupName, Groups};
    use crate::cache::key::Secret;
    use crate::clock::Clock;

    const MINUTE: Duration = Duration::from_secs(60);

    fn entry(clock: &Clock) -> Entry {
        let groups = Groups::new(Secret::from_bytes(&[7; 16]));
        let mut fields = HeaderMap::new();
        fields.insert("content-type", HeaderValue::from_static("application/json"));
        fields.insert("x-odd", HeaderValue::from_bytes(b"\xe4").expect("opaque"));
        let head = Head { status: StatusCode::OK, reason: Some(Bytes::from_static(b"fine")), fields };
        let about = Provenance {
            target: "/a?b=c".into(),
            rule: "/a".into(),
            share: Sharing::Principal,
            site: 3,
            maker: CredentialId::from_u128(9),
            sequence: Sequence::from_u64(77),
            groups: [groups.id(3, GroupName::Named("g"))].into(),
            at: clock.now(),
            initial_age: Duration::from_secs(2),
            lifetimes: Lifetimes {
                fresh: MINUTE,
                stale_while_revalidate: MINUTE,
                stale_if_error: 2 * MINUTE,
            },
        };
        Entry::assemble(&head, &[Bytes::from_static(b"{\"data\":1}")], about, Some("\"e\""))
    }

    #[test]
    fn what_comes_back_is_the_same_but_never_fresh_and_never_younger() {
        let clock = Clock::manual();
        let before = entry(&clock);
        let frozen = before.freeze(1_000).freeze();
        clock.advance(MINUTE);
        let thaw = Thaw { now: clock.now(), then: 1_000 + 5_500_000_000 };
        let after = Entry::thaw(frozen, thaw).expect("what was written");
        assert_eq!(after.age(clock.now()), Duration::from_secs(8), "5.5 s and the 2 s of before");
        assert_eq!(after.freshness(clock.now()), Freshness::Stale(Duration::ZERO));
        assert_eq!((after.target(), after.rule(), after.site()), ("/a?b=c", "/a", 3));
        assert_eq!((after.share(), after.status()), (before.share(), before.status()));
        assert_eq!((after.sequence(), after.groups()), (before.sequence(), before.groups()));
        assert_eq!((after.reason(), after.body()), (before.reason(), before.body()));
        assert_eq!((after.lifetimes(), after.maker()), (before.lifetimes(), before.maker()));
        let fields = |entry: &Entry| {
            let mut map = HeaderMap::new();
            entry.write_fields(&mut map);
            map
        };
        assert_eq!(fields(&after), fields(&before));
        assert_eq!(before.usable_for(), Duration::from_secs(178));
    }

    #[test]
    fn nothing_that_was_cut_or_changed_brings_anything_down() {
        let clock = Clock::manual();
        let frozen = entry(&clock).freeze(1_000).freeze();
        let thaw = Thaw { now: clock.now(), then: 2_000 };
        for length in 0..frozen.len() - 10 {
            assert!(Entry::thaw(frozen.slice(..length), thaw).is_none(), "{length} bytes");
        }
        for at in 0..frozen.len() {
            for bit in 0..8 {
                let mut bytes = frozen.to_vec();
                bytes[at] ^= 1 << bit;
                // The store's checksum refuses it; if it did not, what is read must still be sound.
                if let Some(entry) = Entry::thaw(bytes.into(), thaw) {
                    entry.write_fields(&mut HeaderMap::new());
                    let _sound = (entry.target().len(), entry.body());
                }
            }
        }
        assert!(Entry::thaw(frozen, Thaw { now: clock.now(), then: 999 }).is_none(), "from the future");
    }
}
