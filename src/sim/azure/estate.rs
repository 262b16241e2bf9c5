//! The simulated subscription's state and its course of time.
//!
//! Invariant: state only changes through operations that are due ([`Estate::settle`]) and through calls,
//! which settle first; so nothing a call sees depends on when background work happened to run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::model::{Effect, Ending, Operation, Power, Resource};
use super::rights::Assignment;
use super::token::Issuer;
use super::{Links, Principal, SECOND_SUBSCRIPTION, SUBSCRIPTION, SimConfig, backrefs};

/// Operations that are remembered after their end, the newest ones.
const OPERATIONS_KEPT: usize = 10_000;

/// An ending that a test has planned for the next operations of calls that start so.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) prefix: String,
    pub(super) ending: Ending,
    pub(super) left: u32,
}

/// A simulated subscription, or two.
pub(super) struct Estate {
    /// The subscriptions that there are.
    pub(super) subscriptions: &'static [&'static str],
    /// Groups and resources by their id in lower case, without the first slash.
    pub(super) resources: BTreeMap<String, Resource>,
    /// Operations by name in lower case.
    pub(super) operations: BTreeMap<String, Operation>,
    finished: std::collections::VecDeque<String>,
    pub(super) assignments: Vec<Assignment>,
    pub(super) principals: Vec<Principal>,
    /// Tokens of a principal (by object id) with a lower number are refused, since this second.
    pub(super) revoked: BTreeMap<String, (u64, u64)>,
    pub(super) planned: Vec<Planned>,
    pub(super) issuer: Issuer,
    events: BTreeMap<(Instant, u64), String>,
    sequence: u64,
    pub(super) task_time: Duration,
    pub(super) retry_after: u64,
    pub(super) page_size: usize,
    pub(super) links: Links,
    links_made: u64,
    started: Instant,
    started_wall: u64,
    pub(super) rng: fastrand::Rng,
}

impl Estate {
    pub(super) fn empty(config: &SimConfig, now: Instant, wall: u64) -> Self {
        let all = &[SUBSCRIPTION, SECOND_SUBSCRIPTION];
        Self {
            subscriptions: if config.second_subscription { all } else { &all[..1] },
            resources: BTreeMap::new(),
            operations: BTreeMap::new(),
            finished: std::collections::VecDeque::new(),
            assignments: Vec::new(),
            principals: Vec::new(),
            revoked: BTreeMap::new(),
            planned: Vec::new(),
            issuer: Issuer::new(),
            events: BTreeMap::new(),
            sequence: 0,
            task_time: config.task_time,
            retry_after: config.retry_after,
            page_size: config.page_size.max(1),
            links: config.links.clone(),
            links_made: 0,
            started: now,
            started_wall: wall,
            rng: fastrand::Rng::with_seed(config.seed),
        }
    }

    /// The wall clock at `now`, in seconds: it moves with tokio's time, paused or not.
    pub(super) fn wall(&self, now: Instant) -> u64 {
        self.started_wall + now.saturating_duration_since(self.started).as_secs()
    }

    /// The wall clock as ARM writes it, `2025-06-12T09:00:00.1234567+00:00`.
    pub(super) fn iso(&self, now: Instant) -> String {
        let since = now.saturating_duration_since(self.started);
        let seconds = i64::try_from(self.started_wall + since.as_secs()).unwrap_or_default();
        let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (hour, minute, second) = at.to_hms();
        let ticks = since.subsec_nanos() / 100;
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ticks:07}+00:00")
    }

    /// A new random id.
    pub(super) fn guid(&mut self) -> String {
        let (high, low) = (self.rng.u64(..), self.rng.u64(..));
        format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff
        )
    }

    /// A number that grows with everything that happens.
    pub(super) fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// An absolute address of `path_and_query` for a caller that named `base`.
    pub(super) fn link(&mut self, base: &str, region: &str, path_and_query: &str) -> String {
        let count = self.links_made;
        self.links_made += 1;
        let base = match &self.links {
            Links::AsAsked => base.to_owned(),
            Links::Public => "https://management.azure.com".to_owned(),
            Links::At(base) => base.trim_end_matches('/').to_owned(),
            Links::Mixed => match count % 3 {
                0 => format!("https://{region}.management.azure.com"),
                1 => "https://management.azure.com:443".to_owned(),
                _ => "https://management.azure.com".to_owned(),
            },
        };
        format!("{base}{path_and_query}")
    }

    /// The group's own spelling of its name.
    pub(super) fn group_name(&self, subscription: &str, folded: &str) -> Option<&str> {
        let key = format!("subscriptions/{subscription}/resourcegroups/{folded}").to_ascii_lowercase();
        self.resources.get(&key).map(|group| group.name.as_str())
    }

    /// Keys of all that lies below `prefix`.
    pub(super) fn below(&self, prefix: &str) -> Vec<String> {
        let start = format!("{prefix}/");
        let from = self.resources.range(start.clone()..);
        from.map(|(key, _)| key).take_while(|key| key.starts_with(&start)).cloned().collect()
    }

    /// Adds or replaces a resource and brings what refers to it up to date.
    pub(super) fn put(&mut self, key: String, resource: Resource) {
        self.resources.insert(key, resource);
        backrefs::derive(self);
    }

    /// Changes a resource; its etag changes with it. Whether there was one.
    pub(super) fn edit(&mut self, key: &str, change: impl FnOnce(&mut Resource)) -> bool {
        let Some(resource) = self.resources.get_mut(key) else { return false };
        change(resource);
        resource.revision += 1;
        backrefs::derive(self);
        true
    }

    /// Starts an operation that ends by itself; gives its name.
    pub(super) fn begin(&mut self, operation: Operation, now: Instant) -> String {
        let name = operation.name.clone();
        let key = name.to_ascii_lowercase();
        let at = (now + self.task_time, self.next());
        self.operations.insert(key.clone(), operation);
        self.events.insert(at, key);
        name
    }

    /// How an operation of this call is planned to end.
    pub(super) fn planned_ending(&mut self, line: &str) -> Ending {
        let met = self.planned.iter_mut().find(|plan| plan.left > 0 && line.starts_with(&plan.prefix));
        let ending = met.map(|plan| {
            plan.left -= 1;
            plan.ending.clone()
        });
        self.planned.retain(|plan| plan.left > 0);
        ending.unwrap_or(Ending::Succeeded)
    }

    /// Lets everything happen that is due by `now`, in order.
    pub(super) fn settle(&mut self, now: Instant) {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let ((at, _), name) = entry.remove_entry();
            self.end(&name, at);
        }
    }

    /// Ends every operation that is under way as if it were due now.
    pub(super) fn settle_all(&mut self, now: Instant) {
        while let Some((_, name)) = self.events.pop_first() {
            self.end(&name, now);
        }
    }

    /// Operations that have not ended.
    pub(super) fn under_way(&self) -> usize {
        self.events.len()
    }

    fn end(&mut self, name: &str, at: Instant) {
        let ended = self.iso(at);
        let Some(operation) = self.operations.get_mut(name) else { return };
        let (effect, ending) = (operation.effect.clone(), operation.ending.clone());
        operation.ended = Some((ended, ending.clone()));
        self.finished.push_back(name.to_owned());
        if self.finished.len() > OPERATIONS_KEPT
            && let Some(oldest) = self.finished.pop_front()
        {
            self.operations.remove(&oldest);
        }
        self.apply(effect, &ending, at);
        backrefs::derive(self);
    }

    fn apply(&mut self, effect: Effect, ending: &Ending, at: Instant) {
        let well = *ending == Ending::Succeeded;
        match effect {
            Effect::Power { key, to, from } => {
                let power = if well { to } else { from };
                self.change(&key, |machine| machine.power = Some(power));
            }
            Effect::Finish(key) => {
                self.change(&key, |resource| resource.set_state(ending.word()));
                // Children live in their parent's body, which was under way with them.
                if let Some(parent) =
                    key.rsplitn(3, '/').nth(2).filter(|parent| self.resources.contains_key(*parent))
                {
                    let parent = parent.to_owned();
                    self.change(&parent, |resource| {
                        if resource.in_flux() {
                            resource.set_state(ending.word());
                        }
                    });
                }
            }
            Effect::Appear(key) => match well {
                true => self.change(&key, |resource| {
                    resource.hidden = false;
                    resource.set_state("Succeeded");
                }),
                false => drop(self.resources.remove(&key)),
            },
            Effect::Delete(keys) => {
                for key in keys {
                    match well {
                        true => {
                            self.below(&key).iter().for_each(|child| drop(self.resources.remove(child)));
                            self.resources.remove(&key);
                        }
                        false => self.change(&key, |resource| resource.set_state("Failed")),
                    }
                }
            }
            Effect::DeleteGroup(key) => match well {
                true => {
                    self.below(&key).iter().for_each(|child| drop(self.resources.remove(child)));
                    self.resources.remove(&key);
                    self.assignments
                        .retain(|one| one.scope != key && !one.scope.starts_with(&format!("{key}/")));
                }
                false => self.change(&key, |group| group.set_state("Succeeded")),
            },
            Effect::Deploy { key, resources } => {
                if well {
                    for (id, body) in resources {
                        super::deployments::create(self, &id, body, at);
                    }
                }
                let timestamp = self.iso(at);
                self.change(&key, |deployment| {
                    deployment.set_state(ending.word());
                    deployment.body["properties"]["timestamp"] = Value::from(timestamp);
                    if let Ending::Failed(code, message) = ending {
                        deployment.body["properties"]["error"] = json!({ "code": code, "message": message });
                    }
                });
            }
            Effect::Move { keys, group } if well => super::groups::moved(self, &keys, &group),
            Effect::Move { .. } | Effect::Nothing => {}
        }
    }

    fn change(&mut self, key: &str, change: impl FnOnce(&mut Resource)) {
        if let Some(resource) = self.resources.get_mut(key) {
            change(resource);
            resource.revision += 1;
        }
    }

    /// The machines' power by their key, for what depends on it.
    pub(super) fn powers(&self) -> impl Iterator<Item = (&str, Power)> {
        self.resources.iter().filter_map(|(key, resource)| Some((key.as_str(), resource.power?)))
    }
}
