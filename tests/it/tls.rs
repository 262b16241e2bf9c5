//! TLS on both sides, and HTTP/2 where the API allows it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use forebay::app::App;
use forebay::clock::Clock;
use forebay::config::Settings;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

use crate::binary::{Call, Connection, Forebay, PATIENCE, RULES, TOKEN, Wire, config, get};

/// A certificate that is its own CA.
struct Identity {
    certificate: CertificateDer<'static>,
    pem: String,
    key_pem: String,
    key: Vec<u8>,
}

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]);
        let made = made.expect("valid names");
        Self {
            certificate: made.cert.der().clone(),
            pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
            key: made.signing_key.serialize_der(),
        }
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }

    fn pin(&self) -> String {
        let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13();
        let hash = suite.expect("a TLS 1.3 suite").common.hash_provider.hash(&self.certificate);
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        Arc::new(roots)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn server(identity: &Identity, clients: Option<&Identity>, alpn: &[&str]) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.expect("the provider has them");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(clients.roots(), provider()).build().expect("roots"),
        ),
    };
    let config = builder.with_single_cert(vec![identity.certificate.clone()], identity.key());
    let mut config = config.expect("they belong together");
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A client that trusts `root`, offers `alpn` and shows `identity`.
fn client(root: &CertificateDer<'static>, alpn: &[&str], identity: Option<&Identity>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).expect("a certificate");
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.expect("the provider has them").with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder
            .with_client_auth_cert(vec![identity.certificate.clone()], identity.key())
            .expect("they belong together"),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// The answer to a GET, and what the handshake chose and showed.
fn ask(
    address: SocketAddr,
    client: &Arc<ClientConfig>,
    target: &str,
) -> std::io::Result<(String, Option<Vec<u8>>, CertificateDer<'static>)> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(client.clone(), name).expect("a usable configuration");
    let mut stream = StreamOwned::new(connection, stream);
    stream.write_all(get(target).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let chosen = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
    let shown = stream.conn.peer_certificates().expect("it was verified")[0].clone().into_owned();
    Ok((answer, chosen, shown))
}

/// An upstream that answers one request on each TLS connection, and notes certificates of clients.
fn encrypted(config: Arc<ServerConfig>) -> (Wire, Arc<Mutex<Vec<bool>>>) {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let noted = shown.clone();
    let wire = Wire::start_raw(move |stream, calls| {
        let mut connection = ServerConnection::new(config.clone()).expect("a usable configuration");
        let mut tls = rustls::Stream::new(&mut connection, stream);
        let mut head = Vec::new();
        let mut buffer = [0; 4096];
        while !head.ends_with(b"\r\n\r\n") {
            match tls.read(&mut buffer) {
                Ok(read) if read > 0 => head.extend_from_slice(&buffer[..read]),
                // A client that does not like the certificate.
                _ => return,
            }
        }
        noted.lock().push(tls.conn.peer_certificates().is_some());
        calls.lock().push(Call { head: String::from_utf8(head).expect("text"), body: Vec::new() });
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n{\"data\":1}";
        let written = tls.write_all(answer.as_bytes()).and_then(|()| tls.flush());
        written.expect("forebay reads its answer");
        tls.conn.send_close_notify();
        let _gone = tls.flush();
    });
    (wire, shown)
}

#[test]
fn a_client_that_trusts_the_made_ca_speaks_http_1_on_a_proxmox_listener() {
    let wire = Wire::numbered();
    let config = config(&format!("http://{}", wire.address), "rules: [rules.yaml]")
        .replace("upstream: lab}", "upstream: lab, tls: auto}");
    let forebay = Forebay::start(&[("forebay.yaml", &config), ("rules.yaml", RULES)]);
    let ca = forebay.path("certs/ca.pem");
    assert!(forebay.logs("clients must trust the CA").contains("certs/ca.pem"));
    let ca = CertificateDer::from_pem_file(ca).expect("it was made");
    for alpn in [&["h2", "http/1.1"][..], &["http/1.1"], &[]] {
        let (answer, chosen, _) =
            ask(forebay.address(), &client(&ca, alpn, None), "/api2/json/kept/1").expect("trusted");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("{\"data\":1}"), "{answer}");
        assert_eq!(chosen.as_deref(), (!alpn.is_empty()).then_some(&b"http/1.1"[..]));
    }
    assert_eq!(wire.count(), 1, "one entry for all connections");
    // Who speaks only HTTP/2, or trusts another CA, gets no connection.
    assert!(ask(forebay.address(), &client(&ca, &["h2"], None), "/").is_err());
    assert!(ask(forebay.address(), &client(&Identity::new().certificate, &[], None), "/").is_err());
    // A plain request on a port with TLS is no handshake.
    let mut plain = crate::binary::Connection::open(forebay.address());
    plain.write(get("/api2/json/kept/1").as_bytes());
    assert!(!plain.head().starts_with("HTTP/1.1 200"));
    assert!(forebay.count("forebay_refused_total", "handshake") >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_configuration_file_a_reload_reads_the_certificates_again() {
    let (right, wrong) = (Identity::new(), Identity::new());
    let (wire, _) = encrypted(server(&right, None, &[]));
    let directory = tempfile::tempdir().expect("a directory");
    let ca = directory.path().join("ca.pem");
    fs::write(&ca, &wrong.pem).expect("writable");
    let url = format!("https://{}", wire.address);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = Settings::for_upstream(&url, Some(any), Some("proxmox"), Some(&ca), None);
    let mut settings = settings.expect("as --upstream, --ca and --rules say");
    settings.admin.address = any;
    settings.listeners[0].config.tls = None;
    let app = App::start(settings, Clock::system()).await.expect("it starts");
    let status = || {
        let mut client = Connection::open(app.addresses()[0]);
        client.write(get("/api2/json/version").as_bytes());
        client.read().status()
    };
    assert_eq!(app.files(), [ca.as_path()], "its change is a reload too");
    assert_eq!(tokio::task::block_in_place(status), 502);
    fs::write(&ca, "no certificate").expect("writable");
    assert!(app.reload_file().await.is_err());
    fs::write(&ca, &right.pem).expect("writable");
    app.reload_file().await.expect("a good file");
    assert_eq!(tokio::task::block_in_place(status), 200);
    app.drain().await;
}

#[test]
fn an_upstream_is_trusted_by_its_ca_or_its_pin_and_not_otherwise() {
    let (right, wrong, own) = (Identity::new(), Identity::new(), Identity::new());
    let (open, _) = encrypted(server(&right, None, &[]));
    let (closed, shown) = encrypted(server(&right, Some(&own), &[]));
    let certificate = "client_certificate: own.pem, client_key: own.key";
    let (right_pin, wrong_pin) = (right.pin(), wrong.pin());
    let table = [
        (&open, "ca: right.pem".to_owned(), 200),
        (&open, "ca: wrong.pem".to_owned(), 502),
        (&open, format!("pin: {right_pin}"), 200),
        (&open, format!("pin: ['{wrong_pin}', '{right_pin}']"), 200),
        (&open, format!("pin: '{wrong_pin}'"), 502),
        (&open, String::new(), 502),
        (&closed, format!("ca: right.pem, {certificate}"), 200),
        (&closed, format!("pin: {right_pin}, {certificate}"), 200),
        (&closed, "ca: right.pem".to_owned(), 502),
    ];
    for (wire, tls, status) in table {
        let more = format!("rules: [rules.yaml]\ntls: {{{tls}}}");
        let forebay = Forebay::start(&[
            ("forebay.yaml", &config(&format!("https://{}", wire.address), &more)),
            ("rules.yaml", RULES),
            ("right.pem", &right.pem),
            ("wrong.pem", &wrong.pem),
            ("own.pem", &own.pem),
            ("own.key", &own.key_pem),
        ]);
        let answer = forebay.get("/api2/json/kept/1");
        assert_eq!(answer.status(), status, "{tls}: {}", answer.head);
        if status == 502 {
            assert!(
                ["detail=unreachable", "detail=lost"].contains(&answer.cache()),
                "{tls}: {}",
                answer.head
            );
            assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
        }
    }
    assert_eq!(*shown.lock(), [true, true], "our certificate was shown");
}

#[test]
fn a_listener_may_ask_for_certificates_and_renews_its_own() {
    let wire = Wire::numbered();
    let (old, new, other) = (Identity::new(), Identity::new(), Identity::new());
    let tls = "tls: {certificate: tls.pem, key: tls.key, client_ca: clients.pem}";
    let text = config(&format!("http://{}", wire.address), "rules: [rules.yaml]")
        .replace("upstream: lab}", &format!("upstream: lab, {tls}}}"));
    let forebay = Forebay::start(&[
        ("forebay.yaml", &text),
        ("rules.yaml", RULES),
        ("tls.pem", &old.pem),
        ("tls.key", &old.key_pem),
        ("clients.pem", &other.pem),
    ]);
    let target = "/api2/json/kept/1";
    let shown = |root: &Identity, own: Option<&Identity>| {
        ask(forebay.address(), &client(&root.certificate, &[], own), target).map(|(answer, _, shown)| {
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            shown
        })
    };
    assert_eq!(shown(&old, Some(&other)).expect("a known client"), old.certificate);
    assert!(shown(&old, None).is_err() && shown(&old, Some(&new)).is_err(), "strangers");
    let write = |name: &str, text: &str| fs::write(forebay.path(name), text).expect("writable");
    // The certificate without its key cannot be used, and nothing else of that reload counts either.
    forebay.logs_after("the configuration was not reloaded", || {
        write("tls.pem", &new.pem);
        write("rules.yaml", &RULES.replace("1h", "2h"));
    });
    assert_eq!(shown(&old, Some(&other)).expect("what was in force stays"), old.certificate);
    let (answer, ..) =
        ask(forebay.address(), &client(&old.certificate, &[], Some(&other)), target).expect("trusted");
    assert!(answer.contains("forebay; hit; ttl=3"), "{answer}");
    forebay.logs_after("the configuration was reloaded", || write("tls.key", &new.key_pem));
    assert_eq!(shown(&new, Some(&other)).expect("renewed"), new.certificate);
    forebay.logs_after("the configuration was reloaded", || write("clients.pem", &old.pem));
    assert!(shown(&new, Some(&other)).is_err());
    assert_eq!(shown(&new, Some(&old)).expect("the new CA counts"), new.certificate);
}

/// Answers what it was asked, with a trailer.
async fn echo(
    request: Request<Incoming>,
) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, hyper::Error>>, hyper::Error> {
    let version = format!("{:?}", request.version());
    let cookies: Vec<_> =
        request.headers().get_all("cookie").iter().map(|c| c.to_str().expect("text").to_owned()).collect();
    let told =
        request.headers().get("content-length").map(|length| length.to_str().expect("text").to_owned());
    let whole = request.into_body().collect().await?.to_bytes();
    let said = format!("{version} {cookies:?} {told:?} {}", whole.len());
    let trailers = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("x-sum"),
        http::HeaderValue::from_static("42"),
    )]);
    let frames = [Frame::data(Bytes::from(said)), Frame::trailers(trailers)];
    let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok)));
    Ok(Response::new(BodyExt::boxed(body)))
}

const PLAIN: &str = "api: none
reads:
  - {path: /kept/**, ttl: 1h}
  - {path: /passed/**, ttl: pass}
";

#[tokio::test]
async fn http_2_on_both_sides() {
    let identity = Identity::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let upstream = listener.local_addr().expect("bound");
    let acceptor = tokio_rustls::TlsAcceptor::from(server(&identity, None, &["h2", "http/1.1"]));
    let serving = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ended =
                    server.serve_connection(TokioIo::new(stream), hyper::service::service_fn(echo)).await;
            });
        }
    });
    let text = config(&format!("https://{upstream}"), "rules: [rules.yaml]\ntls: {ca: ca.pem}");
    let forebay =
        Forebay::start(&[("forebay.yaml", &text), ("rules.yaml", PLAIN), ("ca.pem", &identity.pem)]);
    let stream = tokio::net::TcpStream::connect(forebay.address()).await.expect("it listens");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("h2");
    let connection = tokio::spawn(connection);
    for (target, status) in [
        ("/kept/1", "fwd=uri-miss; stored"),
        ("/passed/1", "fwd=bypass; detail=pass"),
        ("/other", "fwd=bypass; detail=unmatched"),
    ] {
        let request = Request::get(format!("http://lab{target}"))
            .header("authorization", TOKEN)
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Full::new(Bytes::new()))
            .expect("a request");
        let answer = sender.send_request(request).await.expect("answered");
        assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
        let cache = answer.headers()["cache-status"].to_str().expect("text").to_owned();
        let whole = answer.into_body().collect().await.expect("whole");
        let trailers = whole.trailers().cloned();
        let said = String::from_utf8(whole.to_bytes().to_vec()).expect("text");
        // HTTP/2 may split cookies and HTTP/1.1 may not; one line is right for both.
        assert!(said.starts_with("HTTP/2.0 [\"a=1; b=2\"] "), "{said}");
        assert_eq!(cache, format!("forebay; {status}"), "{target}");
        if target != "/kept/1" {
            let sum = trailers.and_then(|trailers| trailers.get("x-sum").cloned());
            assert_eq!(sum.as_ref().map(|sum| sum.as_bytes()), Some(&b"42"[..]), "{target}: trailers pass");
        }
    }
    // Content without a length, as HTTP/2 may have it, arrives with one or in frames, and whole.
    let frames =
        (0..100).map(|_| Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(&[b'x'; 1000]))));
    let request = Request::post("http://lab/other").body(StreamBody::new(futures_util::stream::iter(frames)));
    let stream = tokio::net::TcpStream::connect(forebay.address()).await.expect("it listens");
    let (mut uploads, upload) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("h2");
    let upload = tokio::spawn(upload);
    let answer = uploads.send_request(request.expect("a request")).await.expect("answered");
    let said = answer.into_body().collect().await.expect("whole").to_bytes();
    assert!(said.ends_with(b" 100000"), "{said:?}");
    drop((sender, uploads));
    upload.await.expect("no panic").expect("a clean end");
    connection.await.expect("no panic").expect("a clean end");
    drop(forebay);
    serving.abort();
}

#[test]
fn the_files_of_the_made_ca_are_kept() {
    let wire = Wire::numbered();
    let text = config(&format!("http://{}", wire.address), "rules: [rules.yaml]")
        .replace("upstream: lab}", "upstream: lab, tls: auto}");
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let start = |directory: &Path| {
        let here = tempfile::tempdir().expect("a directory for temporary files");
        let certs = directory.join("kept");
        fs::write(here.path().join("forebay.yaml"), format!("certs: {}\n{text}", certs.display()))
            .expect("writable");
        fs::write(here.path().join("rules.yaml"), RULES).expect("writable");
        Forebay::start_in(here)
    };
    let first = start(directory.path());
    let ca = CertificateDer::from_pem_file(directory.path().join("kept/ca.pem")).expect("it was made");
    drop(first);
    let second = start(directory.path());
    ask(second.address(), &client(&ca, &[], None), "/api2/json/kept/1").expect("the CA is the same");
}
