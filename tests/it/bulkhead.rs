//! One cluster that is dead does not slow another: two upstreams in one process, of which one takes calls
//! and never answers.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::binary::{Connection, Forebay, Then, Wire, get, until};

const PACK: &str = r#"
api: proxmox
reads:
  - {path: "/api2/{format}/kept/{id}", ttl: 1h}
  - {path: "/api2/{format}/passed/{id}", ttl: 0s}
"#;

const READS: usize = 200;

/// So many clients call the dead one: more than its places, and as many as may wait for them.
const CALLERS: usize = 60;

/// How long a read of the one that is well takes.
fn time(address: SocketAddr, n: usize) -> Duration {
    let began = Instant::now();
    let mut connection = Connection::open(address);
    connection.write(get(&format!("/api2/json/passed/{n}")).as_bytes());
    assert_eq!(connection.read().status(), 200);
    began.elapsed()
}

#[test]
fn a_dead_cluster_does_not_slow_another() {
    let well = Wire::numbered();
    let over = Arc::new(AtomicBool::new(false));
    let dead = {
        let over = over.clone();
        Wire::start(move |_, _| {
            while !over.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
            Then::Close
        })
    };
    let port = || TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let (to_well, to_dead) = (port(), port());
    let config = format!(
        "listen:\n  - {{address: '{to_well}', upstream: well}}\n  - {{address: '{to_dead}', upstream: dead}}\n\
         admin: {{address: '127.0.0.1:0'}}\nlog: {{level: info}}\nupstreams:\n  \
         well: {{endpoints: ['http://{}'], rules: [rules.yaml]}}\n  \
         dead: {{endpoints: ['http://{}'], rules: [rules.yaml], queue: {{length: {CALLERS}, wait: 10s}}}}\n",
        well.address, dead.address
    );
    let forebay = Forebay::start(&[("forebay.yaml", &config), ("rules.yaml", PACK)]);
    // Another one whose other upstream nobody calls, to compare with at every moment, because this machine has
    // other things to do.
    let (to_same, to_nobody) = (port(), port());
    let config = config.replace(&to_well.to_string(), &to_same.to_string());
    let config = config.replace(&to_dead.to_string(), &to_nobody.to_string());
    let _undisturbed = Forebay::start(&[("forebay.yaml", &config), ("rules.yaml", PACK)]);
    let callers: Vec<_> = (0..CALLERS)
        .map(|n| {
            let mut caller = Connection::open(to_dead);
            caller.write(get(&format!("/api2/json/passed/{n}")).as_bytes());
            caller
        })
        .collect();
    // A quarter of sixteen: nobody has been accepted.
    until("all its places are taken", || dead.count() >= 4);
    let (mut beside, mut alone): (Vec<_>, Vec<_>) =
        (0..READS).map(|n| (time(to_well, n), time(to_same, n))).unzip();
    assert!(forebay.count("forebay_requests_total", r#"upstream="well""#) >= READS as u64);
    over.store(true, Ordering::SeqCst);
    drop(callers);
    beside.sort_unstable();
    alone.sort_unstable();
    let [median, slow] = [READS / 2, READS * 9 / 10];
    assert!(beside[median] < alone[median] * 3 + Duration::from_millis(5), "{beside:?}, alone {alone:?}");
    assert!(beside[slow] < alone[slow] * 3 + Duration::from_millis(20), "{beside:?}, alone {alone:?}");
}
