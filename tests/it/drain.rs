//! Stopping: what has begun ends, what comes is turned away.

use std::net::TcpStream;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::process::Signal;

use crate::binary::{Connection, Forebay, Wire, get, reply, until};

/// Forebay with one request that is held upstream while the lock is.
fn holding() -> (Wire, Arc<Mutex<()>>) {
    let gate = Arc::new(Mutex::new(()));
    let held = gate.clone();
    let wire = Wire::start(move |_, stream| {
        drop(held.lock());
        reply(stream, "{\"data\":\"late\"}")
    });
    (wire, gate)
}

#[test]
fn a_first_signal_lets_what_has_begun_finish() {
    for signal in [Signal::TERM, Signal::INT] {
        let (wire, gate) = holding();
        let mut forebay = Forebay::before(&wire, "");
        let address = forebay.address();
        let closed = gate.lock();
        let mut client = Connection::open(address);
        client.write(get("/api2/json/kept/1").replace("Connection: close\r\n", "").as_bytes());
        let mut idle = Connection::open(address);
        until("the call is upstream", || wire.count() == 1);
        forebay.signal(signal);
        forebay.logs("draining");
        until("new connections are refused", || TcpStream::connect(address).is_err());
        assert!(idle.is_over(), "a connection without a request is closed");
        assert!(forebay.runs(), "it waits for the request");
        drop(closed);
        let answer = client.read();
        assert_eq!((answer.status(), answer.text().as_str()), (200, "{\"data\":\"late\"}"));
        assert!(client.is_over(), "no further request on this connection");
        assert_eq!(forebay.ended().code(), Some(0));
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let (wire, gate) = holding();
    let mut forebay = Forebay::before(&wire, "");
    let closed = gate.lock();
    let mut client = Connection::open(forebay.address());
    client.write(get("/api2/json/kept/1").as_bytes());
    until("the call is upstream", || wire.count() == 1);
    forebay.signal(Signal::TERM);
    forebay.logs("draining");
    assert!(forebay.runs());
    forebay.signal(Signal::INT);
    assert_eq!(forebay.ended().code(), Some(0));
    assert!(client.is_over(), "the client is told by the end of its connection");
    drop(closed);
}

#[test]
fn nothing_to_wait_for_ends_at_once() {
    let wire = Wire::numbered();
    let mut forebay = Forebay::before(&wire, "");
    let mut kept = Connection::open(forebay.address());
    kept.write(get("/api2/json/kept/1").replace("Connection: close\r\n", "").as_bytes());
    assert_eq!(kept.read().status(), 200);
    forebay.signal(Signal::TERM);
    assert_eq!(forebay.ended().code(), Some(0));
    assert!(kept.is_over());
}
