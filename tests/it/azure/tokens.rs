//! Whose answers a token may see: its own, those of its principal once ARM has taken it, and nothing past its end.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::super::support::{Gate, Reply, Rig};
use super::{VM, arm};

/// The time of ARM's answers, and the same in a field.
const NOW: u64 = 1_795_269_600;
const DATE: &str = "Sat, 21 Nov 2026 14:00:00 GMT";

const SHARED: &str = r#"
api: azure
match: {case_insensitive: true}
reads:
  - {path: "/subscriptions/**", ttl: 30s, share: principal}
"#;

fn payload(changes: &Value) -> Value {
    let mut payload = json!({
        "iat": NOW, "nbf": NOW, "exp": NOW + 3600, "uti": "u", "tid": "t", "oid": "o", "appid": "a",
        "idtyp": "user", "scp": "user_impersonation", "groups": ["g1", "g2"], "wids": ["w"],
    });
    for (name, value) in changes.as_object().expect("an object") {
        payload[name] = value.clone();
    }
    payload
}

/// A token that differs from others by `number` alone, where `changes` are the same.
fn token(number: u32, changes: Value) -> String {
    let mut payload = payload(&changes);
    payload["uti"] = number.into();
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part("{}"), part(&payload.to_string()), part(&format!("signature {number}")))
}

fn answer(body: &str) -> Reply {
    arm(body).field("Date", DATE)
}

async fn rig() -> Rig {
    super::rig(SHARED).await
}

#[tokio::test]
async fn tokens_of_one_principal_share_once_each_has_been_taken() {
    let rig = rig().await;
    rig.origin().on(&format!("GET {VM}"), answer("{}"));
    let get = |token: &str| rig.get(VM).bearer(token).send();
    let (one, two) = (token(1, json!({})), token(2, json!({"groups": ["g2", "g1"], "exp": NOW + 7200})));
    assert!(!get(&one).await.is_hit());
    assert!(get(&one).await.is_hit());
    // Whatever it claims: first ARM has to take it.
    let first = get(&two).await;
    assert_eq!(first.cache(), "fwd=stale; stored; detail=unaccepted");
    assert!(get(&two).await.is_hit());
    let calls = rig.origin().count(&format!("GET {VM}"));
    // What the one has fetched anew the other sees.
    rig.seconds(31).await;
    assert!(!get(&one).await.is_hit());
    assert!(get(&two).await.is_hit());
    assert_eq!(rig.origin().count(&format!("GET {VM}")), calls + 1);
    for (number, changes) in [
        (3, json!({"oid": "other"})),
        (4, json!({"tid": "other"})),
        (5, json!({"appid": "other"})),
        (6, json!({"groups": ["g1"]})),
        (7, json!({"scp": "other"})),
        (8, json!({"roles": ["r"]})),
        (9, json!({"_claim_names": {"groups": "src1"}})),
        (10, json!({"hasgroups": true})),
    ] {
        let token = token(number, changes.clone());
        let got = get(&token).await;
        assert_eq!(got.cache(), "fwd=uri-miss; stored", "{changes} is somebody else");
        assert!(get(&token).await.is_hit(), "{changes}");
    }
    rig.finish().await;
}

#[tokio::test]
async fn a_forged_token_with_somebodys_claims_never_hits() {
    let rig = rig().await;
    rig.origin().on(&format!("GET {VM}"), answer(r#"{"secret":"yes"}"#));
    let one = token(1, json!({}));
    rig.get(VM).bearer(&one).send().await;
    let forged = format!("{}.{}", one.rsplit_once('.').expect("three parts").0, "Zm9yZ2Vk");
    let refusal =
        Reply::status(401, "Unauthorized").with_body(r#"{"error":{"code":"InvalidAuthenticationToken"}}"#);
    rig.origin().to("Zm9yZ2Vk", &format!("GET {VM}"), refusal);
    for _ in 0..3 {
        let got = rig.get(VM).bearer(&forged).send().await;
        assert_eq!((got.status, got.is_hit()), (401, false));
        assert!(!got.text().contains("secret"));
    }
    // Nor does its refusal take anything from the one whose claims it has.
    assert!(rig.get(VM).bearer(&one).send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn by_default_each_token_has_its_own() {
    let rig = super::rig("azure").await;
    rig.origin().on(&format!("GET {VM}"), answer("{}"));
    for number in [1, 2] {
        let token = token(number, json!({}));
        assert_eq!(rig.get(VM).bearer(&token).send().await.cache(), "fwd=uri-miss; stored");
        assert!(rig.get(VM).bearer(&token).send().await.is_hit());
    }
    rig.finish().await;
}

#[tokio::test]
async fn nothing_is_shown_past_the_end_of_a_token() {
    for rules in [SHARED, "azure"] {
        let rig = super::rig(rules).await;
        rig.origin().on(&format!("GET {VM}"), answer("{}"));
        let ending = token(1, json!({"exp": NOW + 20}));
        let get = || rig.get(VM).bearer(&ending).send();
        get().await;
        rig.seconds(15).await;
        assert!(get().await.is_hit());
        rig.seconds(6).await;
        let refusal = Reply::status(401, "Unauthorized")
            .with_body(r#"{"error":{"code":"ExpiredAuthenticationToken"}}"#);
        rig.origin().on(&format!("GET {VM}"), refusal);
        assert_eq!(get().await.status, 401, "ARM is asked, fresh as the answer is");
        rig.finish().await;
    }
}

/// What is known of a token's end when somebody comes with it after that.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Known {
    /// ARM has accepted it before.
    Accepted,
    /// What it claims, and our own clock.
    Claimed,
    /// Nothing, because our clock is years behind: the answer that is on its way tells.
    Later,
}

#[tokio::test]
async fn a_token_that_has_ended_joins_nothing_that_it_began_before() {
    for rules in [SHARED, "azure"] {
        for known in [Known::Accepted, Known::Claimed, Known::Later] {
            let rig = super::rig(rules).await;
            if known != Known::Later {
                rig.clock.step_wall(NOW);
            }
            let (call, other) = (format!("GET {VM}"), VM.replace("web-01", "web-02"));
            let ending = token(1, json!({"exp": NOW + 20}));
            let get = |path: &str| rig.get(path).bearer(&ending);
            if known == Known::Accepted {
                rig.origin().on(&format!("GET {other}"), answer("{}"));
                get(&other).send().await;
            }
            let gate = Gate::new();
            let refusal = Reply::status(401, "Unauthorized")
                .with_body(r#"{"error":{"code":"ExpiredAuthenticationToken"}}"#);
            rig.origin().on_each(&call, [answer(r#"{"mine":1}"#).held(&gate), refusal]);
            let first = get(VM).spawn();
            rig.origin().came(&call, 1).await;
            rig.seconds(18).await;
            // In time, whatever comes of it later: it asked before the end.
            let second = get(VM).spawn();
            rig.waiting(2).await;
            rig.seconds(3).await;
            let late = get(VM).spawn();
            match known {
                Known::Later => rig.waiting(3).await,
                _ => rig.origin().came(&call, 2).await,
            }
            gate.open();
            let late = late.await.expect("answered");
            assert_eq!((late.status, late.cache().contains("collapsed")), (401, false), "{known:?}");
            for in_time in [first, second] {
                let got = in_time.await.expect("answered");
                assert_eq!((got.status, got.text()), (200, r#"{"mine":1}"#), "{known:?}");
            }
            assert_eq!(rig.origin().count(&call), 2, "{known:?}");
            rig.finish().await;
        }
    }
}

#[tokio::test]
async fn a_challenge_passes_as_it_is_and_empties_what_the_token_had() {
    for rules in [SHARED, "azure"] {
        let rig = super::rig(rules).await;
        let other = VM.replace("web-01", "web-02");
        let one = token(1, json!({}));
        rig.origin().on(&format!("GET {VM}"), answer("{}"));
        rig.origin().on(&format!("GET {other}"), answer("{}"));
        let get = |path: &str| rig.get(path).bearer(&one).send();
        for path in [VM, &other] {
            get(path).await;
            assert!(get(path).await.is_hit());
        }
        let challenge = "Bearer authorization_uri=\"https://login.windows.net/t\", error=\"insufficient_claims\", \
                         claims=\"eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7fX19\"";
        let body = r#"{"error":{"code":"InvalidAuthenticationToken","message":"token revoked"}}"#;
        let refusal = Reply::status(401, "Unauthorized").with_body(body).field("WWW-Authenticate", challenge);
        rig.origin().on(&format!("POST {VM}/start"), refusal);
        let refused = rig.ask("POST", &format!("{VM}/start")).bearer(&one).send().await;
        assert_eq!((refused.status, refused.text()), (401, body));
        assert_eq!(refused.field("www-authenticate"), Some(challenge));
        for path in [VM, &other] {
            let again = get(path).await;
            assert!(!again.is_hit(), "{path}: {}", again.cache());
        }
        rig.finish().await;
    }
}
