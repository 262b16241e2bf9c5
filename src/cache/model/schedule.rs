//! In which order the machines step: every order, or one drawn from a seed.

use std::collections::BTreeSet;
use std::fmt;

use super::core::Core;
use super::plan::{Fate, FirstPoll, Mutation, Plan, Reader, Write};
use super::world::{Outcome, Touch, World};
use crate::cache::flight::Join;

/// A schedule under which a property does not hold.
#[derive(Debug)]
pub struct Found {
    /// Which property, and how.
    pub what: String,
    /// The steps up to there.
    pub schedule: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after: {}", self.what, self.schedule)
    }
}

/// Which orders may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// None.
    None,
    /// Those that differ from a tried one only in the order of steps that touch nothing in common.
    Commuting,
}

/// What a whole exploration came to.
#[derive(Default)]
pub struct Explored {
    /// How many schedules ran to their end.
    pub schedules: usize,
    /// Every way in which the readers can fare.
    pub outcomes: BTreeSet<Outcome>,
}

/// A point where a schedule chose among the machines that could step.
struct Node {
    able: Vec<(usize, Touch)>,
    chosen: usize,
    /// The machines whose step here leads only to orders that have been tried (a sleep set).
    asleep: u64,
}

impl Node {
    fn first_awake(able: &[(usize, Touch)], asleep: u64) -> Option<usize> {
        able.iter().position(|(machine, _)| asleep >> machine & 1 == 0)
    }

    /// Who stays asleep after the chosen step: those who would do the same before or after it.
    fn asleep_below(&self) -> u64 {
        let (_, chosen) = self.able[self.chosen];
        let commuting = self.able.iter().filter(|(_, touch)| !touch.meets(chosen));
        commuting.fold(0, |all, (machine, _)| all | 1 << machine) & self.asleep
    }
}

/// Runs `plan` in every order, from the start each time, until a property fails.
pub fn every_schedule(
    core: &Core,
    plan: &Plan,
    mutation: Option<Mutation>,
    reduction: Reduction,
) -> Result<Explored, Found> {
    let mut explored = Explored::default();
    let mut path: Vec<Node> = Vec::new();
    loop {
        let mut world = World::new(core, plan, mutation);
        for node in &path {
            world.step(node.able[node.chosen].0)?;
        }
        loop {
            let asleep = match reduction {
                Reduction::None => 0,
                Reduction::Commuting => path.last().map_or(0, Node::asleep_below),
            };
            let able = world.able();
            if able.is_empty() {
                explored.outcomes.insert(world.quiet()?);
                explored.schedules += 1;
                break;
            }
            let Some(chosen) = Node::first_awake(&able, asleep) else { break };
            world.step(able[chosen].0)?;
            path.push(Node { able, chosen, asleep });
        }
        loop {
            let Some(node) = path.last_mut() else { return Ok(explored) };
            node.asleep |= 1 << node.able[node.chosen].0;
            match Node::first_awake(&node.able, node.asleep) {
                Some(next) => {
                    node.chosen = next;
                    break;
                }
                None => path.pop(),
            };
        }
    }
}

/// Draws a configuration of three objects with overlapping groups and runs it in one random order.
pub fn random_schedule(core: &Core, seed: u64) -> Result<(), Found> {
    const CHANGES: [(&[usize], &[usize]); 5] =
        [(&[0], &[0]), (&[1], &[2]), (&[0, 1], &[1]), (&[2], &[3, 0]), (&[0, 1, 2], &[1, 3])];
    let mut random = fastrand::Rng::with_seed(seed);
    let fate = |random: &mut fastrand::Rng| match random.u8(..20) {
        0 => Fate::Lost,
        1 => Fate::LostInBody,
        2 => Fate::Fails,
        3 => Fate::BreaksOff,
        4 => Fate::Alone,
        5 => Fate::Streams,
        _ => Fate::Whole,
    };
    let reader = |random: &mut fastrand::Rng| Reader {
        object: random.usize(..3),
        join: if random.u8(..5) == 0 { Join::Refused } else { Join::Allowed },
        fate: fate(random),
    };
    let readers: Vec<Reader> = (0..random.usize(4..12)).map(|_| reader(&mut random)).collect();
    let refreshes: Vec<Reader> = (0..random.usize(..4)).map(|_| reader(&mut random)).collect();
    let write = |random: &mut fastrand::Rng| {
        let (changes, groups) = CHANGES[random.usize(..CHANGES.len())];
        Write { changes, groups, outcome_known: random.u8(..4) > 0 }
    };
    let writes: Vec<Write> = (0..random.usize(1..5)).map(|_| write(&mut random)).collect();
    let plan = Plan {
        objects: &[&[0, 1], &[1, 2], &[3]],
        readers: &readers,
        refreshes: &refreshes,
        writes: &writes,
        first_poll: if random.bool() { FirstPoll::AtOnce } else { FirstPoll::Later },
        fetches: None,
    };
    let mut world = World::new(core, &plan, None);
    loop {
        let able = world.able();
        if able.is_empty() {
            return world.quiet().map(|_| ());
        }
        world.step(able[random.usize(..able.len())].0)?;
    }
}
