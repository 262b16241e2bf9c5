//! One connection of a client, and what all clients have in common.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use memchr::memmem;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Result;

/// Where and how clients connect.
#[derive(Args, Clone)]
pub struct Peer {
    /// The proxy
    #[arg(long)]
    pub to: SocketAddr,
    /// Speak TLS
    #[arg(long)]
    pub tls: bool,
    /// Header fields of each request, as `Name: value`
    #[arg(long)]
    pub header: Vec<String>,
}

impl Peer {
    /// What follows the target in each request.
    pub fn rest(&self) -> Vec<u8> {
        let mut rest = b" HTTP/1.1\r\nHost: bench.example\r\nAccept: */*\r\nUser-Agent: load\r\n".to_vec();
        for field in &self.header {
            rest.extend_from_slice(field.as_bytes());
            rest.extend_from_slice(b"\r\n");
        }
        rest.extend_from_slice(b"\r\n");
        rest
    }

    /// Opens connections.
    pub fn connector(&self) -> Result<Connector> {
        let tls = self.tls.then(tls_config).transpose()?.map(|config| TlsConnector::from(Arc::new(config)));
        Ok(Connector { to: self.to, tls, room: 256 * 1024 })
    }
}

/// Opens connections.
#[derive(Clone)]
pub struct Connector {
    to: SocketAddr,
    tls: Option<TlsConnector>,
    /// How much of an answer a connection reads at once.
    room: usize,
}

impl Connector {
    /// Connections for small answers, a thousand of which at once are no work to read.
    pub fn small(self) -> Self {
        Self { room: 8 * 1024, ..self }
    }

    /// A new connection, with a full handshake where TLS is spoken.
    pub async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(self.to).await?;
        stream.set_nodelay(true)?;
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(tls) => {
                let name = ServerName::try_from("localhost")?;
                Stream::Tls(Box::new(tls.connect(name, stream).await?))
            }
        };
        Ok(Connection { stream, buffer: vec![0; self.room] })
    }
}

/// TLS without resumption that trusts anybody: the certificate is made for the run, and who verifies it is
/// the client, which is not measured.
fn tls_config() -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let trust = TrustsAnybody(provider.signature_verification_algorithms.supported_schemes());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trust))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

#[derive(Debug)]
struct TrustsAnybody(Vec<SignatureScheme>);

impl ServerCertVerifier for TrustsAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    async fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.write_all(bytes).await,
            Stream::Tls(stream) => stream.write_all(bytes).await,
        }
    }

    async fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buffer).await,
            Stream::Tls(stream) => stream.read(buffer).await,
        }
    }
}

/// A connection with one request at a time.
pub struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
}

/// What is known of an answer.
#[derive(Clone, Copy)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Whether the proxy says that the answer came from its cache.
    pub hit: bool,
}

impl Connection {
    /// Sends a request and reads its whole answer, which must have a length.
    pub async fn get(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).await?;
        let mut length = 0;
        let (answer, mut left) = loop {
            let read = self.stream.read(&mut self.buffer[length..]).await?;
            if read == 0 {
                return Err("the connection was closed inside an answer".into());
            }
            length += read;
            if let Some(end) = memmem::find(&self.buffer[..length], b"\r\n\r\n") {
                let (answer, body) = read_head(&self.buffer[..end + 2])?;
                let have = length - end - 4;
                break (answer, body.checked_sub(have).ok_or("more came than was asked for")?);
            }
        };
        while left > 0 {
            match self.stream.read(&mut self.buffer).await? {
                0 => return Err("the connection was closed inside a body".into()),
                read => left = left.checked_sub(read).ok_or("more came than was asked for")?,
            }
        }
        Ok(answer)
    }
}

fn read_head(head: &[u8]) -> Result<(Answer, usize)> {
    let status = std::str::from_utf8(head.get(9..12).ok_or("an answer without a status")?)?.parse()?;
    let (mut length, mut hit) = (None, false);
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            length = Some(std::str::from_utf8(value)?.parse()?);
        } else if name.eq_ignore_ascii_case(b"cache-status") {
            hit |= memmem::find(value, b"; hit").is_some();
        } else if name.eq_ignore_ascii_case(b"x-cache") {
            hit |= value == b"HIT";
        }
    }
    let length = length.or((status == 304).then_some(0)).ok_or("an answer without a length")?;
    Ok((Answer { status, hit }, length))
}
