use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::breaker::pass;
use super::*;

/// How long an endpoint answers nobody before it is asked.
const IDLE: Duration = Duration::from_secs(10);

struct Identity {
    certificate: CertificateDer<'static>,
    pem: String,
    key_pem: String,
    key: PrivateKeyDer<'static>,
}

fn identity(name: &str) -> Identity {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    Identity {
        certificate: made.cert.der().clone(),
        pem: made.cert.pem(),
        key_pem: made.signing_key.serialize_pem(),
        key: PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()),
    }
}

fn pin(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    suite.common.hash_provider.hash(certificate).as_ref().try_into().unwrap()
}

/// Shows a certificate and signs with a key, whether they belong together or not.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn showing(certificate: &CertificateDer<'static>, key: &PrivateKeyDer<'static>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let signer = provider.key_provider.load_private_key(key.clone_key()).unwrap();
    let shown = CertifiedKey::new(vec![certificate.clone()], signer);
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shows(Arc::new(shown))))
}

async fn echo(config: ServerConfig) -> Server {
    Server::start_with(Some(config), |mut conn| async move { conn.echo_paths().await }).await
}

#[tokio::test]
async fn a_pin_accepts_its_certificate_with_its_key_and_nothing_else() {
    // The name does not matter to a pin.
    let (right, wrong) = (identity("somewhere.example"), identity("127.0.0.1"));
    let cases = [
        ("right", showing(&right.certificate, &right.key), true),
        ("wrong", showing(&wrong.certificate, &wrong.key), false),
        ("replayed", showing(&right.certificate, &wrong.key), false),
    ];
    for (name, config, accepted) in cases {
        for versions in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let only = ServerConfig::builder_with_provider(Arc::clone(config.crypto_provider()))
                .with_protocol_versions(&[versions])
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::clone(&config.cert_resolver));
            let server = echo(only).await;
            let bench = Bench::with(&[&server], |config| {
                config.tls.trust = Trust::Pins(vec![[7; 32], pin(&right.certificate)]);
            });
            let result = bench.send(bench.post("/", "x")).await;
            match result {
                Ok(_) => assert!(accepted, "{name}"),
                Err(SendError::Unreachable) => assert!(!accepted, "{name}"),
                Err(other) => panic!("{name}: {other:?}"),
            }
            assert_eq!(server.seen.requests(), usize::from(accepted), "{name}");
        }
    }
}

#[tokio::test]
async fn a_ca_file_trusts_whom_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let (mine, other) = (identity("127.0.0.1"), identity("127.0.0.1"));
    let elsewhere = identity("elsewhere.example");
    let cases = [(&mine, &mine, true), (&other, &mine, false), (&elsewhere, &elsewhere, false)];
    for (index, (trusted, shown, accepted)) in cases.into_iter().enumerate() {
        let path = folder.path().join(format!("{index}.pem"));
        std::fs::write(&path, &trusted.pem).unwrap();
        let server = echo(showing(&shown.certificate, &shown.key)).await;
        let bench = Bench::with(&[&server], |config| config.tls.trust = Trust::CaFile(path));
        assert_eq!(bench.send(bench.get("/")).await.is_ok(), accepted, "{index}");
    }
    let path = folder.path().join("empty.pem");
    std::fs::write(&path, "nothing").unwrap();
    let mut config = UpstreamConfig::new("lab", vec!["https://pve1".parse().unwrap()]);
    config.tls.trust = Trust::CaFile(path);
    assert!(matches!(Upstream::new(config, &Registry::new()), Err(UpstreamError::Pem { .. })));
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (server_side, client_side) = (identity("127.0.0.1"), identity("forebay"));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(client_side.certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server_side.certificate.clone()], server_side.key.clone_key())
        .unwrap();
    let server = echo(config).await;
    let (chain, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&chain, &client_side.pem).unwrap();
    std::fs::write(&key, &client_side.key_pem).unwrap();
    let trust = Trust::Pins(vec![pin(&server_side.certificate)]);
    let with = Bench::with(&[&server], |config| {
        config.tls = TlsConfig { trust: trust.clone(), client: Some((chain, key)) };
    });
    assert_eq!(with.text(with.get("/me")).await, (200, "/me".into()));
    let without = Bench::with(&[&server], |config| config.tls.trust = trust);
    assert!(without.send(without.get("/")).await.is_err());
}

#[tokio::test]
async fn a_stream_cut_without_notice_ends_an_answer_only_where_nothing_else_does() {
    let mine = identity("127.0.0.1");
    let script = |answer: &'static str| {
        let config = showing(&mine.certificate, &mine.key);
        Server::start_with(Some(config), move |mut conn| async move {
            conn.head().await;
            // The script's end drops the socket, without a close_notify.
            conn.send(answer).await;
        })
    };
    let cases = [
        ("HTTP/1.1 401 No ticket\r\nConnection: close\r\n\r\n", Some("")),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nlog", Some("log")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", None),
    ];
    for (answer, text) in cases {
        let server = script(answer).await;
        let bench = Bench::with(&[&server], |config| {
            config.tls.trust = Trust::Pins(vec![pin(&mine.certificate)]);
        });
        let answer = bench.send(bench.get("/")).await.unwrap();
        let body = within(answer.body.collect()).await;
        assert_eq!(body.ok().map(|body| body.to_bytes()), text.map(Bytes::from));
    }
}

#[tokio::test]
async fn http2_is_spoken_where_both_want_it_over_one_connection() {
    let mine = identity("127.0.0.1");
    let mut config = showing(&mine.certificate, &mine.key);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (connections, mut accepted) = tokio::sync::mpsc::unbounded_channel();
    let server = tokio::spawn(async move {
        let mut serving = tokio::task::JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            let stream = acceptor.accept(tcp).await.unwrap();
            let _ = connections.send(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec));
            let service =
                hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                    let authority = request.uri().authority().map_or("none", |authority| authority.as_str());
                    let text = format!("{:?} {} {authority}", request.version(), request.uri().path());
                    let length = request.into_body().collect().await?.to_bytes().len();
                    Ok::<_, hyper::Error>(http::Response::new(http_body_util::Full::new(Bytes::from(
                        format!("{text} {length}"),
                    ))))
                });
            serving.spawn(
                hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new())
                    .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                    .into_owned(),
            );
        }
    });
    let bench = Bench::with(&[], |config| {
        config.endpoints = vec![url.parse().unwrap()];
        config.tls.trust = Trust::Pins(vec![pin(&mine.certificate)]);
        config.alpn = Alpn::Http2Preferred;
        config.probe_every = Some(IDLE);
    });
    let mut calls = tokio::task::JoinSet::new();
    let bench = Arc::new(bench);
    for _ in 0..8 {
        let bench = Arc::clone(&bench);
        calls.spawn(async move {
            let call = Outgoing { host: Some("api.example".parse().unwrap()), ..bench.post("/a", "abc") };
            bench.text(call).await
        });
    }
    while let Some(result) = calls.join_next().await {
        assert_eq!(result.unwrap(), (200, "HTTP/2.0 /a api.example 3".into()));
    }
    assert_eq!(accepted.recv().await.unwrap(), Some(b"h2".to_vec()));
    assert!(accepted.try_recv().is_err(), "one connection for all");
    // An upgrade needs HTTP/1.1 and a connection of its own.
    let call = Outgoing { upgrade: true, ..bench.get("/b") };
    assert!(bench.text(call).await.1.starts_with("HTTP/1.1 /b"));
    assert_eq!(accepted.recv().await.unwrap(), Some(b"http/1.1".to_vec()));
    assert_eq!(bench.counted(), [("2xx".to_owned(), 9)]);
    // A question of our own is asked as calls are, over a connection of its own.
    bench.upstream.take_effect();
    for _ in 0..2 {
        tokio::task::yield_now().await;
        pass(IDLE).await;
    }
    assert_eq!(within(accepted.recv()).await.unwrap(), Some(b"h2".to_vec()));
    let two = |n| ("2xx".to_owned(), n);
    eventually(|| bench.counted() == [two(1), two(9)]).await;
    server.abort();
    // The server's connections went with it: the next call finds the shared one gone. The idle one
    // is looked at when it is wanted or has lain long enough.
    assert!(server.await.unwrap_err().is_cancelled());
    eventually(|| bench.upstream.endpoints()[0].open_connections <= 1).await;
    assert!(matches!(bench.send(bench.post("/", "x")).await, Err(SendError::Unreachable)));
    assert_eq!(bench.total(), 10);
}

#[tokio::test]
async fn a_question_is_asked_of_whoever_shows_the_right_certificate() {
    let (right, wrong) = (identity("127.0.0.1"), identity("127.0.0.1"));
    let servers = [&right, &wrong].map(|shown| echo(showing(&shown.certificate, &shown.key)));
    let [right_one, wrong_one] = servers;
    let servers = [right_one.await, wrong_one.await];
    let bench = Bench::with(&servers.each_ref(), |config| {
        config.tls.trust = Trust::Pins(vec![pin(&right.certificate)]);
    });
    bench.upstream.take_effect();
    tokio::task::yield_now().await;
    pass(IDLE).await;
    eventually(|| bench.counted() == [("2xx".to_owned(), 1)]).await;
    eventually(|| !bench.upstream.endpoints()[1].up).await;
    assert!(bench.upstream.endpoints()[0].up);
    assert_eq!(servers.each_ref().map(|server| server.seen.requests()), [1, 0]);
}
