//! Several reads of one list's items become one of the list, and nobody sees what a read of the item itself
//! would not have shown.

use std::time::Duration;

use forebay::proxy::{Manner, Purge, purge};

use super::super::support::{Ask, Gate, Got, Options, Reply, Rig};
use super::arm;

const RULES: &str = r#"
api: azure
match: {case_insensitive: true}
reads:
  - path: "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Network/networkInterfaces/{nic}"
    ttl: 30s
    groups: ["nics/{s}"]
    unless: {json: "/**/provisioningState", other_than: [Succeeded]}
    promote:
      list: "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Network/networkInterfaces"
      items: /value
      match: id
  - path: "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Network/networkInterfaces"
    ttl: 20s
    groups: ["nics/{s}"]
  - {path: "/subscriptions/{s}/vms", ttl: 30s}
writes:
  - methods: [PUT]
    path: "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Network/networkInterfaces/{nic}"
    invalidates: ["nics/{s}"]
"#;

const LIST: &str = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/networkInterfaces";

const VERSION: &str = "?api-version=1";

fn get(rig: &Rig, item: &str) -> Ask {
    rig.get(&format!("{LIST}/{item}{VERSION}")).bearer("reader")
}

async fn read(rig: &Rig, item: &str) -> Got {
    get(rig, item).send().await
}

/// An item's text in a list, as no JSON library would write it.
fn item(name: &str, more: &str) -> String {
    format!(
        "{{ \"name\": \"{name}\",\r\n \"id\":\"{LIST}/{name}\", \"etag\":\"W/\\\"{name}\\\"\"{more},\"x\": 1.50 }}"
    )
}

fn listed(items: &[String], next: Option<&str>) -> Reply {
    let next = next.map(|next| format!(",\"nextLink\":\"{next}\"")).unwrap_or_default();
    arm(&format!("{{\"value\":[{}]{next}}}", items.join(" , ")))
        .field("x-ms-original-request-ids", "[1,2]")
        .field("ETag", "\"the list's\"")
}

fn single(name: &str) -> Reply {
    arm(&format!("{{\"name\":\"{name}\",\"from\":\"alone\"}}"))
}

/// Forebay in front of four items, with the reader accepted.
async fn rig_with(options: Options) -> Rig {
    let rig = Rig::with(Options { rules: RULES.into(), ..options }).await;
    for name in ["a", "b", "c", "d"] {
        rig.origin().on(&format!("GET {LIST}/{name}"), single(name));
    }
    let all = ["a", "b", "c", "d"].map(|name| item(name, ""));
    rig.origin().on(&format!("GET {LIST}"), listed(&all, None));
    rig.origin().on("GET /subscriptions/s/vms", arm("{}"));
    assert_eq!(rig.get("/subscriptions/s/vms").bearer("reader").send().await.status, 200);
    rig
}

async fn rig() -> Rig {
    rig_with(Options::default()).await
}

fn lists(rig: &Rig) -> usize {
    rig.origin().count(&format!("GET {LIST}"))
}

fn alone(rig: &Rig) -> usize {
    ["a", "b", "c", "d"].iter().map(|name| rig.origin().count(&format!("GET {LIST}/{name}"))).sum()
}

fn is_alone(got: &Got) -> bool {
    got.text().contains("alone")
}

#[tokio::test]
async fn the_second_reads_the_list_and_all_others_come_from_it() {
    let rig = rig().await;
    let first = read(&rig, "a").await;
    assert_eq!((first.cache(), is_alone(&first)), ("fwd=uri-miss; stored", true));
    let second = read(&rig, "b").await;
    assert_eq!(second.cache(), "fwd=uri-miss; stored; detail=promoted");
    assert_eq!(second.text(), item("b", ""), "byte for byte");
    for (name, expected) in [
        ("content-type", Some("application/json; charset=utf-8")),
        ("etag", Some("W/\"b\"")),
        ("age", Some("0")),
        ("x-ms-original-request-ids", None),
    ] {
        assert_eq!(second.field(name), expected, "{name}");
    }
    let numbers =
        [&second, &read(&rig, "c").await].map(|got| got.field("x-ms-request-id").map(str::to_owned));
    assert!(numbers[0].is_some() && numbers[0] != numbers[1], "{numbers:?}");
    rig.seconds(7).await;
    for name in ["a", "c", "d"] {
        let got = read(&rig, name).await;
        assert_eq!((got.cache(), got.field("age")), ("hit; ttl=23", Some("7")), "{name}");
        assert_eq!(got.text(), item(name, ""));
    }
    assert_eq!((lists(&rig), alone(&rig)), (1, 1));
    assert_eq!(rig.counter_of("forebay_upstream_requests_total", "cause=\"promote\""), 1);
    assert_eq!(rig.counter_of("forebay_requests_total", "outcome=\"promoted\""), 1);
    let call = rig.origin().last(&format!("GET {LIST}"));
    assert_eq!(
        (&*call.target, call.field("authorization")),
        (&*format!("{LIST}{VERSION}"), Some("Bearer reader"))
    );
    // Their time is the list's.
    rig.seconds(23).await;
    assert!(is_alone(&read(&rig, "c").await), "one alone is read alone");
    rig.finish().await;
}

#[tokio::test]
async fn an_answer_that_names_several_speaks_for_their_list() {
    let rig = rig().await;
    let names = |names: &[&str]| {
        let ids: Vec<String> = names.iter().map(|name| format!("{{\"id\":\"{LIST}/{name}\"}}")).collect();
        arm(&format!("{{\"value\":[{}]}}", ids.join(",")))
    };
    for (named, promotes) in [(&["a", "a"][..], false), (&["a", "b"], true)] {
        rig.origin().on("GET /subscriptions/s/vms", names(named));
        rig.seconds(61).await;
        rig.get("/subscriptions/s/vms").bearer("reader").send().await;
        assert_eq!(read(&rig, "c").await.cache().ends_with("promoted"), promotes, "{named:?}");
    }
    // It was told to this caller alone, and counts for a minute.
    rig.get("/subscriptions/s/vms?x").bearer("other").send().await;
    rig.seconds(61).await;
    assert!(is_alone(&read(&rig, "c").await));
    rig.finish().await;
}

#[tokio::test]
async fn those_who_come_together_wait_for_one_list() {
    let rig = rig().await;
    let gate = Gate::new();
    let all = ["a", "b", "c", "d"].map(|name| item(name, ""));
    rig.origin().on(&format!("GET {LIST}"), listed(&all, None).held(&gate));
    read(&rig, "a").await;
    let waiting: Vec<_> = ["b", "c", "d", "d"].map(|name| get(&rig, name).spawn()).into();
    rig.origin().came(&format!("GET {LIST}"), 1).await;
    // Others than those of the list do not wait for it.
    assert!(read(&rig, "a").await.is_hit());
    gate.open();
    let mut collapsed = 0;
    for task in waiting {
        let got = task.await.expect("answered");
        assert!(got.cache().ends_with("detail=promoted") && !is_alone(&got), "{}", got.cache());
        collapsed += usize::from(got.cache().contains("collapsed"));
    }
    assert_eq!((lists(&rig), alone(&rig), collapsed), (1, 1, 3));
    rig.finish().await;
}

#[tokio::test]
async fn a_list_that_a_client_read_tells_of_its_items() {
    let rig = rig().await;
    let list = |query: &str| rig.get(&format!("{LIST}{query}")).bearer("reader").send();
    for query in ["", "?api-version=2", "?api-version=1&$filter=x", "?api-version=1&$expand=x"] {
        list(query).await;
        let got = read(&rig, "a").await;
        assert!(is_alone(&got) && !got.is_hit(), "{query}");
        rig.seconds(31).await;
    }
    list("?API-version=1").await;
    let calls = rig.origin().calls().len();
    for name in ["a", "b", "c", "d"] {
        let got = read(&rig, name).await;
        assert!(got.is_hit() && !is_alone(&got), "{name}");
    }
    // In German it would be another answer.
    assert!(!get(&rig, "a").field("Accept-Language", "de").send().await.is_hit());
    assert_eq!(rig.origin().calls().len(), calls + 1);
    rig.finish().await;
}

#[tokio::test]
async fn who_may_not_list_reads_alone_and_the_list_is_left_alone() {
    let rig = rig().await;
    for (status, reason, pause) in
        [(403, "Forbidden", 300), (404, "Not Found", 300), (503, "Unavailable", 10)]
    {
        let before = lists(&rig);
        rig.origin().on(&format!("GET {LIST}"), Reply::status(status, reason));
        for name in ["a", "b", "c", "d"] {
            let got = read(&rig, name).await;
            assert!(got.status == 200 && is_alone(&got), "{status}: {name}");
        }
        let tried = lists(&rig) - before;
        assert!(tried >= 1, "{status}");
        rig.seconds(pause - 1).await;
        for name in ["a", "b"] {
            read(&rig, name).await;
        }
        assert_eq!(lists(&rig) - before, tried, "{status}");
        rig.seconds(301).await;
    }
    let all = ["a", "b", "c", "d"].map(|name| item(name, ""));
    rig.origin().on(&format!("GET {LIST}"), listed(&all, None));
    read(&rig, "a").await;
    assert!(!is_alone(&read(&rig, "b").await));
    rig.finish().await;
}

#[tokio::test]
async fn an_incomplete_list_tells_nothing() {
    let regional = format!("https://eastus.management.azure.com{LIST}?api-version=1&$skiptoken=2");
    let some = [item("a", ""), item("b", "")];
    let long = "z".repeat(1 << 20);
    let too_many: Vec<String> =
        (0..1001).map(|number| item(&format!("n{number}"), "")).chain(some.clone()).collect();
    for (what, reply) in [
        ("a page in a region", listed(&some, Some(&regional))),
        ("a page that nobody can ask for", listed(&some, Some("/relative"))),
        ("cut", listed(&some, None).cut()),
        ("up to the connection's end", listed(&some, None).closed()),
        ("no list", arm(&some[1])),
        ("too large", listed(&[item("a", ""), item("b", &format!(",\"l\":\"{long}\""))], None)),
        (
            "too large, and no length",
            listed(&[item("a", ""), item("b", &format!(",\"l\":\"{long}\""))], None).chunked(),
        ),
        ("too many", listed(&too_many, None)),
        ("not to be stored", listed(&some, None).field("Cache-Control", "no-store")),
    ] {
        let rig = rig().await;
        rig.origin().on(&format!("GET {LIST}"), reply);
        read(&rig, "a").await;
        for name in ["b", "b", "a"] {
            assert!(is_alone(&read(&rig, name).await), "{what}: {name}");
        }
        assert!(lists(&rig) >= 1, "{what}");
        rig.finish().await;
    }
}

#[tokio::test]
async fn pages_are_followed_as_far_as_they_are_worth_it() {
    let page =
        |number: usize| format!("https://management.azure.com{LIST}?api-version=1&$skiptoken={number}x");
    for (pages, told) in [(2, true), (4, true), (5, false)] {
        let rig = rig().await;
        for number in 1..=pages {
            let items = match number {
                1 => vec![item("a", ""), item("b", "")],
                _ => vec![item(&format!("p{number}"), "")],
            };
            let next = (number < pages).then(|| page(number + 1));
            let reply = listed(&items, next.as_deref());
            let part = if number == 1 { "version=1 ".to_owned() } else { format!("skiptoken={number}x") };
            rig.origin().to(&part, &format!("GET {LIST}"), reply);
        }
        read(&rig, "a").await;
        let got = read(&rig, "b").await;
        assert_eq!(is_alone(&got), !told, "{pages}: {}", got.cache());
        assert_eq!(lists(&rig), pages.min(4));
        if told {
            let last = read(&rig, &format!("p{pages}")).await;
            assert!(last.is_hit(), "{pages}: {}", last.cache());
            // They fall with any of the pages.
            rig.get(&format!("{LIST}{VERSION}"))
                .bearer("reader")
                .field("Cache-Control", "no-cache")
                .send()
                .await;
            assert!(!read(&rig, &format!("p{pages}")).await.is_hit());
        }
        rig.finish().await;
    }
}

#[tokio::test]
async fn a_write_while_the_list_is_under_way_leaves_nothing_of_before() {
    let rig = rig().await;
    let gate = Gate::new();
    let all = ["a", "b", "c", "d"].map(|name| item(name, ",\"state\":\"before\""));
    rig.origin().on(&format!("GET {LIST}"), listed(&all, None).held_in_body(&gate));
    read(&rig, "a").await;
    let waiting = get(&rig, "b").spawn();
    rig.origin().came(&format!("GET {LIST}"), 1).await;
    let write = rig.ask("PUT", &format!("{LIST}/b{VERSION}")).bearer("writer").body("{}").send().await;
    assert_eq!(write.status, 200);
    // Whoever comes now does not wait for what left before.
    assert!(is_alone(&read(&rig, "b").await));
    assert!(is_alone(&read(&rig, "c").await), "of the same group");
    gate.open();
    assert!(is_alone(&waiting.await.expect("answered")));
    rig.quiet().await;
    for name in ["b", "c", "d"] {
        assert!(is_alone(&read(&rig, name).await), "{name}");
    }
    assert_eq!(lists(&rig), 1);
    rig.finish().await;
}

#[tokio::test]
async fn what_was_written_lately_is_read_alone_while_lists_may_lag() {
    let rig = rig().await;
    let write = rig.ask("PUT", &format!("{LIST}/b{VERSION}")).bearer("writer").body("{}").send().await;
    assert_eq!(write.status, 200);
    for wait in [10, 40] {
        rig.seconds(wait).await;
        // A list that somebody reads meanwhile tells nothing either.
        rig.get(&format!("{LIST}{VERSION}")).bearer("reader").field("Cache-Control", "no-cache").send().await;
        for name in ["a", "b", "c"] {
            assert!(is_alone(&read(&rig, name).await), "{name}");
        }
    }
    rig.seconds(61).await;
    read(&rig, "a").await;
    assert!(!is_alone(&read(&rig, "b").await));
    rig.finish().await;
}

#[tokio::test]
async fn whoever_writes_reads_alone() {
    let rig = rig().await;
    let ask = |name: &str| rig.get(&format!("{LIST}/{name}{VERSION}")).bearer("writer").send();
    ask("a").await;
    rig.ask("PUT", &format!("{LIST}/b{VERSION}")).bearer("writer").body("{}").send().await;
    for wait in [61, 61] {
        rig.seconds(wait).await;
        for name in ["a", "b", "c"] {
            assert!(is_alone(&ask(name).await), "{name}");
        }
        read(&rig, "a").await;
    }
    assert!(!is_alone(&read(&rig, "b").await), "others do not");
    rig.finish().await;
}

#[tokio::test]
async fn a_second_credential_has_its_own_list_and_its_own_answers() {
    let rig = rig().await;
    let ask = |name: &str| rig.get(&format!("{LIST}/{name}{VERSION}")).bearer("other").send();
    read(&rig, "a").await;
    assert!(!is_alone(&read(&rig, "b").await));
    // It may see the first item only.
    rig.origin().to(
        "Bearer other",
        &format!("GET {LIST}"),
        listed(&[item("a", ",\"whose\":\"other\"")], None),
    );
    for name in ["b", "c", "d"] {
        let refused = Reply::status(403, "Forbidden").with_body("{\"refused\":true}");
        rig.origin().to("Bearer other", &format!("GET {LIST}/{name}"), refused);
    }
    assert!(is_alone(&ask("a").await), "a credential that is only a claim is read alone");
    let refused = ask("b").await;
    assert_eq!((refused.status, refused.text()), (403, "{\"refused\":true}"));
    assert_eq!(lists(&rig), 2);
    assert!(ask("a").await.text().contains("other"), "from its own list");
    assert_eq!(ask("c").await.status, 403);
    assert_eq!(read(&rig, "b").await.text(), item("b", ""));
    assert_eq!(lists(&rig), 2);
    rig.finish().await;
}

#[tokio::test]
async fn a_credential_that_is_only_a_claim_causes_no_calls_but_its_own() {
    let rig = rig().await;
    rig.origin().to("Bearer forged", "", Reply::status(401, "Unauthorized"));
    for name in ["a", "b", "c", "a", "b"] {
        let got = rig.get(&format!("{LIST}/{name}{VERSION}")).bearer("forged").send().await;
        assert_eq!(got.status, 401);
    }
    assert_eq!((lists(&rig), alone(&rig)), (0, 5));
    rig.finish().await;
}

#[tokio::test]
async fn what_the_list_does_not_show_the_api_answers_itself() {
    let rig = rig().await;
    let gone = Reply::status(404, "Not Found").with_body("{\"error\":{\"code\":\"ResourceNotFound\"}}");
    rig.origin().on(&format!("GET {LIST}/gone"), gone);
    let moving = item("c", ",\"properties\":{\"provisioningState\":\"Updating\"}");
    rig.origin().on(&format!("GET {LIST}"), listed(&[item("a", ""), item("b", ""), moving], None));
    read(&rig, "a").await;
    let got = read(&rig, "gone").await;
    assert_eq!((got.status, got.text()), (404, "{\"error\":{\"code\":\"ResourceNotFound\"}}"));
    assert!(read(&rig, "b").await.is_hit(), "told meanwhile");
    assert!(is_alone(&read(&rig, "c").await), "what its own rule would not keep");
    assert_eq!(read(&rig, "gone").await.status, 404);
    assert_eq!(lists(&rig), 1, "once in a lifetime");
    rig.finish().await;
}

#[tokio::test]
async fn a_list_is_no_news_behind_an_answer_that_left_later() {
    let rig = rig().await;
    let gate = Gate::new();
    let all = ["a", "b", "c", "d"].map(|name| item(name, ""));
    rig.origin().on(&format!("GET {LIST}"), listed(&all, None).held_in_body(&gate));
    let list = rig.get(&format!("{LIST}{VERSION}")).bearer("reader").spawn();
    rig.origin().came(&format!("GET {LIST}"), 1).await;
    let gone = Reply::status(404, "Not Found").with_body("{}");
    rig.origin().on(&format!("GET {LIST}/b"), gone);
    assert_eq!(read(&rig, "b").await.status, 404);
    gate.open();
    assert_eq!(list.await.expect("answered").status, 200);
    rig.quiet().await;
    assert!(read(&rig, "c").await.is_hit(), "told");
    assert_eq!(read(&rig, "b").await.status, 404, "gone for good");
    rig.finish().await;
}

#[tokio::test]
async fn a_list_under_way_brings_nothing_back_that_an_operator_took_out() {
    let rig = rig().await;
    let gate = Gate::new();
    let all = ["a", "b", "c", "d"].map(|name| item(name, ""));
    rig.origin().on(&format!("GET {LIST}"), listed(&all, None).held_in_body(&gate));
    let list = rig.get(&format!("{LIST}{VERSION}")).bearer("reader").spawn();
    rig.origin().came(&format!("GET {LIST}"), 1).await;
    let what = Purge::Path("*networkInterfaces/b*".to_owned());
    purge(rig.app.shared(), &rig.app.sites().all(), &what, Manner::Hard);
    gate.open();
    assert_eq!(list.await.expect("answered").status, 200);
    rig.quiet().await;
    assert!(is_alone(&read(&rig, "b").await));
    rig.finish().await;
}

#[tokio::test]
async fn another_spelling_of_the_path_is_another_answer() {
    let rig = rig().await;
    let spelled = LIST.replace("/rg/", "/RG/");
    let all = ["a", "b", "c", "d"].map(|name| item(name, ""));
    rig.origin().on(&format!("GET {spelled}"), listed(&all, None));
    for name in ["a", "b", "c", "d"] {
        rig.origin().on(&format!("GET {spelled}/{name}"), single(name));
        let got = rig.get(&format!("{spelled}/{name}{VERSION}")).bearer("reader").send().await;
        assert!(is_alone(&got) && !got.is_hit(), "{name}");
    }
    assert_eq!(rig.origin().count(&format!("GET {spelled}")), 1);
    let told = read(&rig, "a").await;
    assert_eq!((told.is_hit(), told.text()), (true, &*item("a", "")), "in the spelling of its id");
    rig.finish().await;
}

#[tokio::test]
async fn who_asks_for_an_answer_of_now_gets_it() {
    let rig = rig().await;
    for ask in [
        get(&rig, "b").field("Cache-Control", "no-cache"),
        get(&rig, "c").field("Cache-Control", "max-age=5"),
        rig.get(&format!("{LIST}/d{VERSION}&$expand=x")).bearer("reader"),
    ] {
        read(&rig, "a").await;
        assert!(is_alone(&ask.send().await));
    }
    assert_eq!(lists(&rig), 0);
    rig.finish().await;
}

#[tokio::test]
async fn a_list_that_takes_too_long_is_not_waited_for() {
    let rig = rig().await;
    let gate = Gate::new();
    rig.origin().on(&format!("GET {LIST}"), listed(&[item("b", "")], None).held(&gate));
    read(&rig, "a").await;
    let waiting = get(&rig, "b").spawn();
    rig.origin().came(&format!("GET {LIST}"), 1).await;
    rig.advance(Duration::from_secs(11)).await;
    assert!(is_alone(&waiting.await.expect("answered")));
    gate.open();
    rig.quiet().await;
    rig.finish().await;
}

#[tokio::test]
async fn a_client_that_leaves_does_not_take_the_list_with_it() {
    let rig = rig().await;
    let gate = Gate::new();
    let all = ["a", "b", "c", "d"].map(|name| item(name, ""));
    rig.origin().on(&format!("GET {LIST}"), listed(&all, None).held(&gate));
    read(&rig, "a").await;
    let leaving = get(&rig, "b").sent().await;
    rig.origin().came(&format!("GET {LIST}"), 1).await;
    leaving.abort();
    gate.open();
    rig.quiet().await;
    assert!(read(&rig, "c").await.is_hit());
    rig.finish().await;
}
