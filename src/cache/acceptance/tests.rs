use super::*;
use crate::cache::key::Secret;
use crate::clock::Clock;

const MINUTE: Duration = Duration::from_secs(60);

struct Rig {
    clock: Clock,
    groups: Arc<Groups>,
    acceptance: Acceptance,
    one: CredentialId,
    other: CredentialId,
    principal: Partition,
}

impl Rig {
    fn new() -> Self {
        let secret = Secret::from_bytes(&[7; 16]);
        let groups = Arc::new(Groups::new(secret.clone()));
        Self {
            clock: Clock::manual(),
            acceptance: Acceptance::new(groups.clone()),
            groups,
            one: secret.credential(&[b"one"]),
            other: secret.credential(&[b"other"]),
            principal: secret.principal(&[b"one"]),
        }
    }

    fn leaves(&self) -> Evidence {
        let (sequence, left) = (self.groups.next(), self.clock.now());
        Evidence { sequence, left }
    }

    fn accept(&self, site: u32, credential: CredentialId, evidence: Evidence) {
        let said = || Said { principal: Some(self.principal), ends: None };
        self.acceptance.accept(site, credential, evidence, said);
    }

    fn accept_until(&self, credential: CredentialId, ends: Timestamp) {
        let said = || Said { principal: Some(self.principal), ends: Some(ends) };
        self.acceptance.accept(0, credential, self.leaves(), said);
    }

    fn is_accepted(&self, site: u32, credential: CredentialId) -> bool {
        self.acceptance.is_accepted(site, credential, self.clock.now(), MINUTE)
    }
}

#[test]
fn acceptance_ends_with_time_and_with_a_refusal() {
    let rig = Rig::new();
    assert!(!rig.is_accepted(0, rig.one));
    rig.accept(0, rig.one, rig.leaves());
    assert!(rig.is_accepted(0, rig.one));
    assert!(!rig.is_accepted(0, rig.other));
    assert!(!rig.is_accepted(1, rig.one));
    rig.clock.advance(MINUTE);
    assert!(!rig.is_accepted(0, rig.one));
    assert!(rig.acceptance.is_known(0, rig.one));
    let before = rig.leaves();
    rig.accept(0, rig.one, before);
    let refused = rig.acceptance.refuse(0, rig.one);
    assert_eq!(refused, Refused { was_known: true, principal: Some(rig.principal) });
    assert!(!rig.is_accepted(0, rig.one) && !rig.acceptance.is_known(0, rig.one));
    rig.accept(0, rig.one, before);
    assert!(!rig.is_accepted(0, rig.one), "a late answer from before");
    rig.accept(0, rig.one, rig.leaves());
    assert!(rig.is_accepted(0, rig.one));
}

#[test]
fn a_refusal_tells_of_the_principal_only_where_the_api_had_confirmed_it() {
    let rig = Rig::new();
    let nothing = |was_known| Refused { was_known, principal: None };
    assert_eq!(rig.acceptance.refuse(0, rig.one), nothing(false));
    assert_eq!(rig.acceptance.refuse(0, rig.one), nothing(true));
    rig.accept(0, rig.one, rig.leaves());
    assert_eq!(rig.acceptance.refuse(0, rig.one).principal, Some(rig.principal));
    assert_eq!(rig.acceptance.refuse(0, rig.one), nothing(true), "news only once");
}

#[test]
fn a_write_to_rights_ends_all_acceptances_and_those_under_way() {
    let rig = Rig::new();
    rig.accept(0, rig.one, rig.leaves());
    rig.accept(1, rig.one, rig.leaves());
    let under_way = rig.leaves();
    rig.groups.invalidate(&[rig.groups.id(0, GroupName::Named(ACCEPTANCES))]);
    assert!(!rig.is_accepted(0, rig.one));
    assert!(rig.is_accepted(1, rig.one), "another upstream");
    assert!(rig.acceptance.is_known(0, rig.one), "its writes are not a stranger's");
    rig.accept(0, rig.one, under_way);
    assert!(!rig.is_accepted(0, rig.one), "under way when the write landed");
    rig.accept(0, rig.one, rig.leaves());
    assert!(rig.is_accepted(0, rig.one));
}

#[test]
fn a_credential_ends_by_itself_even_while_time_stands_still_for_acceptances() {
    let rig = Rig::new();
    let then = rig.clock.now();
    rig.accept_until(rig.one, then.after(MINUTE - MINUTE / 4));
    // A later answer can put it earlier, but not off.
    rig.accept_until(rig.one, then.after(MINUTE / 2));
    rig.accept_until(rig.one, then.after(MINUTE));
    assert!(rig.is_accepted(0, rig.one));
    rig.clock.advance(MINUTE / 2);
    assert!(!rig.is_accepted(0, rig.one));
    assert!(!rig.acceptance.was_accepted(0, rig.one, then, rig.clock.now(), MINUTE));
    assert!(rig.acceptance.was_accepted(0, rig.one, then, then, MINUTE));
}

#[test]
fn of_answers_that_come_in_another_order_the_latest_request_counts() {
    let rig = Rig::new();
    let first = rig.leaves();
    rig.clock.advance(MINUTE / 2);
    let second = rig.leaves();
    rig.accept(0, rig.one, second);
    rig.accept(0, rig.one, first);
    rig.clock.advance(MINUTE / 2);
    assert!(rig.is_accepted(0, rig.one));
}

#[test]
fn a_write_makes_an_actor_for_the_window() {
    let rig = Rig::new();
    let window = Duration::from_secs(1);
    rig.acceptance.wrote(0, rig.one, rig.clock.now());
    assert!(rig.acceptance.is_actor(0, rig.one, rig.clock.now(), window));
    rig.clock.advance(window);
    assert!(!rig.acceptance.is_actor(0, rig.one, rig.clock.now(), window));
}

#[test]
fn what_does_not_end_is_read_once() {
    let rig = Rig::new();
    rig.accept(0, rig.one, rig.leaves());
    assert_eq!(rig.acceptance.named(0, rig.one), Some(Some(rig.principal)));
    rig.acceptance.accept(0, rig.one, rig.leaves(), || unreachable!("its principal is known"));
    let nobody = || Said::default();
    rig.acceptance.accept(0, rig.other, rig.leaves(), nobody);
    assert_eq!(rig.acceptance.named(0, rig.other), Some(None));
    rig.acceptance.accept(0, rig.other, rig.leaves(), || unreachable!("it is known to name none"));
}
