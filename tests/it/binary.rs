//! The built program as an operator starts it, an upstream that answers any bytes, and a client that
//! sends any: plain blocking sockets and threads, so that nothing here shares code with what it tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, kill_process};

/// Nothing in a test takes longer than this; what does, hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The credential of requests that do not bring another.
pub const TOKEN: &str = "PVEAPIToken=user@pve!one=0f0f0f0f-secret";

/// Runs `forebay` with these arguments to its end.
pub fn forebay(arguments: &[&str], directory: &Path) -> Output {
    command(directory).args(arguments).output().expect("the program was built")
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command
        .current_dir(directory)
        .env_remove("FOREBAY_CONFIG")
        .env_remove("FOREBAY_CERTS")
        .stdin(Stdio::null());
    command
}

/// A running forebay.
pub struct Forebay {
    child: Child,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
    /// Where it listens, in order.
    pub addresses: Vec<SocketAddr>,
    /// Its admin address.
    pub admin: SocketAddr,
    /// Its working directory; the configuration is forebay.yaml there.
    pub directory: tempfile::TempDir,
}

/// The lines of a log as they come.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

/// A configuration with one upstream at `endpoint`, `more` being lines about it.
pub fn config(endpoint: &str, more: &str) -> String {
    // Nobody watches here for changes made elsewhere, and what a rule says is what is tested.
    let feed = if more.contains("feed:") { "" } else { "\nfeed: {ceiling: 30d}" };
    let more: String = format!("{more}{feed}").lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "listen: [{{address: 127.0.0.1:0, upstream: lab}}]\nadmin: {{address: 127.0.0.1:0}}\n\
         upstreams:\n  lab:\n    endpoints: [{endpoint}]\n{more}"
    )
}

/// Rules with a read that is kept and one that is only passed on.
pub const RULES: &str = "api: proxmox
reads:
  - {path: \"/api2/{format}/kept/{id}\", ttl: 1h, groups: [\"kept/{id}\"]}
  - {path: \"/api2/{format}/passed/**\", ttl: pass}
writes:
  - {methods: [POST, PUT, DELETE], path: \"/api2/{format}/kept/{id}\", invalidates: [\"kept/{id}\"]}
";

impl Forebay {
    /// Starts it in a new directory with these files, of which one is forebay.yaml.
    pub fn start(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory for temporary files");
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).expect("writable");
        }
        Self::start_in(directory)
    }

    /// The same with [`RULES`] in front of one upstream.
    pub fn before(upstream: &Wire, more: &str) -> Self {
        let config = config(&format!("http://{}", upstream.address), &format!("rules: [rules.yaml]\n{more}"));
        Self::start(&[("forebay.yaml", &config), ("rules.yaml", RULES)])
    }

    /// Starts it in a directory that has a forebay.yaml with an info log, which tells the addresses.
    pub fn start_in(directory: tempfile::TempDir) -> Self {
        let command = command(directory.path());
        Self::told(Self::spawn(command, directory, ([0; 4], 0).into()))
    }

    /// The same with these files, in a mount namespace of its own in which the shell has run `script`. `None`: this
    /// machine lets nobody mount anything.
    pub fn start_mounted(files: &[(&str, &str)], script: &str) -> Option<Self> {
        Self::start_unshared(&["--map-root-user", "--mount"], files, script)
    }

    /// The same as the root of this machine, who may mount devices.
    pub fn start_mounted_by_root(files: &[(&str, &str)], script: &str) -> Option<Self> {
        Self::start_unshared(&["--mount"], files, script)
    }

    fn start_unshared(from: &[&str], files: &[(&str, &str)], script: &str) -> Option<Self> {
        let shell = |script: String| {
            let mut command = Command::new("unshare");
            command.args(from).args(["sh", "-c", &script]).stdin(Stdio::null());
            command
        };
        let tried = shell(script.to_owned()).output();
        if !tried.is_ok_and(|tried| tried.status.success()) {
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory for temporary files");
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).expect("writable");
        }
        let mut command = shell(format!("{script} && exec {}", env!("CARGO_BIN_EXE_forebay")));
        command.current_dir(directory.path()).env_remove("FOREBAY_CONFIG").env_remove("FOREBAY_CERTS");
        Some(Self::told(Self::spawn(command, directory, ([0; 4], 0).into())))
    }

    fn told(mut started: Self) -> Self {
        started.admin = address(&started.log.wait_for("for operators at http"));
        let lines = started.log();
        let serving = lines.iter().filter(|line| line.contains("serving http"));
        started.addresses = serving.map(|line| address(line)).collect();
        started
    }

    /// Starts it in a directory whose forebay.yaml names a free address, and waits until it listens.
    pub fn start_at(directory: tempfile::TempDir, address: SocketAddr) -> Self {
        let started = Self::spawn(command(directory.path()), directory, address);
        until("it listens", || TcpStream::connect(address).is_ok());
        started
    }

    fn spawn(mut command: Command, directory: tempfile::TempDir, address: SocketAddr) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program was built");
        let log = Arc::new(Log::default());
        let errors = BufReader::new(child.stderr.take().expect("it was asked for"));
        let shared = log.clone();
        let reader = std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                shared.lines.lock().push(line);
                shared.more.notify_all();
            }
            shared.lines.lock().push(END.into());
            shared.more.notify_all();
        });
        let admin = ([0; 4], 0).into();
        Self { child, log, reader: Some(reader), addresses: vec![address], admin, directory }
    }

    /// The first address.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// A file in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Sends these bytes on a new connection and reads what comes.
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut connection = Connection::open(self.address());
        connection.write(bytes.as_ref());
        connection.read()
    }

    /// A GET with [`TOKEN`].
    pub fn get(&self, target: &str) -> Answer {
        self.send(get(target))
    }

    /// The log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lines.lock().clone()
    }

    /// Waits for a line of the log that contains `text` and gives it.
    pub fn logs(&self, text: &str) -> String {
        self.log.wait_for(text)
    }

    /// Waits for one more such line than there are now, after `cause` was done.
    pub fn logs_after(&self, text: &str, cause: impl FnOnce()) -> String {
        let before = self.log.lines.lock().iter().filter(|line| line.contains(text)).count();
        cause();
        self.log.wait_for_more(text, before)
    }

    /// The metrics as text.
    pub fn metrics(&self) -> String {
        let mut connection = Connection::open(self.admin);
        connection.write(b"GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        connection.read().text()
    }

    /// The sum of the series of `name` whose labels contain `labels`.
    pub fn count(&self, name: &str, labels: &str) -> u64 {
        let metrics = self.metrics();
        let lines = metrics.lines().filter(|l| l.starts_with(&format!("{name}{{")) && l.contains(labels));
        lines.map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("a count")).sum()
    }

    /// Its number.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed()).expect("a process")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it is our child");
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        self.log.wait_for(END);
        self.child.wait().expect("it is our child")
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// The most memory that it has held, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") * 1024
    }
}

impl Drop for Forebay {
    fn drop(&mut self) {
        // It may have ended, as its test meant it to.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _read = reader.join();
        }
        if std::thread::panicking() {
            self.log.lines.lock().iter().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// The last line of every log, once the process has ended.
const END: &str = "(the process has ended)";

impl Log {
    fn wait_for(&self, text: &str) -> String {
        self.wait_for_more(text, 0)
    }

    fn wait_for_more(&self, text: &str, than: usize) -> String {
        let mut lines = self.lines.lock();
        loop {
            if let Some(line) = lines.iter().filter(|line| line.contains(text)).nth(than) {
                return line.clone();
            }
            let ended = lines.last().is_some_and(|line| line == END);
            let timeout = ended || self.more.wait_for(&mut lines, PATIENCE).timed_out();
            assert!(!timeout, "`{text}` was never logged:\n{}", lines.join("\n"));
        }
    }
}

fn address(line: &str) -> SocketAddr {
    let rest = line.split("://").nth(1).expect("a URL");
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).unwrap_or(rest.len());
    rest[..end].parse().expect("an address")
}

/// The bytes of a GET with [`TOKEN`].
pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: lab\r\nAuthorization: {TOKEN}\r\nConnection: close\r\n\r\n")
}

/// Waits until `condition` holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    // Real time is the only clock that another process shares with its test.
    for _ in 0..PATIENCE.as_millis() / 5 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("waited too long: {what}");
}

/// A client's connection.
pub struct Connection {
    /// The socket.
    pub stream: TcpStream,
    unread: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The head.
    pub head: String,
    /// What followed it.
    pub body: Vec<u8>,
    /// Whether the body came as its head promised.
    pub whole: bool,
}

impl Connection {
    /// Opens one.
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_nodelay(true).expect("an option of sockets");
        Self { stream, unread: Vec::new() }
    }

    /// Writes; what the other side no longer takes is its answer's to explain.
    pub fn write(&mut self, bytes: &[u8]) {
        let _refused_early = self.stream.write_all(bytes);
    }

    /// The next head; empty when the connection has ended.
    pub fn head(&mut self) -> String {
        loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                let rest = self.unread.split_off(at + 4);
                return String::from_utf8(std::mem::replace(&mut self.unread, rest)).expect("heads are text");
            }
            if !self.more() {
                return String::new();
            }
        }
    }

    /// The next answer.
    pub fn read(&mut self) -> Answer {
        let head = self.head();
        assert!(!head.is_empty(), "closed without an answer");
        self.body(head)
    }

    /// The content behind `head`.
    pub fn body(&mut self, head: String) -> Answer {
        let status = status(&head);
        let mut body = Vec::new();
        let mut whole = true;
        if field(&head, "transfer-encoding").is_some() {
            whole = loop {
                while find(&self.unread, b"\r\n").is_none() && self.more() {}
                let Some(end) = find(&self.unread, b"\r\n") else { break false };
                let line = std::str::from_utf8(&self.unread[..end]).expect("text");
                let size = usize::from_str_radix(line, 16).expect("the size of a chunk");
                while self.unread.len() < end + size + 4 && self.more() {}
                if self.unread.len() < end + size + 4 {
                    break false;
                }
                body.extend_from_slice(&self.unread[end + 2..end + 2 + size]);
                self.unread.drain(..end + size + 4);
                if size == 0 {
                    break true;
                }
            };
        } else if ![204, 304].contains(&status) {
            let length = field(&head, "content-length").map_or(usize::MAX, |n| n.parse().expect("a number"));
            while self.unread.len() < length && self.more() {}
            whole = length == usize::MAX || self.unread.len() >= length;
            let rest = self.unread.split_off(length.min(self.unread.len()));
            body = std::mem::replace(&mut self.unread, rest);
        }
        Answer { head, body, whole }
    }

    /// The next `length` bytes.
    pub fn next(&mut self, length: usize) -> Vec<u8> {
        while self.unread.len() < length && self.more() {}
        let rest = self.unread.split_off(length);
        std::mem::replace(&mut self.unread, rest)
    }

    /// Whether the other side has closed and nothing is left.
    pub fn is_over(&mut self) -> bool {
        self.unread.is_empty() && !self.more()
    }

    fn more(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.unread.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            // A signal to this process is no news of the other side.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => self.more(),
            Err(error) => panic!("nothing came: {error}"),
        }
    }
}

impl Answer {
    /// The status code.
    pub fn status(&self) -> u16 {
        status(&self.head)
    }

    /// The reason phrase.
    pub fn reason(&self) -> &str {
        self.head.lines().next().and_then(|line| line.splitn(3, ' ').nth(2)).unwrap_or_default()
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// `Cache-Status` without the name of the cache.
    pub fn cache(&self) -> &str {
        let status = self.field("cache-status").unwrap_or_else(|| panic!("no Cache-Status: {}", self.head));
        status.strip_prefix("forebay; ").unwrap_or_else(|| panic!("not ours: {status}"))
    }

    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }

    /// Checks that this is an error of forebay's own in the form of Proxmox.
    pub fn is_own_error(&self, status: u16, detail: &str) {
        assert_eq!(self.status(), status, "{}", self.head);
        assert_eq!(self.cache(), format!("detail={detail}"), "{}", self.head);
        assert!(self.reason().starts_with("forebay: "), "{}", self.head);
        let media = self.field("content-type").unwrap_or_default();
        assert!(media.starts_with("application/json"), "{}", self.head);
        let body: serde_json::Value = serde_json::from_slice(&self.body).expect("JSON");
        assert!(body.get("data").is_some_and(serde_json::Value::is_null), "{body}");
        assert_eq!(body["message"].as_str().map(str::trim_end), Some(self.reason()), "{body}");
        assert_eq!(self.field("retry-after").is_some(), status == 429, "{}", self.head);
    }
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status: {head}"))
}

/// The value of a field of a head.
pub fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// What an upstream does with a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It waits for the next request.
    Keep,
    /// It closes.
    Close,
}

/// A request as an upstream saw it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The head.
    pub head: String,
    /// The content, if the upstream reads it.
    pub body: Vec<u8>,
}

impl Call {
    /// The method and the target.
    pub fn line(&self) -> &str {
        self.head.split(" HTTP/").next().unwrap_or_default()
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }
}

/// An upstream that answers whatever its closure writes.
pub struct Wire {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    stopped: AtomicBool,
    calls: Mutex<Vec<Call>>,
    streams: Mutex<Vec<(TcpStream, SocketAddr)>>,
}

impl Wire {
    /// Answers each request by `answer`, which is given the request and the socket.
    pub fn start(answer: impl Fn(&Call, &mut TcpStream) -> Then + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        Self::start_raw(move |stream, calls| {
            let mut unread = Vec::new();
            while let Some(call) = next_call(stream, &mut unread) {
                calls.lock().push(call.clone());
                match answer(&call, stream) {
                    Then::Keep => {}
                    Then::Close => break,
                }
            }
        })
    }

    /// Serves each connection by `serve`, which may note calls. A connection whose request it has not
    /// read to the end is reset when it returns, as the kernel does with what nobody will read.
    pub fn start_raw(serve: impl Fn(&mut TcpStream, &Mutex<Vec<Call>>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State::default());
        let shared = state.clone();
        let accepting = std::thread::spawn(move || {
            let serve = Arc::new(serve);
            let mut threads = Vec::new();
            for mut stream in listener.incoming().map_while(Result::ok) {
                if shared.stopped.load(Ordering::SeqCst) {
                    break;
                }
                stream.set_nodelay(true).expect("an option of sockets");
                let kept = stream.try_clone().expect("descriptors are left");
                let Ok(peer) = kept.peer_addr() else { continue };
                shared.streams.lock().push((kept, peer));
                let (serve, shared) = (serve.clone(), shared.clone());
                threads.push(std::thread::spawn(move || {
                    serve(&mut stream, &shared.calls);
                    // Both handles have to go for the connection to end.
                    shared.streams.lock().retain(|(_, other)| *other != peer);
                }));
            }
            threads.into_iter().for_each(|thread| thread.join().expect("the upstream's script holds"));
        });
        Self { address, state, accepting: Some(accepting) }
    }

    /// Answers each request with 200 and a JSON body that names its number.
    pub fn numbered() -> Self {
        let number = std::sync::atomic::AtomicU64::new(0);
        Self::start(move |_, stream| {
            let number = number.fetch_add(1, Ordering::SeqCst) + 1;
            reply(stream, &format!("{{\"data\":{number}}}"))
        })
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.state.calls.lock().clone()
    }

    /// How many calls there were.
    pub fn count(&self) -> usize {
        self.state.calls.lock().len()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        drop(TcpStream::connect(self.address));
        self.state.streams.lock().iter().for_each(|(stream, _)| drop(stream.shutdown(Shutdown::Both)));
        if let Some(accepting) = self.accepting.take()
            && let Err(panic) = accepting.join()
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

fn next_call(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<Call> {
    let mut buffer = [0; 64 * 1024];
    let mut more = |unread: &mut Vec<u8>| match stream.read(&mut buffer) {
        Ok(read) if read > 0 => {
            unread.extend_from_slice(&buffer[..read]);
            true
        }
        _ => false,
    };
    let end = loop {
        if let Some(at) = find(unread, b"\r\n\r\n") {
            break at + 4;
        }
        if !more(unread) {
            return None;
        }
    };
    let rest = unread.split_off(end);
    let head = String::from_utf8(std::mem::replace(unread, rest)).expect("heads are text");
    let length: usize = field(&head, "content-length").map_or(0, |n| n.parse().expect("a number"));
    assert!(field(&head, "transfer-encoding").is_none(), "calls have a length: {head}");
    while unread.len() < length {
        if !more(unread) {
            return None;
        }
    }
    let rest = unread.split_off(length);
    Some(Call { head, body: std::mem::replace(unread, rest) })
}

/// Writes a 200 with this JSON body.
pub fn reply(stream: &mut TcpStream, body: &str) -> Then {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json;charset=UTF-8";
    write(stream, &format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

/// Writes these bytes.
pub fn write(stream: &mut TcpStream, text: &str) -> Then {
    match stream.write_all(text.as_bytes()) {
        Ok(()) => Then::Keep,
        Err(_) => Then::Close,
    }
}
