//! Sockets: TLS or cleartext, HTTP/1.1 and HTTP/2.

use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{Shared, exchange};

/// Serves one connection.
pub(super) async fn connect(stream: TcpStream, shared: Arc<Shared>) {
    shared.watch.connected();
    match shared.config.tls.clone() {
        None => serve(stream, shared, "http", auto::Builder::new(TokioExecutor::new())).await,
        Some(config) => {
            let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let builder = auto::Builder::new(TokioExecutor::new());
            let builder = if http2 { builder.http2_only() } else { builder.http1_only() };
            serve(stream, shared, "https", builder).await;
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    shared: Arc<Shared>,
    scheme: &'static str,
    builder: auto::Builder<TokioExecutor>,
) {
    let service = service_fn(move |request| exchange::answer(Arc::clone(&shared), scheme, request));
    // A client that goes away, or a fault that was asked for, ends the connection with an error.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}
