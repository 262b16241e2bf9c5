//! Ten times what ARM allows, at the buckets of the simulated ARM itself: they say whether they were overdrawn.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use forebay::sim::azure::{self, Role, SECOND_SUBSCRIPTION, SUBSCRIPTION, Sim, SimConfig, Throttle};
use tokio::task::JoinSet;

use super::super::support::{Ask, Got, Rig};
use super::rig;

/// How long the load lasts, and how often it comes.
const ROUNDS: u32 = 15;
const ROUND: Duration = Duration::from_millis(200);

/// The part of ARM's quota that there is, and what forebay is told to keep to: four fifths of that.
const PART: f64 = 0.1;
const LINES: &str = "quota: 8%\nqueue: {wait: 2s}\nconcurrency: 32\nretry: {attempts: 1}\n";

const VERSION: &str = "api-version=2024-07-01";

/// What one call came to: an answer of ARM's, or a 429 that its client can use.
fn outcome(got: &Got) -> &'static str {
    match got.status {
        200..300 => "answer",
        429 => {
            // ARM's own says why it failed; none may come.
            assert!(got.cache().starts_with("detail="), "a refusal of ARM's own: {}", got.head);
            let seconds = got.field("retry-after").expect("says when").parse::<u64>().expect("whole seconds");
            assert!((1..=60).contains(&seconds), "{}", got.head);
            let body: serde_json::Value = serde_json::from_slice(&got.body).expect("JSON");
            assert_eq!(body["error"]["code"], "TooManyRequests");
            assert!(body["error"]["message"].is_string(), "{body}");
            "429"
        }
        other => panic!("{other}: {} {}", got.head, got.text()),
    }
}

/// A caller: its name, its object, its token.
struct Caller {
    name: &'static str,
    object: String,
    token: String,
}

/// The simulated ARM with a share of its quota, two subscriptions, and two who may write in both.
async fn simulated() -> (Sim, [Caller; 2]) {
    let config = SimConfig {
        throttle: Throttle::Refuse,
        quota: PART,
        second_subscription: true,
        task_time: Duration::from_secs(3_600),
        ..SimConfig::default()
    };
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let sim = Sim::start(config, any).await.expect("a free port");
    let other = sim.add_principal("other", Role::Contributor, "");
    let caller = |name, object: &str, client: &str| {
        let token = sim.token(client);
        Caller { name, object: object.to_owned(), token }
    };
    let callers = [
        caller("admin", azure::ADMIN_OBJECT_ID, azure::ADMIN_CLIENT_ID),
        caller("other", &other.object_id, &other.client_id),
    ];
    (sim, callers)
}

/// The address of an operation that goes on for long, in each subscription: a group that is being deleted.
async fn operation(sim: &Sim, subscription: &str) -> String {
    let group = format!("/subscriptions/{subscription}/resourceGroups/rg-gone");
    let body = serde_json::json!({ "location": "eastus" });
    sim.change_behind("PUT", &format!("{group}?{VERSION}"), body).expect("a group");
    let stop = Ask::new(sim.address(), "DELETE", &format!("{group}?{VERSION}"));
    let got = stop.bearer(&sim.token(azure::ADMIN_CLIENT_ID)).send().await;
    let address = got.field("location").unwrap_or_else(|| panic!("{}", got.head));
    let behind = address.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
    behind.expect("an absolute address").to_owned()
}

fn start(calls: &mut JoinSet<(String, &'static str)>, class: String, ask: Ask) {
    calls.spawn(async move { (class, outcome(&ask.send().await)) });
}

/// Sends the load and gives what every call came to, by class and outcome.
async fn load(
    rig: &Rig,
    callers: &[Caller; 2],
    polls: &[(&str, String); 2],
) -> BTreeMap<(String, &'static str), u32> {
    let mut calls = JoinSet::new();
    for round in 0..ROUNDS {
        for who in callers {
            for (subscription, operation) in polls {
                let at = |path: String| format!("/subscriptions/{subscription}{path}");
                let ask = |method: &str, path: String| rig.ask(method, &path).bearer(&who.token);
                let class = |kind: &str| format!("{subscription}/{}/{kind}", who.name);
                for read in 0..5 {
                    let path = at(format!("/resourceGroups?{VERSION}&$top={}", round * 5 + read + 1));
                    start(&mut calls, class("reads"), ask("GET", path));
                }
                for write in 0..2 {
                    let name = format!("{}-{round}-{write}", who.name);
                    let group = at(format!("/resourceGroups/made-{name}?{VERSION}"));
                    let body = r#"{"location":"eastus"}"#;
                    let json = ("Content-Type", "application/json");
                    start(&mut calls, class("writes"), ask("PUT", group).field(json.0, json.1).body(body));
                    let group = if *subscription == SUBSCRIPTION { "rg-alpha" } else { "rg-gamma" };
                    let table = format!("/providers/Microsoft.Network/routeTables/{name}?{VERSION}");
                    let table = at(format!("/resourceGroups/{group}{table}"));
                    start(&mut calls, class("deletes"), ask("DELETE", table));
                }
                start(&mut calls, class("polls"), ask("GET", operation.clone()));
                // Everybody looks after the same machine.
                if *subscription == SUBSCRIPTION {
                    let machine =
                        "/resourceGroups/rg-alpha/providers/Microsoft.Compute/virtualMachines/web-01";
                    start(&mut calls, class("machine"), ask("GET", at(format!("{machine}?{VERSION}"))));
                }
            }
        }
        rig.advance(ROUND).await;
        tokio::task::yield_now().await;
    }
    let mut ended: BTreeMap<(String, &'static str), u32> = BTreeMap::new();
    while !calls.is_empty() {
        while let Some(call) = calls.try_join_next() {
            *ended.entry(call.expect("no client fails")).or_default() += 1;
        }
        rig.advance(Duration::from_millis(20)).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    ended
}

#[tokio::test]
async fn the_buckets_of_the_simulated_api_are_never_overdrawn_and_nobody_starves() {
    let (sim, callers) = simulated().await;
    let polls = [
        (SUBSCRIPTION, operation(&sim, SUBSCRIPTION).await),
        (SECOND_SUBSCRIPTION, operation(&sim, SECOND_SUBSCRIPTION).await),
    ];
    let before = sim.calls();
    let rig = rig(LINES, vec![format!("http://{}", sim.address())]).await;
    for who in &callers {
        let got = rig.get(&format!("/tenants?{VERSION}")).bearer(&who.token).send().await;
        assert_eq!(got.status, 200, "{}", got.head);
    }
    let ended = load(&rig, &callers, &polls).await;
    let total: u32 = ended.values().sum();
    assert_eq!(total, ROUNDS * (4 * 10 + 2), "every client has its answer");

    assert_eq!(sim.overdrawn(), [], "{ended:#?}");
    let taken = |name: &str| sim.buckets().iter().find(|one| one.name == name).map_or(0, |one| one.taken);
    for who in &callers {
        for (subscription, _) in &polls {
            // What is there at once, less what came before there was anything to know, and a little refill.
            for (kind, least) in [("reads", 20), ("writes", 16), ("deletes", 16)] {
                let name = format!("arm-sub/{subscription}/{}/{kind}", who.object);
                assert!(taken(&name) >= least, "{name}: {} of {ended:#?}", taken(&name));
            }
            let class = |kind: &str| (format!("{subscription}/{}/{kind}", who.name), "answer");
            let answers = |kind: &str| ended.get(&class(kind)).copied().unwrap_or(0);
            // A sixth of the reads are polls, and get more than half of what there is.
            assert!(answers("polls") >= 8, "{ended:#?}");
            assert!(answers("reads") >= 8, "{ended:#?}");
            assert!(answers("writes") >= 14 && answers("deletes") >= 14, "{ended:#?}");
        }
    }
    // One machine has two tokens by the policy of its provider, whoever asks.
    let machine =
        |who: &Caller| ended.get(&(format!("{SUBSCRIPTION}/{}/machine", who.name), "answer")).copied();
    let machines: u32 = callers.iter().filter_map(machine).sum();
    assert!(machines >= 1, "{ended:#?}");
    let refused = ended.iter().filter(|((_, outcome), _)| *outcome == "429");
    let refused: u32 = refused.map(|(_, count)| count).sum();
    assert!(refused > total / 3, "it was much too much: {ended:#?}");
    rig.finish_with(|| sim.calls() - before).await;
    sim.stop().await;
}
