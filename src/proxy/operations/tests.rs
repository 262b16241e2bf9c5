use super::ended::MAX_ENDED;
use super::watch::{FIRST_PACE, LAST_PACE};
use super::*;
use crate::cache::groups::{GroupName, Settling};
use crate::cache::key::{CredentialId, Secret};

mod addresses;
mod asking;

struct Lab {
    clock: Clock,
    groups: Arc<Groups>,
    operations: Operations,
    ids: Arc<[GroupId]>,
}

const CAP: Duration = Duration::from_secs(60);
const HOLD: Duration = Duration::from_secs(30);
const OTHERS_SETTLE: Duration = Duration::from_secs(60);

impl Lab {
    fn new() -> Self {
        let clock = Clock::manual();
        let groups = Arc::new(Groups::new(Secret::from_bytes(&[7; 16])));
        let ids = [groups.id(0, GroupName::Named("g"))].into();
        let operations = Operations::new(clock.clone(), groups.clone(), &Registry::new());
        Self { operations, clock, groups, ids }
    }

    fn operation(&self) -> Operation {
        let now = self.clock.now();
        Operation {
            subject: Subject::Task(task(0)),
            names: Vec::new(),
            has_address: false,
            groups: self.ids.clone(),
            rules: 1,
            shown: Some(self.shown()),
            holds: true,
            since: now,
            known: self.groups.next(),
            until: now.after(CAP),
            earliest: now.after(HOLD),
            settle: Duration::from_secs(15),
            endpoint: Some(1),
            origin: Origin::Write,
            watch: None,
        }
    }

    /// Begins task 7, judged by `rules`.
    fn begin_late(&self, rules: u64) {
        let operation = Operation { subject: Subject::Task(task(7)), rules, ..self.operation() };
        self.operations.begin(0, operation);
        self.groups.invalidate(&self.ids);
    }

    fn nameless(&self) -> Operation {
        Operation { subject: Subject::Write("POST /a".into()), ..self.operation() }
    }

    fn shown(&self) -> GroupId {
        self.groups.id(0, GroupName::Subtree("/tasks/a"))
    }

    fn begin(&self) {
        self.operations.begin(0, self.operation());
    }

    fn tell(&self, state: TaskState) -> News {
        self.tell_of(0, task(0), state)
    }

    fn tell_of(&self, site: u32, task: Task, state: TaskState) -> News {
        let others = |_: &Task| Operation {
            settle: OTHERS_SETTLE,
            endpoint: None,
            origin: Origin::Elsewhere,
            ..self.operation()
        };
        self.operations.told(site, &[TaskEvent { task, state }], others)[0]
    }

    /// Whether `act` overtakes what was fetched before it.
    fn overtakes<T>(&self, act: impl FnOnce() -> T) -> bool {
        let fetched = self.groups.next();
        act();
        !self.groups.is_current(fetched, &self.ids)
    }

    fn settling(&self) -> Settling {
        self.groups.settling(&self.ids, self.clock.now())
    }
}

fn task(number: u32) -> Task {
    let resource = "/tasks/a".to_owned();
    let name = |text: &str| text.to_owned();
    let id = OperationId(format!("task {number}"));
    Task { id, kind: name("t"), object: name("1"), node: name("n"), who: name("x"), started: 1000, resource }
}

const OF_A_WRITE: News = News::Of(Origin::Write);
const OF_OTHERS: News = News::Of(Origin::Elsewhere);
const ENDED: TaskState = TaskState::Ended { at: None };

#[test]
fn the_end_invalidates_once_more_and_the_settle_time_follows() {
    let lab = Lab::new();
    lab.begin();
    assert_eq!(lab.settling(), Settling::Open);
    assert_eq!(lab.tell(TaskState::Running), News::Old);
    let shown = lab.groups.next();
    assert!(lab.overtakes(|| assert_eq!(lab.tell(ENDED), OF_A_WRITE)));
    assert!(!lab.groups.is_current(shown, &[lab.shown()]), "what shows the task itself");
    assert_eq!(lab.settling(), Settling::Lately);
    lab.clock.advance(Duration::from_secs(15));
    assert_eq!(lab.settling(), Settling::Settled);
    assert!(!lab.overtakes(|| assert_eq!(lab.tell(ENDED), News::Old)));
    assert!(!lab.overtakes(|| assert_eq!(lab.tell(TaskState::Running), News::Old)), "a list of before");
    assert!(lab.operations.is_empty());
}

#[test]
fn upstreams_have_their_own_tasks() {
    let lab = Lab::new();
    lab.begin();
    assert_eq!(lab.tell_of(1, task(0), ENDED), OF_OTHERS);
    assert_eq!((lab.operations.open_of(0), lab.operations.open_of(1)), (1, 0));
    assert_eq!(lab.tell(ENDED), OF_A_WRITE);
}

#[test]
fn a_task_that_outlives_its_cap_still_overtakes_when_it_ends() {
    let lab = Lab::new();
    lab.begin();
    lab.clock.advance(Duration::from_secs(60));
    lab.operations.sweep();
    lab.clock.advance(Duration::from_secs(3600));
    assert_eq!(lab.settling(), Settling::Settled);
    assert!(!lab.overtakes(|| assert_eq!(lab.tell(TaskState::Running), News::Old)), "it holds no more");
    assert!(lab.overtakes(|| assert_eq!(lab.tell(ENDED), OF_A_WRITE)));
    assert_eq!(lab.settling(), Settling::Lately);
}

#[test]
fn an_end_that_is_told_before_its_task_is_known_counts() {
    let lab = Lab::new();
    assert_eq!(lab.tell(ENDED), OF_OTHERS);
    lab.begin();
    assert!(lab.operations.is_empty());
    assert_eq!(lab.settling(), Settling::Lately);
}

#[test]
fn an_operation_without_an_end_ends_with_its_cap() {
    let lab = Lab::new();
    lab.begin();
    lab.operations.begin(0, lab.nameless());
    lab.operations.sweep();
    assert_eq!((lab.operations.len(), lab.operations.open_of(0), lab.operations.open_of(1)), (2, 2, 0));
    lab.clock.advance(Duration::from_secs(60));
    lab.operations.sweep();
    assert!(lab.operations.is_empty());
    assert_ne!(lab.settling(), Settling::Open);
}

#[test]
fn tasks_of_others_overtake_at_their_start_and_at_their_end() {
    let lab = Lab::new();
    assert!(lab.overtakes(|| assert_eq!(lab.tell(TaskState::Running), OF_OTHERS)));
    assert_eq!(lab.settling(), Settling::Open);
    assert!(!lab.overtakes(|| assert_eq!(lab.tell(TaskState::Running), News::Old)));
    assert!(lab.overtakes(|| lab.tell(ENDED)));
    assert_eq!(lab.settling(), Settling::Lately);
    lab.clock.advance(OTHERS_SETTLE);
    assert_eq!(lab.settling(), Settling::Settled);
}

#[test]
fn a_write_takes_over_the_task_that_the_api_told_of_before_its_answer() {
    let lab = Lab::new();
    lab.tell(TaskState::Running);
    lab.begin();
    assert_eq!((lab.operations.len(), lab.settling()), (1, Settling::Open));
    assert_eq!(lab.tell(ENDED), OF_A_WRITE);
    assert_eq!(lab.settling(), Settling::Lately);
}

#[test]
fn what_looks_like_an_end_overtakes_and_ends_nothing() {
    let lab = Lab::new();
    lab.begin();
    let hint = |sign| lab.tell(TaskState::Ending { sign });
    assert!(lab.overtakes(|| assert_eq!(hint(Some(7)), OF_A_WRITE)));
    assert_eq!(lab.settling(), Settling::Open);
    assert!(!lab.overtakes(|| assert_eq!(hint(Some(7)), News::Old)), "the same line");
    assert!(lab.overtakes(|| hint(Some(9))), "another line");
    assert!(lab.overtakes(|| hint(None)) && lab.overtakes(|| hint(None)), "cannot be told apart");
    assert!(lab.overtakes(|| assert_eq!(lab.tell(ENDED), OF_A_WRITE)));
    assert!(!lab.overtakes(|| assert_eq!(hint(None), News::Old)), "the end is known");
}

#[test]
fn what_ended_long_ago_has_settled() {
    let lab = Lab::new();
    let list = [(1, 2000), (2, 5000)]
        .map(|(number, at)| TaskEvent { task: task(number), state: TaskState::Ended { at: Some(at) } });
    let others = |_: &Task| Operation {
        settle: OTHERS_SETTLE,
        endpoint: None,
        origin: Origin::Elsewhere,
        ..lab.operation()
    };
    assert!(lab.overtakes(|| drop(lab.operations.told(0, &list[..1], others))));
    assert_eq!(lab.settling(), Settling::Lately, "the latest that is known");
    let lab = Lab::new();
    assert!(lab.overtakes(|| drop(lab.operations.told(0, &list[1..], others))));
    lab.clock.advance(OTHERS_SETTLE);
    let old = TaskEvent { task: task(3), state: TaskState::Ended { at: Some(2000) } };
    assert!(lab.overtakes(|| drop(lab.operations.told(0, &[old], others))), "it may still be news");
    assert_eq!(lab.settling(), Settling::Settled);
}

#[test]
fn ends_are_remembered_up_to_a_bound() {
    let lab = Lab::new();
    for number in 0..=MAX_ENDED as u32 {
        lab.tell_of(0, task(number), ENDED);
    }
    assert_eq!(lab.tell_of(0, task(1), ENDED), News::Old);
    assert_eq!(lab.tell_of(0, task(0), ENDED), OF_OTHERS, "forgotten, so it overtakes again");
}

#[test]
fn beyond_the_bound_others_hold_nothing_and_writes_hold_until_the_cap() {
    let lab = Lab::new();
    for number in 0..MAX_OPEN as u32 {
        lab.tell_of(0, task(number), TaskState::Running);
    }
    let one_more = task(u32::MAX);
    assert!(lab.overtakes(|| lab.tell_of(0, one_more.clone(), TaskState::Running)));
    assert_eq!(lab.operations.len(), MAX_OPEN);
    lab.operations.begin(0, Operation { subject: Subject::Task(one_more.clone()), ..lab.operation() });
    assert_eq!(lab.operations.len(), MAX_OPEN + 1);
    for number in 0..MAX_OPEN as u32 {
        lab.tell_of(0, task(number), ENDED);
    }
    assert_eq!(lab.tell_of(0, one_more, ENDED), OF_OTHERS);
    assert_eq!(lab.settling(), Settling::Open);
    lab.clock.advance(Duration::from_secs(60));
    lab.operations.sweep();
    assert_eq!(lab.settling(), Settling::Lately);
}

/// Asks after tasks in the name of one writer.
#[test]
fn open_operations_are_shown_without_a_credential() {
    let lab = Lab::new();
    lab.operations.begin(0, lab.nameless());
    lab.clock.advance(Duration::from_secs(5));
    lab.operations.begin(0, lab.watched(1));
    lab.clock.advance(Duration::from_secs(5));
    lab.ask(Reply::Runs);
    let shown = lab.operations.shown(0, 10);
    let told: Vec<_> = shown
        .iter()
        .map(|o| {
            (o.task.as_deref(), o.kind.as_str(), o.age.as_secs(), o.left.as_secs(), o.asked, o.is_watched)
        })
        .collect();
    let expected =
        [(None, "POST /a", 10, 50, None, false), (Some("task 1"), "t", 5, 55, Some(Duration::ZERO), true)];
    assert_eq!(told, expected);
    assert!(!format!("{shown:?}").contains("secret"));
    assert_eq!((lab.operations.shown(0, 1).len(), lab.operations.shown(1, 10).len()), (1, 0));
}

#[test]
fn what_is_open_reaches_the_groups_of_new_rules() {
    let lab = Lab::new();
    let new: Arc<[GroupId]> = [lab.groups.id(0, GroupName::Named("new"))].into();
    let everything = [lab.groups.id(0, GroupName::Subtree(""))];
    let change = |rules| lab.operations.rules_change(0, rules, |_| new.clone());
    let settling = |ids: &[GroupId]| lab.groups.settling(ids, lab.clock.now());
    change(1);
    lab.begin();
    change(1);
    assert_eq!(settling(&new), Settling::Settled, "the same rules");
    change(2);
    assert_eq!((settling(&new), settling(&lab.ids)), (Settling::Open, Settling::Open));
    let fetched = lab.groups.next();
    lab.tell(ENDED);
    assert!(!lab.groups.is_current(fetched, &new) && lab.overtakes(|| lab.begin_late(1)));
    // What was judged by the old rules and comes late reaches everything.
    assert_eq!(settling(&everything), Settling::Open);
    lab.tell_of(0, task(7), ENDED);
    assert_eq!(settling(&everything), Settling::Lately);
    // What settles when the rules change, settles under any name.
    lab.clock.advance(Duration::from_secs(10));
    let lab = Lab::new();
    lab.operations.rules_change(0, 1, |_| new.clone());
    lab.begin();
    lab.operations.begin(0, lab.nameless());
    lab.tell(ENDED);
    lab.operations.rules_change(0, 2, |_| new.clone());
    assert_eq!(lab.groups.settling(&everything, lab.clock.now()), Settling::Open, "a write without a name");
    lab.clock.advance(CAP);
    lab.operations.sweep();
    lab.clock.advance(Duration::from_secs(14));
    assert_eq!(lab.groups.settling(&everything, lab.clock.now()), Settling::Lately);
}
