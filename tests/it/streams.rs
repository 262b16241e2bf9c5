//! Bodies larger than any memory: they pass, both ways, and nothing is held.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::binary::{Connection, Forebay, Wire, get, until};

const MIB: u64 = 1 << 20;
/// Five times what the process may hold.
const SIZE: u64 = 512 * MIB;
/// What it may hold at the most, the program itself included.
const MEMORY: u64 = 100 * MIB;

static PIECE: [u8; 1 << 16] = [b'x'; 1 << 16];

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}

/// Reads up to `end` bytes and says how many there were.
fn drain(stream: &mut TcpStream, end: u64, seen: &AtomicU64) {
    let mut buffer = vec![0; 1 << 16];
    while seen.load(Ordering::SeqCst) < end {
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => seen.fetch_add(read as u64, Ordering::SeqCst),
            _ => return,
        };
    }
}

#[test]
fn an_upload_flows_in_constant_memory() {
    let seen = Arc::new(AtomicU64::new(0));
    let received = seen.clone();
    let wire = Wire::start_raw(move |stream, _| {
        let head = read_head(stream);
        if head.is_empty() {
            return;
        }
        assert!(head.to_lowercase().contains(&format!("content-length: {SIZE}\r\n")), "{head}");
        drain(stream, SIZE, &received);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").expect("forebay reads");
    });
    let forebay = Forebay::before(&wire, "");
    let mut client = Connection::open(forebay.address());
    let head = get("/api2/json/nodes/pve1/storage/local/upload").replace("GET", "POST");
    client.write(head.replace("\r\n\r\n", &format!("\r\nContent-Length: {SIZE}\r\n\r\n")).as_bytes());
    let pieces = SIZE / PIECE.len() as u64;
    client.stream.write_all(&PIECE).expect("forebay reads");
    until("the first bytes are upstream before the second were sent", || {
        seen.load(Ordering::SeqCst) == PIECE.len() as u64
    });
    for _ in 1..pieces {
        client.stream.write_all(&PIECE).expect("forebay reads");
    }
    let answer = client.read();
    assert_eq!((answer.status(), answer.cache()), (200, "fwd=method; detail=write"), "{}", answer.head);
    assert_eq!(seen.load(Ordering::SeqCst), SIZE);
    assert!(forebay.peak_memory() < MEMORY, "{} MiB", forebay.peak_memory() / MIB);
}

/// An upstream that sends `size` bytes, as chunks or with a length, and says how far it is and whether
/// nobody takes more.
fn sending(size: u64, chunked: bool) -> (Wire, Arc<AtomicU64>, Arc<AtomicBool>) {
    let (sent, stuck) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, is_stuck) = (sent.clone(), stuck.clone());
    let wire = Wire::start_raw(move |stream, _| {
        if read_head(stream).is_empty() {
            return;
        }
        stream.set_write_timeout(Some(Duration::from_secs(1))).expect("not zero");
        let length =
            if chunked { "Transfer-Encoding: chunked".into() } else { format!("Content-Length: {size}") };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{length}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("forebay reads");
        let piece = match chunked {
            true => [format!("{:x}\r\n", PIECE.len()).as_bytes(), &PIECE, b"\r\n"].concat(),
            false => PIECE.to_vec(),
        };
        for _ in 0..size / PIECE.len() as u64 {
            let mut left = &piece[..];
            while !left.is_empty() {
                match stream.write(left) {
                    Ok(written) => left = &left[written..],
                    Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                        is_stuck.store(true, Ordering::SeqCst);
                    }
                    Err(_) => return,
                }
            }
            count.fetch_add(PIECE.len() as u64, Ordering::SeqCst);
        }
        if chunked {
            stream.write_all(b"0\r\n\r\n").expect("forebay reads");
        }
    });
    (wire, sent, stuck)
}

#[test]
fn a_download_flows_in_constant_memory_whether_its_rule_keeps_answers_or_not() {
    for (target, chunked) in
        [("/api2/json/passed/big", false), ("/api2/json/kept/big", false), ("/api2/json/kept/big", true)]
    {
        let (wire, sent, stuck) = sending(SIZE, chunked);
        let forebay = Forebay::before(&wire, "");
        let mut client = Connection::open(forebay.address());
        client.write(get(target).as_bytes());
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200 OK") && !head.contains("stored") | chunked, "{head}");
        // Nobody reads, so the upstream is not read either: it cannot get far.
        until("the upstream has to wait", || stuck.load(Ordering::SeqCst));
        assert!(
            sent.load(Ordering::SeqCst) < MEMORY,
            "{target}: {} MiB are held",
            sent.load(Ordering::SeqCst) / MIB
        );
        let read = AtomicU64::new(0);
        drain(&mut client.stream, u64::MAX, &read);
        // What came along with the head is in the client's buffer.
        assert!(read.load(Ordering::SeqCst) > SIZE - MIB, "{target}: {}", read.load(Ordering::SeqCst));
        assert_eq!(sent.load(Ordering::SeqCst), SIZE);
        assert!(forebay.peak_memory() < MEMORY, "{target}: {} MiB", forebay.peak_memory() / MIB);
        assert!(!forebay.get("/api2/json/kept/none").cache().starts_with("hit"));
    }
}

#[test]
fn the_first_bytes_flow_before_the_last() {
    for target in ["/api2/json/passed/1", "/api2/json/kept/1"] {
        let (go, gone) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (shared, done) = (go.clone(), gone.clone());
        let wire = Wire::start(move |_, stream| {
            crate::binary::write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234");
            until("the client has the first half", || shared.load(Ordering::SeqCst));
            done.store(true, Ordering::SeqCst);
            crate::binary::write(stream, "56789")
        });
        let forebay = Forebay::before(&wire, "");
        let mut client = Connection::open(forebay.address());
        client.write(get(target).as_bytes());
        let head = client.head();
        let first = client.next(5);
        assert!(!gone.load(Ordering::SeqCst));
        assert_eq!(first, b"01234", "{head}");
        go.store(true, Ordering::SeqCst);
        assert_eq!(client.next(5), b"56789");
    }
}
