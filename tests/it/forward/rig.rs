//! Forebay as a forward proxy, and clients of it.

use std::net::SocketAddr;
use std::sync::Arc;

use forebay::app::App;
use forebay::clock::Clock;
use forebay::config;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Origin, RULES, until, within};

/// The host that is intercepted everywhere here.
pub const HOST: &str = "api.example";

/// Forebay with one forward proxy in front of a scripted upstream.
pub struct Front {
    pub app: App,
    pub origin: Origin,
    pub directory: tempfile::TempDir,
}

impl Front {
    /// `listener` are the keys of the forward proxy, `more` further lines of the configuration.
    pub async fn start(listener: &str, more: &str) -> Self {
        Self::with_rules(RULES, listener, more).await
    }

    pub async fn with_rules(rules: &str, listener: &str, more: &str) -> Self {
        let origin = Origin::start().await;
        let directory = tempfile::tempdir().expect("a directory for temporary files");
        std::fs::write(directory.path().join("rules.yaml"), rules).expect("writable");
        let front = (directory, origin);
        write(&front.0, &front.1, listener, more);
        let settings = config::load(&front.0.path().join("forebay.yaml"));
        let settings = settings.unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
        let app = App::start(settings, Clock::manual()).await.expect("forebay starts");
        let (directory, origin) = front;
        Self { app, origin, directory }
    }

    /// Puts another configuration into force.
    pub async fn reload(&self, listener: &str, more: &str) {
        write(&self.directory, &self.origin, listener, more);
        self.app.reload_file().await.unwrap_or_else(|error| panic!("{error:?}"));
    }

    pub fn address(&self) -> SocketAddr {
        self.app.forward_addresses()[0]
    }

    /// The CA that is made for interception.
    pub fn ca(&self) -> CertificateDer<'static> {
        let (path, _) = self.app.forward_ca().expect("something is intercepted");
        CertificateDer::from_pem_file(path).expect("a certificate")
    }

    /// A metric's value, labels included in `line`.
    pub fn metric(&self, line: &str) -> u64 {
        let text = self.app.shared().registry.render();
        let value = text.lines().find_map(|found| found.strip_prefix(line).map(str::trim));
        value.map_or(0, |value| value.parse().expect("a number"))
    }

    pub async fn until_metric(&self, line: &str, value: u64) {
        until(&format!("{line} {value}"), || self.metric(line) == value).await;
    }

    /// Sends `request` to the proxy and reads the head of its answer.
    pub async fn send(&self, request: &str) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(self.address()).await.expect("forebay listens");
        stream.write_all(request.as_bytes()).await.expect("forebay reads");
        let head = read_head(&mut stream).await;
        (stream, head)
    }

    /// The answer to a CONNECT.
    pub async fn connect(&self, target: &str) -> (TcpStream, String) {
        let secret = "Proxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: keep-alive\r\n";
        self.send(&format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{secret}\r\n")).await
    }

    /// A stream that the proxy has connected to `target`.
    pub async fn connected(&self, target: &str) -> TcpStream {
        let (stream, head) = self.connect(target).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        stream
    }

    /// TLS for `name` inside of a CONNECT to `host`, by a client that trusts the CA and nobody else.
    pub async fn inside(
        &self,
        host: &str,
        name: &str,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = self.connected(host).await;
        shake_hands(stream, name, self.ca(), alpn).await
    }

    /// The same for the host of these tests.
    pub async fn encrypted(&self) -> TlsStream<TcpStream> {
        self.inside(&format!("{HOST}:443"), HOST, &[]).await.expect("the certificate is for the host")
    }
}

fn write(directory: &tempfile::TempDir, origin: &Origin, listener: &str, more: &str) {
    let text = format!(
        "listen: [{{address: 127.0.0.1:0, {listener}}}]\nadmin: {{address: 127.0.0.1:0}}\ncerts: certs\n{more}\n\
         upstreams:\n  lab:\n    endpoints: [http://{}]\n    rules: [rules.yaml]\n    feed: {{ceiling: 30d}}\n  \
         other: {{endpoints: [http://{}], rules: [rules.yaml]}}\n",
        origin.address, origin.address
    );
    std::fs::write(directory.path().join("forebay.yaml"), text).expect("writable");
}

pub async fn shake_hands(
    stream: TcpStream,
    name: &str,
    root: CertificateDer<'static>,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("the provider has them").with_root_certificates(roots);
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    within("a handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

/// Reads up to the empty line, byte by byte, so that nothing behind it is taken.
pub async fn read_head<R: AsyncRead + Unpin>(stream: &mut R) -> String {
    let mut head = Vec::new();
    let reading = async {
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            let read = stream.read(&mut byte).await.expect("readable");
            assert_eq!(read, 1, "closed after {:?}", String::from_utf8_lossy(&head));
            head.push(byte[0]);
        }
    };
    within("a head", reading).await;
    String::from_utf8(head).expect("heads are text")
}

/// A GET for `target` of `host`, and its whole answer.
pub async fn ask(stream: &mut TlsStream<TcpStream>, host: &str, target: &str, more: &str) -> String {
    let credential = "Authorization: PVEAPIToken=user@pve!one=secret\r\n";
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{credential}{more}\r\n");
    stream.write_all(request.as_bytes()).await.expect("forebay reads");
    let mut answer = read_head(stream).await;
    let length = answer.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")
            .map(|length| length.trim().parse::<usize>().expect("a length"))
    });
    let mut body = vec![0; length.expect("answers here have a length")];
    within("a body", stream.read_exact(&mut body)).await.expect("the whole body");
    answer += &String::from_utf8(body).expect("text");
    answer
}
