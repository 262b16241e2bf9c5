//! TLS towards clients.

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::certs::Authority;
use super::super::tls::provider;
use super::super::{Protocols, ServerError, TlsIn};
use super::*;

fn auto(directory: &tempfile::TempDir) -> Option<TlsIn> {
    Some(TlsIn::Auto { certs: directory.path().join("certs") })
}

/// A client that trusts the CA in `directory` and shows `identity`.
async fn connect(
    server: &Server,
    directory: &tempfile::TempDir,
    alpn: &[&str],
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let ca = directory.path().join("certs/ca.pem");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    within(TlsConnector::from(Arc::new(config)).connect(name, server.connect().await)).await
}

async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> std::io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_client_that_trusts_the_made_ca_connects() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(ListenerConfig { tls: auto(&directory), ..config() }).await;
    let mut stream = connect(&server, &directory, &[], None).await.unwrap();
    let answer = ask(&mut stream, "/peer").await.unwrap();
    assert!(answer.ends_with("tls=true certificate=false 127.0.0.1"), "{answer}");
    // The guard works inside TLS too.
    let mut stream = connect(&server, &directory, &[], None).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\n\n").await.unwrap();
    assert_eq!(statuses(&read_to_end(&mut stream).await), ["400"]);
}

#[tokio::test]
async fn the_protocol_is_chosen_by_alpn() {
    let both = Protocols { http1: true, http2: true };
    let only_1 = Protocols { http1: true, http2: false };
    let cases: [(Protocols, &[&str], Option<&str>); 6] = [
        (both, &["h2", "http/1.1"], Some("h2")),
        (both, &["http/1.1"], Some("http/1.1")),
        (both, &[], Some("")),
        (only_1, &["h2", "http/1.1"], Some("http/1.1")),
        (only_1, &["h2"], None),
        (only_1, &[], Some("")),
    ];
    let directory = tempfile::tempdir().unwrap();
    for (protocols, offered, chosen) in cases {
        let server = Server::start(ListenerConfig { tls: auto(&directory), protocols, ..config() }).await;
        let stream = connect(&server, &directory, offered, None).await;
        let Ok(mut stream) = stream else {
            assert_eq!(chosen, None, "{offered:?}");
            server.until_metric("forebay_refused_total{reason=\"handshake\"}", "1").await;
            continue;
        };
        let alpn = stream.get_ref().1.alpn_protocol().unwrap_or_default();
        assert_eq!(chosen, Some(std::str::from_utf8(alpn).unwrap()), "{offered:?}");
        if alpn == b"h2" {
            let executor = hyper_util::rt::TokioExecutor::new();
            let (mut client, connection) =
                hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(executor, TokioIo::new(stream))
                    .await
                    .unwrap();
            let driver = tokio::spawn(connection);
            let request = Request::builder().uri("https://a/").body(Full::default()).unwrap();
            assert_eq!(within(client.send_request(request)).await.unwrap().status(), StatusCode::OK);
            drop(client);
            let _ = within(driver).await.unwrap();
        } else {
            assert_eq!(statuses(&ask(&mut stream, "/").await.unwrap()), ["200"]);
        }
    }
}

#[tokio::test]
async fn a_client_certificate_is_demanded_and_verified() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join("certs").join(name);
    let ours = Authority::make_or_load(&directory.path().join("certs")).unwrap();
    super::super::certs::make_or_load(&directory.path().join("certs"), None).unwrap();
    let others = Authority::make_or_load(&directory.path().join("other")).unwrap();
    let client_ca = directory.path().join("clients.pem");
    let (authority, pem) = client_authority();
    std::fs::write(&client_ca, pem).unwrap();
    let tls = Some(TlsIn::Files {
        certificate: path("server.pem"),
        key: path("server-key.pem"),
        client_ca: Some(client_ca),
    });
    let server = Server::start(ListenerConfig { tls, ..config() }).await;

    let identity = client_certificate(&authority);
    let mut stream = connect(&server, &directory, &[], Some(identity)).await.unwrap();
    let answer = ask(&mut stream, "/peer").await.unwrap();
    assert!(answer.ends_with("tls=true certificate=true 127.0.0.1"), "{answer}");

    for (count, issuer) in [(1, None), (2, Some(&ours)), (3, Some(&others))] {
        let identity = issuer.map(|issuer| {
            let issued = issuer.issue(&["localhost".to_owned()]).unwrap();
            (issued.chain, issued.key)
        });
        // With TLS 1.3 the client learns it with its first read.
        let refused = match connect(&server, &directory, &[], identity).await {
            Err(_) => true,
            Ok(mut stream) => ask(&mut stream, "/peer").await.is_err(),
        };
        assert!(refused);
        server.until_metric("forebay_refused_total{reason=\"handshake\"}", &count.to_string()).await;
    }
    assert_eq!(server.requests(), 1);
}

type ClientAuthority = rcgen::Issuer<'static, rcgen::KeyPair>;

fn client_authority() -> (ClientAuthority, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (rcgen::Issuer::new(params, key), pem)
}

fn client_certificate(authority: &ClientAuthority) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["operator".to_owned()]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, authority).unwrap();
    (vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
}

#[tokio::test]
async fn a_reload_serves_the_new_certificate_and_survives_a_bad_file() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(ListenerConfig { tls: auto(&directory), ..config() }).await;
    let shown = async || {
        let stream = connect(&server, &directory, &[], None).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let before = shown().await;
    server.listener.reload_tls().unwrap();
    assert_eq!(shown().await, before, "an unchanged file is served on");
    std::fs::remove_file(directory.path().join("certs/server.pem")).unwrap();
    server.listener.reload_tls().unwrap();
    let after = shown().await;
    assert_ne!(after, before);
    let ca_key = directory.path().join("certs/ca-key.pem");
    std::fs::write(&ca_key, "nonsense").unwrap();
    assert!(matches!(server.listener.reload_tls(), Err(ServerError::Certificates(_))));
    assert_eq!(shown().await, after);
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_handshake_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(ListenerConfig {
        tls: auto(&directory),
        header_timeout: Duration::from_millis(50),
        ..config()
    })
    .await;
    assert_eq!(server.exchange(b"").await, "");
    assert_eq!(server.metric("forebay_refused_total{reason=\"handshake\"}").as_deref(), Some("1"));
}

#[tokio::test]
async fn unusable_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.pem");
    let tls = Some(TlsIn::Files { certificate: missing.clone(), key: missing.clone(), client_ca: None });
    let scene =
        Scene { requests: AtomicUsize::new(0), arrived: Semaphore::new(0), release: Semaphore::new(0) };
    let config = ListenerConfig { tls, ..config() };
    let error = Listener::bind(config, TestHandler(Arc::new(scene)), &Registry::new()).await.err().unwrap();
    assert!(matches!(&error, ServerError::File { path, .. } if *path == missing), "{error}");
}
