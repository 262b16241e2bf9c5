//! Logging in, and what a token is worth.

use serde_json::json;

use super::*;

fn form(id: &str, secret: &str) -> Value {
    let scope = "https%3A%2F%2Fmanagement.azure.com%2F%2F.default";
    Value::from(format!("grant_type=client_credentials&client_id={id}&client_secret={secret}&scope={scope}"))
}

#[tokio::test]
async fn an_application_logs_in_with_its_secret() {
    let sim = start(still()).await;
    let path = format!("/{TENANT}/oauth2/v2.0/token");
    let answer =
        send(&sim, "POST", &path, form(ADMIN_CLIENT_ID, ADMIN_CLIENT_SECRET), &[]).await.expect("an answer");
    assert_eq!((answer.status, &answer.body["token_type"]), (200, &json!("Bearer")));
    let token = answer.body["access_token"].as_str().expect("a token").to_owned();
    let client = Client { sim: &sim, token };
    assert_eq!(client.get(&format!("/subscriptions?{RESOURCES}")).await.status, 200);
    assert_eq!((sim.logins(), sim.calls()), (1, 1), "logins are counted apart");
    let wrong = send(&sim, "POST", &path, form(ADMIN_CLIENT_ID, "guess"), &[]).await.expect("an answer");
    assert_eq!((wrong.status, &wrong.body["error"]), (401, &json!("invalid_client")));
    let nobody = send(&sim, "POST", &path, form("nobody", "guess"), &[]).await.expect("an answer");
    assert_eq!((nobody.status, &nobody.body["error"]), (400, &json!("unauthorized_client")));
    sim.stop().await;
}

#[tokio::test]
async fn a_token_has_the_claims_of_version_one() {
    use base64::Engine as _;
    let sim = start(still()).await;
    let (one, two) = (sim.token(DEV_CLIENT_ID), sim.token(DEV_CLIENT_ID));
    assert_ne!(one, two, "every token is different");
    let claims = one.split('.').nth(1).expect("three parts");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).expect("base64");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    assert_eq!(claims["iss"], format!("https://sts.windows.net/{TENANT}/"));
    assert_eq!((&claims["tid"], &claims["oid"]), (&json!(TENANT), &json!(DEV_OBJECT_ID)));
    assert_eq!(
        (&claims["appid"], &claims["idtyp"], &claims["ver"]),
        (&json!(DEV_CLIENT_ID), &json!("app"), &json!("1.0"))
    );
    assert!(claims["exp"].as_u64() > claims["iat"].as_u64());
    sim.stop().await;
}

#[tokio::test]
async fn only_good_tokens_are_accepted() {
    let sim = start(still()).await;
    let target = format!("/subscriptions?{RESOURCES}");
    let missing = send(&sim, "GET", &target, Value::Null, &[]).await.expect("an answer");
    assert_eq!((missing.status, missing.code()), (401, "AuthenticationFailed"));
    assert!(missing.field("www-authenticate").starts_with("Bearer authorization_uri="));
    let with = |claims: Value| {
        let claims = claims.as_object().cloned().unwrap_or_default();
        Client { sim: &sim, token: sim.token_with(ADMIN_CLIENT_ID, &claims) }
    };
    let cases = [
        (json!({ "exp": 1_000_000 }), "ExpiredAuthenticationToken"),
        (json!({ "aud": "https://graph.microsoft.com" }), "InvalidAuthenticationToken"),
        (json!({ "tid": "00000000-0000-0000-0000-000000000000" }), "InvalidAuthenticationTokenTenant"),
    ];
    for (claims, code) in cases {
        let answer = with(claims).get(&target).await;
        assert_eq!((answer.status, answer.code()), (401, code));
    }
    let mut forged = Client::admin(&sim);
    let swapped = sim.token(DEV_CLIENT_ID);
    let (claims, signature) = (
        forged.token.rsplit_once('.').expect("three parts").0,
        swapped.rsplit_once('.').expect("three parts").1,
    );
    forged.token = format!("{claims}.{signature}");
    assert_eq!(forged.get(&target).await.code(), "InvalidAuthenticationToken");
    sim.stop().await;
}

#[tokio::test]
async fn a_revoked_token_is_challenged_and_a_new_one_is_not() {
    let sim = start(still()).await;
    let (client, other) = (Client::admin(&sim), Client::dev(&sim));
    let target = format!("/subscriptions?{RESOURCES}");
    sim.revoke(ADMIN_CLIENT_ID);
    let refused = client.get(&target).await;
    assert_eq!(refused.status, 401);
    let challenge = refused.field("www-authenticate");
    assert!(challenge.contains("error=\"insufficient_claims\", claims=\""), "{challenge}");
    assert_eq!(other.get(&target).await.status, 200);
    assert_eq!(Client::admin(&sim).get(&target).await.status, 200);
    sim.stop().await;
}

#[tokio::test]
async fn discovery_names_this_address() {
    let sim = start(still()).await;
    let base = format!("http://{}", sim.address());
    let path = format!("/{TENANT}/v2.0/.well-known/openid-configuration");
    let answer = send(&sim, "GET", &path, Value::Null, &[]).await.expect("an answer");
    assert_eq!(answer.body["token_endpoint"], format!("{base}/{TENANT}/oauth2/v2.0/token"));
    let instances = send(&sim, "GET", "/common/discovery/instance?api-version=1.1", Value::Null, &[]).await;
    assert!(instances.expect("an answer").body["metadata"].is_array());
    sim.stop().await;
}

#[tokio::test]
async fn endpoints_are_a_list_until_2022_and_need_no_token() {
    let sim = start(still()).await;
    for (version, list) in [("2019-05-01", true), ("2020-06-01", true), ("2022-09-01", false)] {
        let path = format!("/metadata/endpoints?api-version={version}");
        let answer = send(&sim, "GET", &path, Value::Null, &[]).await.expect("an answer");
        assert_eq!((answer.status, answer.body.is_array()), (200, list), "{version}");
        let cloud = if list { &answer.body[0] } else { &answer.body };
        assert_eq!(cloud["resourceManager"], format!("http://{}/", sim.address()));
        assert_eq!(cloud["authentication"]["audiences"][1], "https://management.azure.com/");
    }
    sim.stop().await;
}
