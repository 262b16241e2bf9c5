//! Paths that differ in case share what is kept where the rules say so, and each gets the answer of its own
//! spelling.

use super::super::support::{Ask, Gate, Got, Options, Rig, until};
use super::arm;

const RULES: &str = r#"
api: azure
match: {case_insensitive: true, fold_case: true}
reads:
  - {path: "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Compute/disks", ttl: 30s, groups: ["disks"]}
  - path: "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Compute/disks/{disk}"
    ttl: 30s
    groups: ["disks"]
    promote:
      list: "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Compute/disks"
      items: /value
      match: id
  - {path: "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Network/**", ttl: 30s}
writes:
  - {methods: [PUT], path: "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Compute/disks/{d}", invalidates: ["disks"]}
"#;

const GROUPS: [&str; 3] = ["rg-a", "RG-A", "Rg-a"];

fn path(group: &str) -> String {
    format!("/subscriptions/s/resourceGroups/{group}/providers/Microsoft.Compute/disks/d")
}

/// What Compute answers to a request that spells the group so.
fn body(group: &str) -> String {
    let interface = "/subscriptions/s/resourceGroups/RG-A/providers/Microsoft.Network/networkInterfaces/n";
    let filler = "x".repeat(2000);
    format!(
        "{{\"id\":\"{}\",\"nic\":\"{interface}\",\"filler\":\"{filler}\",\"managedBy\":\"{}/v\"}}",
        path(group),
        path(group)
    )
}

fn get(rig: &Rig, group: &str) -> Ask {
    rig.get(&path(group)).bearer("one")
}

async fn rig() -> Rig {
    rig_with("").await
}

async fn rig_with(upstream: &str) -> Rig {
    let rig =
        Rig::with(Options { rules: RULES.into(), upstream: upstream.into(), ..Options::default() }).await;
    for group in GROUPS {
        rig.origin().on(&format!("GET {}", path(group)), arm(&body(group)));
    }
    rig
}

fn calls(rig: &Rig) -> usize {
    rig.origin().calls().len()
}

fn is(got: &Got, group: &str) {
    assert_eq!((got.status, got.text()), (200, &*body(group)), "{}", got.head);
    assert!(got.whole);
}

#[tokio::test]
async fn spellings_share_an_entry_and_each_gets_its_own_ids() {
    let rig = rig().await;
    for first in GROUPS {
        let before = calls(&rig);
        let got = get(&rig, first).send().await;
        assert!(!got.is_hit());
        is(&got, first);
        for group in GROUPS {
            let got = get(&rig, group).field("Accept-Encoding", "identity").send().await;
            assert!(got.is_hit(), "{group} behind {first}: {}", got.cache());
            is(&got, group);
        }
        // Only what was kept as it came has a compressed form.
        let coded = get(&rig, first).field("Accept-Encoding", "gzip").send().await;
        assert_eq!(coded.field("content-encoding"), Some("gzip"));
        for group in GROUPS.into_iter().filter(|group| *group != first) {
            is(&get(&rig, group).field("Accept-Encoding", "gzip").send().await, group);
        }
        assert_eq!(calls(&rig), before + 1);
        rig.seconds(30).await;
    }
    // Another way to write the same path is another text.
    assert!(!rig.get(&path("rg%2Da")).bearer("one").send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn what_is_still_coming_is_for_one_spelling() {
    let rig = rig().await;
    get(&rig, "rg-a").send().await;
    rig.seconds(30).await;
    let gate = Gate::new();
    for group in GROUPS {
        rig.origin().on(&format!("GET {}", path(group)), arm(&body(group)).held_in_body(&gate));
    }
    let waiting: Vec<_> = GROUPS
        .iter()
        .flat_map(|group| [group, group])
        .map(|group| (group, get(&rig, group).spawn()))
        .collect();
    rig.waiting(6).await;
    rig.origin().came(&format!("GET {}", path("rg-a")), 2).await;
    for group in &GROUPS[1..] {
        rig.origin().came(&format!("GET {}", path(group)), 1).await;
    }
    assert_eq!(calls(&rig), 1 + 3, "one for each");
    gate.open();
    for (group, task) in waiting {
        is(&task.await.expect("answered"), group);
    }
    rig.quiet().await;
    for group in GROUPS {
        let got = get(&rig, group).send().await;
        assert!(got.is_hit());
        is(&got, group);
    }
    rig.finish().await;
}

#[tokio::test]
async fn a_write_in_one_spelling_overtakes_all() {
    let rig = rig().await;
    get(&rig, "rg-a").send().await;
    assert!(get(&rig, "RG-A").send().await.is_hit());
    rig.ask("PUT", &path("Rg-a")).bearer("one").body("{}").send().await;
    for group in ["rg-a", "RG-A"] {
        let got = get(&rig, group).send().await;
        assert!(!got.is_hit());
        rig.seconds(2).await;
    }
    rig.finish().await;
}

#[tokio::test]
async fn one_spelling_is_no_change_to_an_audit_of_another() {
    let rig = rig_with("audit: 100%").await;
    get(&rig, "RG-A").send().await;
    for group in GROUPS {
        is(&get(&rig, group).send().await, group);
        until("no audit under way", || rig.app.sites().all()[0].audits_running() == 0).await;
    }
    assert_eq!(rig.counter_of("forebay_audits_total", "result=\"same\""), 3);
    assert_eq!(rig.origin().count(&format!("GET {}", path("RG-A"))), 4, "each asks as what is kept did");
    rig.finish().await;
}

#[tokio::test]
async fn a_list_in_one_spelling_tells_of_items_in_all() {
    let rig = rig().await;
    let list = |group: &str| path(group).trim_end_matches("/d").to_owned();
    let told = arm(&format!("{{\"value\":[{}]}}", body("RG-A")));
    rig.origin().on(&format!("GET {}", list("RG-A")), told);
    let version = "?api-version=1";
    let got = rig.get(&format!("{}{version}", list("RG-A"))).bearer("one").send().await;
    assert_eq!(got.status, 200);
    for group in GROUPS {
        let got = rig.get(&format!("{}{version}", path(group))).bearer("one").send().await;
        assert!(got.is_hit(), "{group}: {}", got.cache());
        is(&got, group);
    }
    rig.finish().await;
}

#[tokio::test]
async fn providers_that_answer_one_spelling_answer_it_here_too() {
    let rig = rig().await;
    let path = |group: &str| {
        format!("/subscriptions/s/resourceGroups/{group}/providers/Microsoft.Network/networkInterfaces/n")
    };
    let body = format!("{{\"id\":\"{}\"}}", path("rg-a"));
    for group in GROUPS {
        rig.origin().on(&format!("GET {}", path(group)), arm(&body));
        let got = rig.get(&path(group)).bearer("one").send().await;
        assert_eq!((got.is_hit(), got.text()), (group != "rg-a", &*body), "{group}");
    }
    rig.finish().await;
}
