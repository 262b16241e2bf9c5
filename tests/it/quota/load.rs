//! Ten times what the API allows, from several principals for several subscriptions.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;

use super::super::support::{Ask, Got};
use super::model::Model;
use super::{rig, token};

/// How long the load lasts, and how often it comes.
const ROUNDS: u32 = 15;
const ROUND: Duration = Duration::from_millis(200);

/// What one call came to: its answer, or a 429 that its client can use.
fn outcome(got: &Got) -> &'static str {
    match got.status {
        200 => "answer",
        429 => {
            let seconds = got.field("retry-after").expect("says when").parse::<u64>().expect("whole seconds");
            assert!((1..=60).contains(&seconds), "{}", got.head);
            let body: serde_json::Value = serde_json::from_slice(&got.body).expect("JSON");
            assert_eq!(body["error"]["code"], "TooManyRequests", "one of forebay's own");
            "429"
        }
        other => panic!("{other}: {}", got.head),
    }
}

/// The buckets here are a tenth of ARM's, and forebay is told to keep to four fifths of that.
#[tokio::test]
async fn ten_times_the_quota_overdraws_nothing_and_starves_nobody() {
    let model = Model::start(0.1).await;
    let lines = "quota: 8%\nqueue: {wait: 2s}\nconcurrency: 32\nretry: {attempts: 1}\n";
    let rig = rig(lines, vec![model.url.clone()]).await;
    let principals = ["a", "b"];
    for who in principals {
        let got = rig.get("/tenants").bearer(&token(who)).send().await;
        assert_eq!(got.status, 200, "{}", got.head);
    }
    let mut calls: JoinSet<(String, &'static str)> = JoinSet::new();
    let start = |calls: &mut JoinSet<_>, class: String, ask: Ask| {
        calls.spawn(async move { (class, outcome(&ask.send().await)) });
    };
    for round in 0..ROUNDS {
        for who in principals {
            for sub in ["s1", "s2"] {
                let at = |path: String| format!("/subscriptions/{sub}/resourceGroups/g{path}");
                let ask = |method: &str, path: String| rig.ask(method, &at(path)).bearer(&token(who));
                let class = |kind: &str| format!("{sub}/{who}/{kind}");
                for read in 0..5 {
                    start(&mut calls, class("reads"), ask("GET", format!("/x/{round}-{read}")));
                }
                for write in 0..2 {
                    let (path, body) = (format!("/x/{round}-{write}"), "{}");
                    start(&mut calls, class("writes"), ask("PUT", path.clone()).body(body));
                    start(&mut calls, class("deletes"), ask("DELETE", path));
                }
                let operation = format!("/providers/Microsoft.Compute/locations/x/operations/{round}");
                start(&mut calls, class("polls"), ask("GET", operation));
                // Everybody looks after the same machine.
                let machine = "/providers/Microsoft.Compute/virtualMachines/vm1".to_owned();
                start(&mut calls, class("machine"), ask("GET", machine));
            }
        }
        rig.advance(ROUND).await;
        tokio::task::yield_now().await;
    }
    let mut ended: BTreeMap<(String, &str), u32> = BTreeMap::new();
    while !calls.is_empty() {
        while let Some(call) = calls.try_join_next() {
            *ended.entry(call.expect("no client fails")).or_default() += 1;
        }
        rig.advance(Duration::from_millis(20)).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let total: u32 = ended.values().sum();
    assert_eq!(total, ROUNDS * 4 * 11, "every client has its answer");

    let levels = model.levels();
    for (name, level) in &levels {
        assert_eq!(level.refused, 0, "{name} was overdrawn: {level:?}");
    }
    for who in principals {
        for sub in ["s1", "s2"] {
            // What is there at once, less what came before there was anything to know, and a little refill.
            for (kind, least) in [("reads", 20), ("writes", 16), ("deletes", 16)] {
                let passed = levels[&format!("{sub}/{who}/{kind}")].passed;
                assert!(passed >= least, "{sub}/{who}/{kind}: {passed} of {ended:#?}");
            }
            let answers = |kind: &str| ended.get(&(format!("{sub}/{who}/{kind}"), "answer")).copied();
            // A sixth of the reads are polls, and get more than half of what there is.
            assert!(answers("polls").unwrap_or(0) >= 8, "{ended:#?}");
            assert!(answers("reads").unwrap_or(0) >= 10, "{ended:#?}");
        }
    }
    let refused: u32 =
        ended.iter().filter(|((_, outcome), _)| *outcome == "429").map(|(_, count)| count).sum();
    assert!(refused > total / 3, "it was much too much: {ended:#?}");
    rig.finish_with(|| model.calls()).await;
}
