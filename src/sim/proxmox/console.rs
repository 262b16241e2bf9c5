//! Consoles: a port on the node that was asked, and the WebSocket that leads to it.
//!
//! The port lives where the POST was received, not on the node in the path; a client that reaches another
//! node with the WebSocket finds nothing there.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::time::Instant;

use super::answer::{Failure, Outcome, Reply};
use super::call::Call;
use super::effects::Effect;
use super::sha1;
use super::state::Cluster;

/// How long a port waits for its client.
const PORT_WAITS: Duration = Duration::from_secs(10);

/// A port that waits for one WebSocket.
#[derive(Debug)]
pub(super) struct Console {
    node: usize,
    port: u16,
    ticket: String,
    until: Instant,
}

/// `POST .../vncproxy` and its kin for a guest.
pub(super) fn open(cluster: &mut Cluster, call: &Call, vmid: u32) -> Outcome {
    let kind = call.path.last().cloned().unwrap_or_default();
    listen(cluster, call, &kind, &vmid.to_string())
}

/// `POST /nodes/{node}/vncshell` and `termproxy`.
pub(super) fn open_shell(cluster: &mut Cluster, call: &Call) -> Outcome {
    listen(cluster, call, "vncshell", "")
}

fn listen(cluster: &mut Cluster, call: &Call, kind: &str, id: &str) -> Outcome {
    cluster.consoles.retain(|console| console.until > call.now);
    let taken =
        |port: &u16| cluster.consoles.iter().any(|known| known.port == *port && known.node == call.contacted);
    let port = (5900..6000).find(|port| !taken(port)).ok_or_else(|| Failure::die("no free port"))?;
    let upid = cluster.start_task(call.contacted, kind, id, &call.who, Effect::Nothing, call.now);
    let seed = sha1::stretch(upid.as_bytes(), 256);
    let ticket = format!("PVEVNC:{:08X}::{}", cluster.wall(call.now), STANDARD.encode(seed));
    let until = call.now + PORT_WAITS;
    cluster.consoles.push(Console { node: call.contacted, port, ticket: ticket.clone(), until });
    Ok(Reply::data(json!({"user": call.who.name(), "ticket": ticket, "port": port.to_string(), "upid": upid,
        "cert": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"})))
}

/// Takes the port that a WebSocket asks for.
pub(super) fn take(cluster: &mut Cluster, call: &Call) -> Result<(), Failure> {
    if call.who.token.is_some() {
        return Err(Failure::unauthorized("permission denied - invalid PVEVNC ticket"));
    }
    let (port, ticket) = (call.need("port")?, call.need("vncticket")?);
    let here = |known: &&Console| known.node == call.contacted && known.port.to_string() == port;
    let console = cluster.consoles.iter().find(here).filter(|console| console.until > call.now);
    let refused = || Failure::die(format!("connect to 'localhost:{port}' failed: Connection refused"));
    let console = console.ok_or_else(refused)?;
    if console.ticket != ticket {
        return Err(Failure::unauthorized("permission denied - invalid PVEVNC ticket"));
    }
    let port = console.port;
    cluster.consoles.retain(|known| known.port != port || known.node != call.contacted);
    Ok(())
}

/// The `Sec-WebSocket-Accept` that answers a key (RFC 6455 §4.2.2).
pub(super) fn accept_key(key: &str) -> String {
    STANDARD.encode(sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_handshake_is_the_one_of_the_standard() {
        assert_eq!(super::accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
