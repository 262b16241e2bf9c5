use std::collections::VecDeque;
use std::pin::pin;

use proptest::prelude::*;

use super::*;

fn claim(urgency: Urgency, principal: u128) -> Claim {
    Claim { urgency, principal }
}

/// Whether a wait is over, as seen by somebody who only looks.
fn look(wait: &mut Pin<Box<Wait>>) -> Option<Spot> {
    match wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(spot) => Some(spot.expect("nobody is dismissed here")),
        Poll::Pending => None,
    }
}

/// What became of a line when everybody has left.
fn is_empty(line: &Line) -> bool {
    let queue = line.queue.lock();
    let nothing = |class: &Class| {
        class.waiting == 0 && class.order.is_empty() && class.flows.is_empty() && class.idle.is_empty()
    };
    line.taken() == 0
        && line.waiting.load(Ordering::SeqCst) == 0
        && queue.tickets.is_empty()
        && queue.by_age.is_empty()
        && queue.classes.iter().all(nothing)
}

/// Serves all that wait, one after the other, and says whom in which order.
fn drain(line: &Arc<Line>, held: Spot, mut waits: Vec<(&'static str, Pin<Box<Wait>>)>) -> Vec<&'static str> {
    let mut served = Vec::new();
    let mut held = Some(held);
    while !waits.is_empty() {
        drop(held.take());
        let place = waits.iter_mut().position(|(_, wait)| {
            held = look(wait);
            held.is_some()
        });
        served.push(waits.remove(place.expect("a free place goes to somebody who waits")).0);
    }
    drop(held);
    assert!(is_empty(line));
    served
}

fn order(claims: &[(&'static str, Urgency, u128)]) -> Vec<&'static str> {
    let line = Line::new(1);
    let held = line.try_take().unwrap();
    let stand = |(name, urgency, principal): &(&'static str, Urgency, u128)| {
        (*name, Box::pin(line.stand(claim(*urgency, *principal))))
    };
    let waits = claims.iter().map(stand).collect();
    drain(&line, held, waits)
}

#[test]
fn the_urgent_come_first_and_equals_in_order() {
    use Urgency::{Background, Change, Leisure, Read, Refresh};
    let claims = [
        ("leisure", Leisure, 1),
        ("background", Background, 1),
        ("refresh", Refresh, 1),
        ("read", Read, 1),
        ("second read", Read, 1),
        ("write", Change, 1),
    ];
    assert_eq!(order(&claims), ["write", "read", "second read", "refresh", "background", "leisure"]);
}

#[test]
fn one_with_many_calls_holds_up_one_with_few_by_one() {
    use Urgency::Read;
    let claims = [
        ("exporter", Read, 1),
        ("exporter", Read, 1),
        ("exporter", Read, 1),
        ("exporter", Read, 1),
        ("operator", Read, 2),
        ("operator", Read, 2),
    ];
    let served = ["exporter", "operator", "exporter", "operator", "exporter", "exporter"];
    assert_eq!(order(&claims), served);
}

#[test]
fn who_has_not_called_for_a_while_comes_first() {
    let line = Line::new(1);
    let mut held = line.try_take();
    let stand = |principal| (principal, Box::pin(line.stand(claim(Urgency::Read, principal))));
    let mut waits: VecDeque<_> = (0..50).map(stand).collect();
    let mut operator = None;
    for turn in 0..500 {
        drop(held.take());
        if let Some((since, mut wait)) = operator.take() {
            held = look(&mut wait);
            if held.is_none() {
                operator = Some((since, wait));
            }
            assert!(turn - since <= 2, "{} were served before", turn - since);
        }
        if held.is_none() {
            let place = waits.iter_mut().position(|(_, wait)| {
                held = look(wait);
                held.is_some()
            });
            // It comes back at once.
            let (principal, _) = waits.remove(place.unwrap()).unwrap();
            waits.push_back(stand(principal));
        }
        // Less often than everybody else.
        if turn % 100 == 99 {
            operator = Some((turn, Box::pin(line.stand(claim(Urgency::Read, 1_000)))));
        }
    }
    drop((held, waits, operator));
    assert!(is_empty(&line));
}

#[test]
fn nobody_starves() {
    let line = Line::new(1);
    let mut held = line.try_take();
    let mut least = Box::pin(line.stand(claim(Urgency::Background, 1)));
    let mut turns = 0;
    loop {
        let mut write = Box::pin(line.stand(claim(Urgency::Change, 2)));
        drop(held.take());
        turns += 1;
        if look(&mut least).is_some() {
            break;
        }
        held = look(&mut write);
        assert!(turns < 8, "writes without an end");
    }
    assert_eq!(turns, 8);
}

#[tokio::test]
async fn who_waits_is_woken() {
    let line = Line::new(2);
    let held = (line.try_take().unwrap(), line.try_take().unwrap());
    assert!(line.try_take().is_none());
    let waits: Vec<_> = (0..10).map(|n| tokio::spawn(line.stand(claim(Urgency::Read, n)))).collect();
    tokio::task::yield_now().await;
    assert!(line.try_take().is_none(), "nobody overtakes the line");
    drop(held);
    for wait in waits {
        drop(wait.await.unwrap());
    }
    assert!(is_empty(&line));
    let held = line.try_take().unwrap();
    line.set_limit(1);
    let wait = tokio::spawn(line.stand(claim(Urgency::Read, 1)));
    tokio::task::yield_now().await;
    assert!(!wait.is_finished());
    line.set_limit(2);
    drop(wait.await.unwrap());
    drop(held);
    assert!(is_empty(&line));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_threads_every_wait_ends_and_no_more_hold_a_place_than_may() {
    let line = Line::new(3);
    let most = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16_u128 {
        let (line, most) = (Arc::clone(&line), Arc::clone(&most));
        tasks.spawn(async move {
            for round in 0..400_u32 {
                let claim = claim(Urgency::ALL[round as usize % 4], task);
                let mut wait = pin!(line.stand(claim));
                if round % 5 == 0 {
                    // Looks once and leaves.
                    let _left = std::future::poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx))).await;
                    continue;
                }
                let spot = match line.try_take() {
                    Some(spot) => spot,
                    None => wait.await.unwrap(),
                };
                most.fetch_max(line.taken(), Ordering::SeqCst);
                if round % 3 == 0 {
                    tokio::task::yield_now().await;
                }
                drop(spot);
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    assert!(most.load(Ordering::SeqCst) <= 3);
    assert!(is_empty(&line));
}

/// The rule in its plainest words: everybody in one list, looked through for each place.
#[derive(Default)]
struct Model {
    limit: usize,
    taken: usize,
    served: u64,
    line: Vec<(u64, Claim)>,
    now: [i64; 4],
    start: HashMap<(usize, u128), i64>,
}

impl Model {
    fn serve(&mut self) -> Vec<u64> {
        let mut served = Vec::new();
        while self.taken < self.limit && !self.line.is_empty() {
            self.served += 1;
            let start = |claim: Claim| self.start[&(claim.urgency as usize, claim.principal)];
            let first = |claim: Claim| self.line.iter().find(|(_, c)| *c == claim).map(|(n, _)| *n);
            let by_turn = |(_, claim): &(u64, Claim)| (claim.urgency as usize, start(*claim), first(*claim));
            let in_turn = (0..self.line.len()).min_by_key(|index| (by_turn(&self.line[*index]), *index));
            let index = if self.served.is_multiple_of(8) { 0 } else { in_turn.unwrap() };
            let (number, claim) = self.line[index];
            let (class, started) = (claim.urgency as usize, start(claim));
            let leads = (0..self.line.len())
                .filter(|index| self.line[*index].1.urgency == claim.urgency)
                .min_by_key(|index| by_turn(&self.line[*index]))
                .is_some_and(|first| self.line[first].1 == claim);
            if leads {
                self.now[class] = self.now[class].max(started);
            }
            self.start.insert((class, claim.principal), started + 1);
            self.line.remove(index);
            self.taken += 1;
            served.push(number);
            if self.line.is_empty() {
                self.now = [0; 4];
                self.start.clear();
            }
        }
        served
    }

    fn join(&mut self, number: u64, claim: Claim) {
        let (class, now) = (claim.urgency as usize, self.now[claim.urgency as usize]);
        let waits = self.line.iter().any(|(_, other)| *other == claim);
        let start = self.start.entry((class, claim.principal)).or_insert(now - 1);
        // Who was served so long ago that everybody else has had a turn since comes first.
        if !waits && *start < now {
            *start = now - 1;
        }
        self.line.push((number, claim));
    }

    fn leave(&mut self, number: u64) {
        self.line.retain(|(other, _)| *other != number);
        if self.line.is_empty() {
            self.now = [0; 4];
            self.start.clear();
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Stand(usize, u128),
    Leave(usize),
    Free(usize),
    Limit(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_usize, 0..5_u128).prop_map(|(urgency, principal)| Step::Stand(urgency, principal)),
        1 => (0..64_usize).prop_map(Step::Leave),
        3 => (0..64_usize).prop_map(Step::Free),
        1 => (0..5_usize).prop_map(Step::Limit),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn it_serves_whom_the_plain_rule_would(steps in prop::collection::vec(step(), 1..120)) {
        let line = Line::new(1);
        let mut model = Model { limit: 1, ..Model::default() };
        let (mut waits, mut spots) = (Vec::<(u64, Pin<Box<Wait>>)>::new(), Vec::new());
        let mut number = 0;
        for step in steps {
            match step {
                Step::Stand(urgency, principal) => {
                    let claim = claim(Urgency::ALL[urgency], principal);
                    waits.push((number, Box::pin(line.stand(claim))));
                    model.join(number, claim);
                    number += 1;
                }
                Step::Leave(index) if !waits.is_empty() => {
                    let (number, wait) = waits.remove(index % waits.len());
                    drop(wait);
                    model.leave(number);
                }
                Step::Free(index) if !spots.is_empty() => {
                    drop(spots.swap_remove(index % spots.len()));
                    model.taken -= 1;
                }
                Step::Limit(limit) => {
                    line.set_limit(limit);
                    model.limit = limit;
                }
                Step::Leave(_) | Step::Free(_) => continue,
            }
            let mut expected = model.serve();
            expected.sort_unstable();
            let mut served = Vec::new();
            waits.retain_mut(|(number, wait)| {
                let spot = look(wait);
                let waits_on = spot.is_none();
                if !waits_on {
                    served.push(*number);
                }
                spots.extend(spot);
                waits_on
            });
            prop_assert_eq!(served, expected);
            prop_assert_eq!(line.taken(), model.taken);
        }
        drop(waits);
        drop(spots);
        prop_assert!(is_empty(&line));
    }
}
