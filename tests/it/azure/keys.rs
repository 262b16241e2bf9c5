//! What makes two requests one.

use super::{arm, rig};

const LIST: &str = "/subscriptions/s/locations";

#[tokio::test]
async fn the_order_and_spelling_of_query_names_do_not_matter_but_values_and_paths_do() {
    let rig = rig("azure").await;
    let get = |target: &str| rig.get(target).bearer("one").send();
    let first = get(&format!("{LIST}?$expand=a&api-version=2022-12-01")).await;
    assert_eq!(first.status, 200);
    for same in [
        format!("{LIST}?api-version=2022-12-01&$expand=a"),
        format!("{LIST}?API-version=2022-12-01&%24Expand=a"),
    ] {
        let got = get(&same).await;
        assert!(got.is_hit() && got.body == first.body, "{same}: {}", got.cache());
    }
    for other in [
        format!("{LIST}?api-version=2022-12-01&$expand=A"),
        format!("{LIST}?api-version=2022-12-02&$expand=a"),
        format!("{LIST}?api-version=2022-12-01"),
        format!("{LIST}?api-version=2022-12-01&$expand=a&$skiptoken=aB%3d"),
        format!("{LIST}?api-version=2022-12-01&$expand=a&$skiptoken=aB%3D"),
        "/Subscriptions/s/locations?api-version=2022-12-01&$expand=a".to_owned(),
    ] {
        let got = get(&other).await;
        assert!(!got.is_hit() && got.body != first.body, "{other}: {}", got.cache());
        assert_eq!(rig.origin().calls().last().expect("a call").target, other, "byte for byte");
    }
    rig.finish().await;
}

#[tokio::test]
async fn addresses_and_heads_as_long_as_they_get_pass() {
    let rig = rig("azure").await;
    let target = format!("{LIST}?c={}", "x".repeat(16_000));
    let token = "t".repeat(8_000);
    let more = format!("Bearer {token}, Bearer {token}, Bearer {token}");
    let got = rig.get(&target).bearer(&token).field("x-ms-authorization-auxiliary", &more).send().await;
    assert_eq!(got.status, 200, "{}", got.head);
    assert_eq!(rig.origin().calls().last().expect("a call").target, target);
    rig.finish().await;
}

#[tokio::test]
async fn tokens_of_other_tenants_beside_the_credential_pass_and_an_empty_field_is_nothing() {
    let rig = rig("azure").await;
    rig.origin().on("GET /subscriptions/s/locations", arm("{}"));
    let ask = || rig.get(LIST).bearer("one");
    assert!(!ask().send().await.is_hit());
    assert!(ask().field("x-ms-authorization-auxiliary", "").send().await.is_hit());
    let passed = ask().field("x-ms-authorization-auxiliary", "Bearer two").send().await;
    assert_eq!(passed.cache(), "fwd=bypass; detail=ambiguous-credential");
    assert!(!rig.get(LIST).bearer("two").send().await.is_hit(), "a token has its own answers");
    rig.finish().await;
}
