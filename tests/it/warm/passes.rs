//! The quick pass and the full one: neither holds up the other, and what is said of them.

use std::time::Duration;

use serde_json::Value;

use super::{PATH, WARM, admin, changing, kept, pass, rig, rig_with};
use crate::support::{Gate, Options, RULES, Reply, Rig, until};

const RECENTLY: Duration = Duration::from_secs(5);

/// Another one beside [`PATH`].
fn other(number: usize) -> String {
    format!("/api2/json/warm/other{number}")
}

/// `others` answer the same as ever from now on, when `gate` is open.
fn quiet(rig: &Rig, others: usize, gate: &Gate) {
    for number in 0..others {
        rig.origin().on(&format!("GET {}", other(number)), Reply::body("{\"data\":1}").held(gate));
    }
}

/// Something that changes, and `others` that have been found not to.
async fn both(rig: &Rig, others: usize) {
    changing(rig);
    let open = Gate::new();
    open.open();
    quiet(rig, others, &open);
    rig.warm(PATH).await;
    for number in 0..others {
        rig.warm(&other(number)).await;
    }
    pass(rig, 26).await;
    assert_eq!((kept(rig).quick.members, kept(rig).full.members), (1, others));
}

fn asked(rig: &Rig, others: usize) -> usize {
    (0..others).map(|number| rig.origin().count(&format!("GET {}", other(number)))).sum()
}

/// Lets a second pass, with all that comes of it but for what is held: so many fetches.
async fn second(rig: &Rig, held: usize) {
    for _ in 0..2 {
        rig.advance(Duration::from_millis(500)).await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        until("nothing but what is held", || kept(rig).running == held).await;
    }
}

async fn stats(rig: &Rig) -> Value {
    admin(rig, "GET", "/api/sync/stats").await["upstreams"][0].clone()
}

#[tokio::test]
async fn a_full_pass_that_hangs_does_not_delay_the_quick_one() {
    let rig = rig().await;
    both(&rig, 8).await;
    let (before, gate) = (asked(&rig, 8), Gate::new());
    quiet(&rig, 8, &gate);
    assert_eq!(admin(&rig, "POST", "/api/sync/trigger").await["triggered"], 9);
    rig.pass_until("two of the full pass", || asked(&rig, 8) == before + 2).await;
    for after in 0..25 {
        second(&rig, 2).await;
        assert!(rig.get(PATH).send().await.is_hit(), "after {after} s");
    }
    assert_eq!(asked(&rig, 8), before + 2);
    let during = stats(&rig).await;
    assert!(during["last_quick_pass_seconds"].as_f64().is_some_and(|ago| ago < 10.0), "{during}");
    assert!(during["last_full_pass_seconds"].as_f64().is_none_or(|ago| ago > 25.0), "{during}");
    assert_eq!(during["running"], true);
    gate.open();
    let is_done =
        || asked(&rig, 8) >= before + 8 && kept(&rig).full.complete.is_some_and(|ago| ago < RECENTLY);
    rig.pass_until("the rest of it", is_done).await;
    rig.finish().await;
}

#[tokio::test]
async fn a_quick_pass_that_hangs_leaves_the_full_one_its_place() {
    let rig = rig().await;
    both(&rig, 3).await;
    let gate = Gate::new();
    let hanging = |number: usize| format!("/api2/json/warm/new{number}");
    for number in 0..6 {
        rig.warm(&hanging(number)).await;
        rig.origin().on(&format!("GET {}", hanging(number)), Reply::numbered().held(&gate));
    }
    let before = asked(&rig, 3);
    admin(&rig, "POST", "/api/sync/trigger").await;
    rig.pass_until("all of the full pass", || asked(&rig, 3) == before + 3).await;
    until("the end of it", || kept(&rig).running == 3).await;
    assert_eq!(kept(&rig).quick.members, 7);
    gate.open();
    rig.finish().await;
}

#[tokio::test]
async fn the_full_pass_stands_behind_the_quick_one_in_line_too() {
    let rig = rig_with("concurrency: 1").await;
    both(&rig, 2).await;
    let (before, gate) = (asked(&rig, 2), Gate::new());
    quiet(&rig, 2, &gate);
    admin(&rig, "POST", "/api/sync/trigger").await;
    rig.pass_until("one of the full pass", || asked(&rig, 2) == before + 1).await;
    rig.pass_until("both, and the quick one", || kept(&rig).running == 3).await;
    let calls = rig.origin().calls().len();
    gate.open();
    rig.pass_until("all of them", || rig.origin().calls().len() >= calls + 2).await;
    assert_eq!(rig.origin().calls()[calls].target, PATH, "it came last and is served first");
    rig.finish().await;
}

#[tokio::test]
async fn a_pass_that_does_not_come_round_is_an_issue() {
    let rig = rig_with("timeouts: {first_byte: 10m}").await;
    let gate = Gate::new();
    for number in 0..4 {
        rig.warm(&other(number)).await;
    }
    quiet(&rig, 4, &gate);
    rig.pass_until("those that hang", || kept(&rig).running == 3).await;
    assert_eq!(admin(&rig, "GET", "/api/sync/health").await["healthy"], true);
    rig.seconds(140).await;
    let health = admin(&rig, "GET", "/api/sync/health").await;
    assert_eq!(health["healthy"], false);
    let issue = health["issues"][0].as_str().expect("words");
    assert!(issue.starts_with("lab: the quick pass is behind: what is next has been due for 1"), "{issue}");
    gate.open();
    rig.pass_until("the end of it", || kept(&rig).issues.is_empty()).await;
    rig.finish().await;
}

#[tokio::test]
async fn nothing_of_an_api_that_is_not_there_any_more_is_kept() {
    let rules = RULES.replacen("\nwrites:\n", WARM, 1);
    let rig = Rig::with(Options { rules, endpoints: 2, ..Options::default() }).await;
    let file = rig.directory.path().join("forebay.yaml");
    let both = std::fs::read_to_string(&file).expect("readable");
    let endpoint = |number: usize| format!("http://{}", rig.origins[number].address);
    let endpoints = format!("endpoints: [{}, {}]", endpoint(0), endpoint(1));
    let only = |number| both.replace(&endpoints, &format!("endpoints: [{}]", endpoint(number)));
    let reload = async |text: String| {
        std::fs::write(&file, text).expect("writable");
        rig.app.reload_file().await.expect("a good file");
    };
    reload(only(0)).await;
    rig.warm(PATH).await;
    let kept = || rig.app.shared().registry.render().contains("\nforebay_warm_entries 1\n");
    assert!(kept());
    // The first one stays, so it is the same API.
    reload(both.clone()).await;
    pass(&rig, 1).await;
    assert!(kept());
    reload(only(0)).await;
    reload(only(1)).await;
    rig.pass_until("that it is gone", || !kept()).await;
    rig.finish().await;
}
