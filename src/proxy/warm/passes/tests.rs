use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::Clock;

fn key(number: u8) -> Key {
    Key::from_u128(number.into())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[derive(Clone, Debug)]
enum Step {
    /// Of this pass, due in so many seconds, with a turn that began so many seconds ago.
    Put(u8, Pass, u64, Option<u64>),
    Remove(u8),
    Start,
    /// One of those under way: of this pass from now on, due in so many seconds.
    End(u8, Pass, u64),
    Hasten,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let pass = || prop_oneof![Just(Pass::Quick), Just(Pass::Full)];
    let turn = prop_oneof![Just(None), (0..8_u64).prop_map(Some)];
    prop_oneof![
        4 => (0..12_u8, pass(), 0..10_u64, turn).prop_map(|(n, pass, due, turn)| Step::Put(n, pass, due, turn)),
        1 => (0..12_u8).prop_map(Step::Remove),
        4 => Just(Step::Start),
        6 => (0..4_u8, pass(), 0..10_u64).prop_map(|(nth, pass, due)| Step::End(nth, pass, due)),
        1 => Just(Step::Hasten),
        3 => (0..6_u64).prop_map(Step::Wait),
    ]
}

/// The same with sets that are looked through, in place of queues and counts.
#[derive(Default)]
struct Model {
    members: BTreeMap<Key, (Pass, Timestamp)>,
    running: BTreeMap<Key, (Pass, Timestamp)>,
    quick: Rounds,
    full: Rounds,
}

#[derive(Default)]
struct Rounds {
    began: Option<Timestamp>,
    had_their_turn: BTreeSet<Key>,
    complete: Option<Timestamp>,
}

impl Model {
    fn rounds(&mut self, pass: Pass) -> &mut Rounds {
        match pass {
            Pass::Quick => &mut self.quick,
            Pass::Full => &mut self.full,
        }
    }

    fn of(&self, pass: Pass) -> BTreeSet<Key> {
        self.members.iter().filter(|(_, (of, _))| *of == pass).map(|(key, _)| *key).collect()
    }

    fn put(&mut self, key: Key, pass: Pass, due: Timestamp, turn: Option<Timestamp>, now: Timestamp) {
        if self.members.get(&key).is_some_and(|(before, _)| *before != pass) {
            self.remove(key, now);
        }
        self.members.insert(key, (pass, due));
        let rounds = self.rounds(pass);
        let began = *rounds.began.get_or_insert(now);
        if turn.is_some_and(|turn| turn >= began) {
            rounds.had_their_turn.insert(key);
        }
        self.look(pass, now);
    }

    fn remove(&mut self, key: Key, now: Timestamp) {
        if let Some((pass, _)) = self.members.remove(&key) {
            self.rounds(pass).had_their_turn.remove(&key);
            self.look(pass, now);
        }
    }

    fn look(&mut self, pass: Pass, now: Timestamp) {
        let members = self.of(pass);
        let rounds = self.rounds(pass);
        if members.is_empty() {
            *rounds = Rounds::default();
        } else if members.is_subset(&rounds.had_their_turn) {
            *rounds = Rounds { began: Some(now), had_their_turn: BTreeSet::new(), complete: Some(now) };
        }
    }

    fn due(&self, pass: Pass, now: Timestamp) -> BTreeSet<(Timestamp, Key)> {
        let waits = |key: &Key| !self.running.contains_key(key);
        let due = |(key, (of, due)): (&Key, &(Pass, Timestamp))| {
            (*of == pass && *due <= now && waits(key)).then_some((*due, *key))
        };
        self.members.iter().filter_map(due).collect()
    }

    fn places(&self, pass: Pass) -> usize {
        self.running.values().filter(|(of, _)| *of == pass).count()
    }

    fn check(&self, passes: &Passes) {
        for (pass, rounds) in [(Pass::Quick, &self.quick), (Pass::Full, &self.full)] {
            let members = self.of(pass);
            let waiting: BTreeSet<_> = (self.members.iter())
                .filter(|(key, (of, _))| *of == pass && !self.running.contains_key(key))
                .map(|(key, (_, due))| (*due, *key))
                .collect();
            assert_eq!(passes.lane(pass).queue, waiting, "of {pass:?}");
            assert_eq!(passes.count(pass), members.len());
            assert_eq!(passes.complete(pass), rounds.complete, "of {pass:?}");
        }
        assert_eq!(passes.members.len(), self.members.len());
        assert!(passes.places.len() <= AT_ONCE);
        assert!(self.running.keys().eq(passes.places.keys().collect::<BTreeSet<_>>()));
    }

    fn start(&mut self, passes: &mut Passes, now: Timestamp) {
        let due = Pass::ALL.map(|pass| self.due(pass, now));
        let started = passes.start(now);
        for (key, pass) in &started {
            assert!(self.running.insert(*key, (*pass, now)).is_none(), "twice at once");
        }
        for (pass, due) in Pass::ALL.into_iter().zip(due) {
            let started: Vec<Key> =
                started.iter().filter(|(_, of)| *of == pass).map(|(key, _)| *key).collect();
            let first: Vec<Key> = due.iter().take(started.len()).map(|(_, key)| *key).collect();
            assert_eq!(started, first, "who has been due longest comes first");
            // Whatever the other pass holds.
            let own = match pass {
                Pass::Quick => AT_ONCE - FULL_AT_ONCE,
                Pass::Full => AT_ONCE - QUICK_AT_ONCE,
            };
            assert!(started.len() == due.len() || self.places(pass) >= own, "{pass:?} waits for the other");
        }
        let quick_waits = !self.due(Pass::Quick, now).is_empty();
        let full_came = started.iter().any(|(_, pass)| *pass == Pass::Full);
        if quick_waits && full_came {
            assert_eq!(
                self.places(Pass::Quick),
                QUICK_AT_ONCE,
                "the full pass took a place before the quick one"
            );
        }
    }
}

proptest! {
    #[test]
    fn nobody_is_lost_or_runs_twice_and_both_passes_go_on(steps in prop::collection::vec(step(), 1..120)) {
        let clock = Clock::manual();
        let (mut passes, mut model) = (Passes::default(), Model::default());
        for step in steps {
            let now = clock.now();
            match step {
                Step::Put(number, pass, due, turn) => {
                    let turn = turn.map(|ago| now.before(seconds(ago)));
                    passes.put(key(number), pass, now.after(seconds(due)), turn, now);
                    model.put(key(number), pass, now.after(seconds(due)), turn, now);
                }
                Step::Remove(number) => {
                    passes.remove(key(number), now);
                    model.remove(key(number), now);
                }
                Step::Start => model.start(&mut passes, now),
                Step::End(nth, pass, due) => {
                    let Some(key) = model.running.keys().nth(nth.into()).copied() else { continue };
                    let since = model.running.remove(&key).map(|(_, since)| since);
                    prop_assert_eq!(passes.end(key), since);
                    model.check(&passes);
                    if model.members.contains_key(&key) {
                        passes.put(key, pass, now.after(seconds(due)), since, now);
                        model.put(key, pass, now.after(seconds(due)), since, now);
                    }
                }
                Step::Hasten => {
                    let running = &model.running;
                    let idle = model.members.iter_mut().filter(|(key, _)| !running.contains_key(key));
                    let hastened = idle.map(|(_, (_, due))| *due = now).count();
                    prop_assert_eq!(passes.hasten(now), hastened);
                }
                Step::Wait(rest) => clock.advance(seconds(rest)),
            }
            model.check(&passes);
        }
        // From wherever that has led, everybody has a turn, and each pass comes round.
        clock.advance(seconds(100));
        let (now, later) = (clock.now(), clock.now().after(seconds(100)));
        let mut waiting: BTreeSet<Key> = model.members.keys().copied().collect();
        for _ in 0..=waiting.len() {
            model.start(&mut passes, now);
            for (key, (pass, since)) in std::mem::take(&mut model.running) {
                passes.end(key);
                if model.members.contains_key(&key) {
                    waiting.remove(&key);
                    passes.put(key, pass, later, Some(since), now);
                    model.put(key, pass, later, Some(since), now);
                }
            }
            model.check(&passes);
        }
        prop_assert!(waiting.is_empty(), "never had their turn: {waiting:?}");
    }
}

#[test]
fn a_round_is_complete_when_each_has_had_its_turn_since_it_began() {
    let clock = Clock::manual();
    let mut passes = Passes::default();
    let put = |passes: &mut Passes, number, turn| {
        passes.put(key(number), Pass::Quick, clock.now(), turn, clock.now());
    };
    let complete = |passes: &Passes| passes.complete(Pass::Quick).map(|at| clock.now().since(at).as_secs());
    let turn = |passes: &mut Passes, number| {
        let since = passes.end(key(number));
        put(passes, number, since);
    };
    for number in [1, 2, 3] {
        put(&mut passes, number, None);
    }
    assert_eq!(passes.start(clock.now()).len(), 3);
    clock.advance(seconds(1));
    for number in [1, 2] {
        turn(&mut passes, number);
    }
    assert_eq!(complete(&passes), None, "the first is not complete");
    passes.start(clock.now());
    clock.advance(seconds(1));
    turn(&mut passes, 3);
    assert_eq!(complete(&passes), Some(0));
    clock.advance(seconds(5));
    // These two began before the second round.
    for number in [1, 2] {
        turn(&mut passes, number);
    }
    passes.start(clock.now());
    turn(&mut passes, 3);
    assert_eq!(complete(&passes), Some(5));
    turn(&mut passes, 1);
    passes.remove(key(2), clock.now());
    assert_eq!(complete(&passes), Some(0), "who has left is waited for no longer");
    clock.advance(seconds(1));
    passes.start(clock.now());
    turn(&mut passes, 1);
    assert_eq!(complete(&passes), Some(1));
    passes.put(key(3), Pass::Full, clock.now(), None, clock.now());
    assert_eq!(complete(&passes), Some(0), "nor who is of the other pass now");
    assert_eq!(passes.complete(Pass::Full), None);
    passes.remove(key(1), clock.now());
    assert_eq!(complete(&passes), None, "nothing is left that it could be of");
}
