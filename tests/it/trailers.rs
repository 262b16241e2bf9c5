//! Fields behind the content: they pass in both directions, and to everybody who shares an answer.

use crate::support::{Gate, Options, Reply, Rig};

const RULES: &str = "api: none
reads:
  - {path: /kept/*, ttl: 1h}
  - {path: /passed/*, ttl: pass}
";

async fn plain() -> Rig {
    Rig::with(Options { rules: RULES.into(), ..Options::default() }).await
}

/// One byte, so that there is one way to cut it into chunks.
fn summed() -> Reply {
    Reply::body("a").field("Trailer", "x-sum").trailer("x-sum", "42")
}

const WITH: &str = "1\r\na\r\n0\r\nx-sum: 42\r\n\r\n";
const WITHOUT: &str = "1\r\na\r\n0\r\n\r\n";

/// Asks, bearing trailers or not, and checks what stands on the wire behind the head.
async fn check(rig: &Rig, path: &str, bears: bool, cache: &str) {
    let ask = rig.get(path);
    let ask = if bears { ask.field("TE", "trailers") } else { ask };
    let mut answer = ask.open().await;
    assert!(answer.head.contains(&format!("forebay; {cache}\r\n")), "{}", answer.head);
    let expected = if bears { WITH } else { WITHOUT };
    assert_eq!(String::from_utf8_lossy(&answer.bytes(expected.len()).await), expected);
}

#[tokio::test]
async fn trailers_pass() {
    let rig = plain().await;
    rig.origin().on("GET /passed/1", summed());
    for bears in [true, false] {
        check(&rig, "/passed/1", bears, "fwd=bypass; detail=pass").await;
        let call = rig.origin().last("GET /passed/1");
        let told = (call.field("te"), call.field("connection"));
        assert_eq!(told, if bears { (Some("trailers"), Some("TE")) } else { (None, None) });
    }
    rig.finish().await;
}

#[tokio::test]
async fn all_who_share_an_answer_get_its_trailers_and_it_is_not_stored() {
    let rig = plain().await;
    let gate = Gate::new();
    // Others share one call only once the credential is accepted.
    rig.warm("/kept/0").await;
    rig.origin().on("GET /kept/1", summed().held(&gate));
    let first = check(&rig, "/kept/1", true, "fwd=uri-miss");
    let others = async {
        rig.origin().came("GET /kept/1", 1).await;
        let open = async {
            rig.waiting(3).await;
            gate.open();
        };
        tokio::join!(
            check(&rig, "/kept/1", true, "fwd=uri-miss; collapsed"),
            check(&rig, "/kept/1", false, "fwd=uri-miss; collapsed"),
            open
        );
    };
    tokio::join!(first, others);
    assert_eq!(rig.origin().count("GET /kept/1"), 1);
    check(&rig, "/kept/1", true, "fwd=uri-miss").await;
    assert_eq!(rig.origin().count("GET /kept/1"), 2, "a hit would lack them");
    rig.finish().await;
}

#[tokio::test]
async fn trailers_behind_an_upload_pass() {
    let rig = plain().await;
    let ask = rig.ask("POST", "/up").field("Transfer-Encoding", "chunked").field("Trailer", "x-sum");
    assert_eq!(ask.body("1\r\na\r\n0\r\nx-sum: 42\r\n\r\n").send().await.status, 200);
    let call = rig.origin().last("POST /up");
    assert_eq!((call.body.as_slice(), call.field("x-sum")), (&b"a"[..], Some("42")));
    rig.finish().await;
}
