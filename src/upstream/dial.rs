//! From a name to a TCP connection.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::net;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// It would lead to an address that the caller does not want.
    #[error("the address is an excluded one")]
    Excluded,
    /// The time is up.
    #[error("the connection was not made in time")]
    TimedOut,
    /// The name has no address, or none of them takes connections.
    #[error("cannot connect")]
    Failed(#[source] io::Error),
}

/// Resolves `host` and connects; the caller stops it at `deadline`. Every address is tried, so that one which swallows packets
/// does not use up all the time.
pub(super) async fn connect(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let addresses = tokio::net::lookup_host((host, port)).await?.collect();
    connect_any(addresses, deadline).await
}

/// The same for a host that a client chose: never one of `own`, the addresses of this very process, however
/// the name is written or resolved.
pub async fn dial(
    host: &str,
    port: u16,
    deadline: Instant,
    own: &[SocketAddr],
) -> Result<TcpStream, DialError> {
    let dialled = async {
        let found = tokio::net::lookup_host((host, port)).await.map_err(DialError::Failed)?;
        let (excluded, addresses): (Vec<_>, Vec<_>) = found.partition(|address| is_own(*address, own));
        if addresses.is_empty() && !excluded.is_empty() {
            return Err(DialError::Excluded);
        }
        let stream = connect_any(addresses, deadline).await.map_err(DialError::Failed)?;
        let ends = stream.local_addr().and_then(|local| Ok((local, stream.peer_addr()?)));
        match ends.map_err(DialError::Failed)? {
            // One of this machine's addresses, where a listener takes connections on all of them.
            (local, peer) if local.ip() == peer.ip() && listens_on_all(own, peer.port()) => {
                Err(DialError::Excluded)
            }
            _ => Ok(stream),
        }
    };
    match tokio::time::timeout_at(deadline, dialled).await {
        Ok(result) => result,
        Err(_) => Err(DialError::TimedOut),
    }
}

async fn connect_any(addresses: Vec<SocketAddr>, deadline: Instant) -> io::Result<TcpStream> {
    if let [only] = addresses.as_slice() {
        // The caller's own timer does.
        return net::connect(*only).await;
    }
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        match tokio::time::timeout(share, net::connect(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// Whether a connection to `address` would come out at one of `own`. All loopback addresses count as one:
/// which of them a system takes for which is its own affair.
fn is_own(address: SocketAddr, own: &[SocketAddr]) -> bool {
    let ip = address.ip().to_canonical();
    own.iter().filter(|own| own.port() == address.port()).any(|own| {
        let own = own.ip().to_canonical();
        let is_here = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
        ip == own || (is_here(ip) && is_here(own))
    })
}

fn listens_on_all(own: &[SocketAddr], port: u16) -> bool {
    own.iter().any(|own| own.port() == port && own.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_known_in_every_clothing() {
        let own: Vec<SocketAddr> =
            ["127.0.0.1:9006", "0.0.0.0:8006", "10.0.0.1:3128"].map(|text| text.parse().unwrap()).into();
        let cases = [
            ("127.0.0.1:9006", true),
            ("127.9.9.9:9006", true),
            ("[::1]:9006", true),
            ("[::ffff:127.0.0.1]:9006", true),
            ("0.0.0.0:9006", true),
            ("[::]:8006", true),
            ("127.0.0.1:8006", true),
            ("10.0.0.1:3128", true),
            ("[::ffff:10.0.0.1]:3128", true),
            ("127.0.0.1:9007", false),
            ("10.0.0.2:3128", false),
            ("127.0.0.1:3128", false),
        ];
        for (address, expected) in cases {
            assert_eq!(is_own(address.parse().unwrap(), &own), expected, "{address}");
        }
    }
}
