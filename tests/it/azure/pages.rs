//! Pages of a list live and fall together.

use super::super::support::{Ask, Gate, Got, Rig};
use super::arm;

const RULES: &str = r#"
api: azure
match: {case_insensitive: true}
reads:
  - {path: "/subscriptions/{s}/vms", ttl: 30s, stale_while_revalidate: 60s, groups: [vms]}
writes:
  - {methods: [PUT], path: "/subscriptions/{s}/vms/{vm}", invalidates: [vms]}
"#;

const ONE: &str = "/subscriptions/s/vms?api-version=1";
const TWO: &str = "/subscriptions/s/vms?api-version=1&%24skiptoken=two%3d";
const THREE: &str = "/subscriptions/s/vms?api-version=1&%24skiptoken=three%3d";

fn get(rig: &Rig, target: &str) -> Ask {
    rig.get(target).bearer("token")
}

/// A list of three pages.
async fn rig() -> Rig {
    let rig = super::rig(RULES).await;
    for (page, next) in [("api-version=1 ", Some(TWO)), ("two", Some(THREE)), ("three", None)] {
        rig.origin().to(page, "GET /subscriptions/s/vms", reply(page, next));
    }
    rig
}

fn reply(name: &str, next: Option<&str>) -> super::super::support::Reply {
    let next = next.map(|path| format!(r#","nextLink":"https://management.azure.com{path}""#));
    arm(&format!(r#"{{"value":["{name}"]{}}}"#, next.unwrap_or_default()))
}

async fn is_hit(rig: &Rig, target: &str) -> bool {
    let got: Got = get(rig, target).send().await;
    assert_eq!(got.status, 200);
    got.is_hit()
}

async fn read_all(rig: &Rig) {
    for page in [ONE, TWO, THREE] {
        get(rig, page).send().await;
    }
}

#[tokio::test]
async fn all_pages_have_the_deadline_of_the_first() {
    let rig = rig().await;
    is_hit(&rig, ONE).await;
    rig.seconds(20).await;
    is_hit(&rig, TWO).await;
    rig.seconds(5).await;
    is_hit(&rig, THREE).await;
    for page in [ONE, TWO, THREE] {
        assert_eq!(get(&rig, page).send().await.cache(), "hit; ttl=5", "{page}");
    }
    rig.seconds(5).await;
    for page in [TWO, THREE] {
        assert!(!is_hit(&rig, page).await);
        assert!(!is_hit(&rig, page).await, "nor is it kept without the first");
    }
    rig.finish().await;
}

#[tokio::test]
async fn they_fall_when_the_first_is_fetched_again() {
    let rig = rig().await;
    read_all(&rig).await;
    // Whoever asks for it, and also while it is still coming.
    let gate = Gate::new();
    rig.origin().to(
        "api-version=1 ",
        "GET /subscriptions/s/vms",
        reply("new", Some(TWO)).held_in_body(&gate),
    );
    let first = get(&rig, ONE).field("Cache-Control", "no-cache").open().await;
    assert!(!is_hit(&rig, TWO).await);
    gate.open();
    assert_eq!(first.rest().await.status, 200);
    rig.quiet().await;
    // It left after the first page did.
    assert!(is_hit(&rig, TWO).await);
    assert!(!is_hit(&rig, THREE).await);
    assert!(is_hit(&rig, THREE).await);
    rig.seconds(30).await;
    // A refresh behind a stale answer counts too.
    assert_eq!(get(&rig, ONE).send().await.cache(), "hit; ttl=0; detail=stale-while-revalidate");
    rig.quiet().await;
    assert!(is_hit(&rig, ONE).await);
    assert!(!is_hit(&rig, TWO).await);
    assert!(is_hit(&rig, TWO).await);
    rig.finish().await;
}

#[tokio::test]
async fn they_fall_however_the_first_is_written() {
    let rig = rig().await;
    read_all(&rig).await;
    assert!(is_hit(&rig, TWO).await);
    // Other letters make another entry, but the API names the same next page.
    rig.origin().to("api-version=1 ", "GET /subscriptions/S/VMS", reply("other", Some(TWO)));
    assert!(!is_hit(&rig, &ONE.replace("/s/vms", "/S/VMS")).await);
    assert!(!is_hit(&rig, TWO).await, "it is older than the page that names it");
    assert!(is_hit(&rig, TWO).await);
    rig.finish().await;
}

#[tokio::test]
async fn a_page_falls_when_the_one_before_it_is_fetched_again() {
    let rig = rig().await;
    read_all(&rig).await;
    get(&rig, TWO).field("Cache-Control", "no-cache").send().await;
    assert!(is_hit(&rig, ONE).await);
    assert!(is_hit(&rig, TWO).await);
    assert!(!is_hit(&rig, THREE).await);
    assert!(is_hit(&rig, THREE).await);
    rig.finish().await;
}

#[tokio::test]
async fn a_write_overtakes_all_and_what_comes_later_belongs_to_the_new_first_page() {
    let rig = rig().await;
    read_all(&rig).await;
    rig.ask("PUT", "/subscriptions/s/vms/a").bearer("token").body("{}").send().await;
    rig.seconds(10).await;
    for page in [TWO, TWO, THREE, THREE] {
        assert!(!is_hit(&rig, page).await, "{page}");
    }
    read_all(&rig).await;
    for page in [ONE, TWO, THREE] {
        assert!(is_hit(&rig, page).await, "{page}");
    }
    rig.finish().await;
}

#[tokio::test]
async fn a_page_under_way_while_the_first_is_fetched_again_is_not_kept() {
    let rig = rig().await;
    is_hit(&rig, ONE).await;
    let gate = Gate::new();
    rig.origin().to("two", "GET /subscriptions/s/vms", reply("old", Some(THREE)).held(&gate));
    let early = get(&rig, TWO).spawn();
    rig.origin().came("GET /subscriptions/s/vms", 2).await;
    get(&rig, ONE).field("Cache-Control", "no-cache").send().await;
    rig.origin().to("two", "GET /subscriptions/s/vms", reply("new", Some(THREE)));
    assert!(get(&rig, TWO).send().await.text().contains("new"));
    gate.open();
    assert!(early.await.expect("answered").text().contains("old"));
    rig.quiet().await;
    assert!(get(&rig, TWO).send().await.text().contains("new"));
    rig.finish().await;
}

#[tokio::test]
async fn a_page_that_no_other_named_is_not_kept() {
    let rig = rig().await;
    for _ in 0..2 {
        assert!(!is_hit(&rig, TWO).await);
    }
    // What one client was told is nothing for another.
    read_all(&rig).await;
    for _ in 0..2 {
        assert!(!rig.get(TWO).bearer("other").send().await.is_hit());
    }
    assert!(is_hit(&rig, TWO).await);
    rig.finish().await;
}

#[tokio::test]
async fn nobody_joins_a_page_that_left_before_the_one_that_names_it() {
    let rig = rig().await;
    let gate = Gate::new();
    rig.origin().to("two", "GET /subscriptions/s/vms", reply("old", None).held(&gate));
    // Nothing tells which list they mean: neither is for the other.
    let strays = [get(&rig, TWO).spawn(), get(&rig, TWO).spawn()];
    rig.origin().came("GET /subscriptions/s/vms", 2).await;
    rig.origin().to("two", "GET /subscriptions/s/vms", reply("new", None));
    is_hit(&rig, ONE).await;
    assert!(get(&rig, TWO).send().await.text().contains("new"));
    gate.open();
    for stray in strays {
        assert!(stray.await.expect("answered").text().contains("old"));
    }
    assert!(get(&rig, TWO).send().await.text().contains("new"));
    rig.finish().await;
}

#[tokio::test]
async fn a_client_may_write_the_address_anew() {
    let rig = rig().await;
    is_hit(&rig, ONE).await;
    let anew = "/Subscriptions/s/vms?$skipToken=two=&api-version=1";
    assert!(!is_hit(&rig, anew).await);
    assert!(is_hit(&rig, anew).await);
    rig.seconds(30).await;
    assert!(!is_hit(&rig, anew).await);
    rig.finish().await;
}

#[tokio::test]
async fn lists_of_other_queries_fall_by_themselves() {
    let rig = rig().await;
    read_all(&rig).await;
    let filtered = "/subscriptions/s/vms?api-version=1&$filter=x";
    for _ in 0..2 {
        get(&rig, filtered).field("Cache-Control", "no-cache").send().await;
    }
    for page in [ONE, TWO, THREE] {
        assert!(is_hit(&rig, page).await, "{page}");
    }
    rig.finish().await;
}
