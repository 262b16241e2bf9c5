//! Questions after operations that nobody else tells of.

use super::*;

fn writer() -> Arc<Writer> {
    let headers = [("authorization", "secret"), ("cookie", "PVEAuthCookie=secret"), ("accept", "x")];
    let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    Writer::new(&headers.collect(), &[], CredentialId::ANONYMOUS, 7)
}

impl Lab {
    pub(super) fn watched(&self, number: u32) -> Operation {
        let watch = Some(Watch::of_task(writer(), format!("/{number}"), self.clock.now()));
        Operation { subject: Subject::Task(task(number)), watch, ..self.operation() }
    }

    /// What is asked now; each question gets `reply`.
    pub(super) fn ask(&self, reply: Reply) -> Vec<String> {
        let questions = self.operations.questions(0);
        questions.iter().for_each(|question| self.operations.replied(&question.about, reply));
        questions.into_iter().map(|question| question.target.text).collect()
    }

    fn has_credentials(&self) -> bool {
        self.operations.open.lock().watched() > 0
    }
}

#[test]
fn a_writer_is_its_credential_and_never_shown() {
    let writer = writer();
    let fields = writer.fields();
    assert_eq!(fields.len(), 2);
    assert!(fields.values().all(http::HeaderValue::is_sensitive));
    assert_eq!(format!("{writer:?}"), "Writer");
}

#[test]
fn questions_are_asked_when_nobody_has_told_for_a_while() {
    let lab = Lab::new();
    lab.operations.begin(0, lab.watched(0));
    assert!(lab.ask(Reply::Runs).is_empty(), "the write was answered just now");
    for _ in 0..5 {
        lab.clock.advance(FIRST_PACE / 2);
        lab.tell(TaskState::Running);
        assert!(lab.ask(Reply::Runs).is_empty(), "a client asks");
    }
    lab.clock.advance(FIRST_PACE);
    assert_eq!(lab.ask(Reply::Runs), ["/0"]);
    lab.clock.advance(FIRST_PACE);
    assert!(lab.ask(Reply::Runs).is_empty(), "the pace slows down");
    for _ in 0..5 {
        lab.clock.advance(LAST_PACE);
        assert_eq!(lab.ask(Reply::Runs), ["/0"], "to a limit");
    }
    lab.tell(ENDED);
    lab.clock.advance(LAST_PACE);
    assert!(lab.ask(Reply::Runs).is_empty() && !lab.has_credentials());
}

#[test]
fn a_refusal_ends_the_questions_and_silence_does_not() {
    for (reply, asked) in [
        (Reply::Refused, 1),
        (Reply::Unclear, 3),
        (Reply::Nothing, 10),
        (Reply::Runs, 10),
        (Reply::AllKnown, 10),
    ] {
        let lab = Lab::new();
        lab.operations.begin(0, lab.watched(0));
        let asks = |_: &i32| {
            lab.clock.advance(LAST_PACE);
            !lab.ask(reply).is_empty()
        };
        assert_eq!((0..10).filter(asks).count(), asked, "{reply:?}");
        assert_eq!(lab.has_credentials(), asked == 10, "{reply:?}");
        assert_eq!(lab.settling(), Settling::Open, "{reply:?}: only the end or the cap ends it");
    }
}

#[test]
fn few_questions_are_asked_at_once_and_the_longest_due_first() {
    let lab = Lab::new();
    for number in 0..5 {
        lab.operations.begin(0, lab.watched(number));
        lab.clock.advance(Duration::from_millis(1));
    }
    lab.operations.begin(1, lab.watched(9));
    lab.clock.advance(LAST_PACE);
    let questions = lab.operations.questions(0);
    assert_eq!(questions.iter().map(|q| q.target.text.as_str()).collect::<Vec<_>>(), ["/0", "/1"]);
    assert!(lab.operations.questions(0).is_empty(), "two are under way");
    assert_eq!(lab.operations.questions(1).len(), 1, "another upstream");
    lab.operations.replied(&questions[0].about, Reply::Runs);
    assert_eq!(lab.ask(Reply::Runs), ["/2"]);
    assert_eq!(lab.ask(Reply::Runs), ["/3"]);
}

#[test]
fn credentials_go_with_the_cap_and_with_their_upstream() {
    let lab = Lab::new();
    lab.operations.begin(0, lab.watched(0));
    lab.operations.keep_credentials_of(&[0, 1]);
    assert!(lab.has_credentials());
    lab.operations.keep_credentials_of(&[1]);
    assert!(!lab.has_credentials());
    lab.operations.begin(0, lab.watched(1));
    lab.clock.advance(CAP);
    lab.operations.sweep();
    assert!(!lab.has_credentials() && lab.operations.open.lock().lapsed.values().all(|o| o.watch.is_none()));
}

#[test]
fn credentials_are_held_up_to_a_bound() {
    let lab = Lab::new();
    for number in 0..=MAX_WATCHED as u32 {
        lab.operations.begin(0, lab.watched(number));
    }
    assert_eq!(lab.operations.open.lock().watched(), MAX_WATCHED);
    assert_eq!(lab.operations.len(), MAX_WATCHED + 1);
}

#[test]
fn a_write_without_an_answer_ends_when_a_list_shows_nothing_and_it_was_given_time() {
    let lab = Lab::new();
    let list = Watch::new(writer(), "/list".to_owned(), lab.clock.now().after(HOLD));
    lab.operations.begin(0, Operation { watch: Some(list), ..lab.nameless() });
    lab.clock.advance(HOLD / 2);
    lab.operations.all_running_told(0, lab.clock.now());
    assert!(lab.ask(Reply::AllKnown).is_empty());
    assert_eq!(lab.settling(), Settling::Open, "a call that was given up may go on");
    lab.clock.advance(HOLD / 2);
    assert!(lab.overtakes(|| assert_eq!(lab.ask(Reply::AllKnown), ["/list"])));
    assert_eq!(lab.settling(), Settling::Lately);
    assert!(!lab.has_credentials());

    let lab = Lab::new();
    lab.operations.begin(0, lab.nameless());
    let left = lab.clock.now();
    lab.clock.advance(HOLD);
    lab.operations.all_running_told(0, left);
    lab.operations.all_running_told(1, lab.clock.now());
    assert_eq!(lab.settling(), Settling::Open, "an older list, and another upstream's");
    assert!(lab.overtakes(|| lab.operations.all_running_told(0, lab.clock.now())));
    assert_eq!(lab.settling(), Settling::Lately);
}

#[test]
fn a_task_that_a_list_shows_is_asked_after_by_its_name() {
    let lab = Lab::new();
    let running = TaskEvent { task: task(3), state: TaskState::Running };
    lab.tell_of(0, task(3), TaskState::Running);
    lab.tell_of(0, task(4), TaskState::Running);
    lab.operations.adopt(0, &[running], &writer(), |_| Some("/3".into()));
    lab.clock.advance(LAST_PACE);
    assert_eq!(lab.ask(Reply::Runs), ["/3"]);
}
