//! What handlers answer, and how it becomes bytes: random order, envelopes, error texts.
//!
//! Order is random because it is in Perl: object keys always, lists where a handler says so.

use serde_json::{Map, Value};

/// A successful answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) data: Value,
    /// Members beside `data`, such as `total`.
    pub(super) beside: Vec<(&'static str, Value)>,
    order: Order,
}

/// The order of a list's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Kept,
    Random,
    /// Random but for the first item.
    RandomRest,
}

/// What a handler comes to.
pub(super) type Outcome = Result<Reply, Failure>;

impl Reply {
    /// An answer whose list, if it is one, keeps its order.
    pub(super) fn data(data: impl Into<Value>) -> Self {
        Self { data: data.into(), beside: Vec::new(), order: Order::Kept }
    }

    /// A list whose items come in random order.
    pub(super) fn list(items: Vec<Value>) -> Self {
        Self { data: Value::Array(items), beside: Vec::new(), order: Order::Random }
    }

    /// A list whose first item stays there and whose others come in random order.
    pub(super) fn list_after_first(items: Vec<Value>) -> Self {
        Self { order: Order::RandomRest, ..Self::list(items) }
    }

    /// A list in order with its length beside it.
    pub(super) fn counted(items: Vec<Value>, total: usize) -> Self {
        Self { data: Value::Array(items), beside: vec![("total", total.into())], order: Order::Kept }
    }

    /// The answer of calls that return nothing.
    pub(super) fn null() -> Self {
        Self::data(Value::Null)
    }
}

/// A failed call.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: u16,
    /// The whole message; only its first line reaches the reason phrase.
    message: String,
    errors: Map<String, Value>,
    /// Time the call takes before it fails.
    pub(super) delay: Delay,
    pub(super) body: Body,
}

/// Time that a failing call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delay {
    None,
    /// The guest agent is asked and does not answer.
    DeadAgent,
    /// A 401 is held back to punish guessing.
    Penalty,
}

/// What a failure carries beside its reason phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Json,
    /// The message as text without a content type.
    Text,
    /// Nothing, and no `Content-Length` either.
    None,
}

impl Failure {
    /// A failure with this status and message.
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), errors: Map::new(), delay: Delay::None, body: Body::Json }
    }

    /// What most calls fail with: a Perl `die`.
    pub(super) fn die(message: impl Into<String>) -> Self {
        Self::new(500, message)
    }

    /// A failure found by pveproxy itself before any handler.
    pub(super) fn bare(status: u16, message: impl Into<String>, body: Body) -> Self {
        Self { body, ..Self::new(status, message) }
    }

    /// 401 as pveproxy gives it: late, and with nothing but a reason.
    pub(super) fn unauthorized(reason: &str) -> Self {
        Self { delay: Delay::Penalty, ..Self::bare(401, reason, Body::None) }
    }

    /// 400 about one parameter.
    pub(super) fn parameter(name: &str, message: &str) -> Self {
        let mut failure = Self::new(400, "Parameter verification failed.");
        failure.errors.insert(name.to_owned(), message.into());
        failure
    }

    /// 403 with the path and the missing privileges in the reason, where clients read them.
    pub(super) fn forbidden(path: &str, privileges: &[&str]) -> Self {
        Self::new(403, format!("Permission check failed ({path}, {})", privileges.join("|")))
    }

    /// 501 for a path or method that the API does not have.
    pub(super) fn not_implemented(method: &str, path: &[String]) -> Self {
        Self::new(501, format!("Method '{method} /{}' not implemented", path.join("/")))
    }

    pub(super) fn delayed(self, delay: Delay) -> Self {
        Self { delay, ..self }
    }

    /// The reason phrase.
    pub(super) fn reason(&self) -> String {
        self.message.lines().next().unwrap_or_default().to_owned()
    }

    /// The message as bodies carry it. Only 501 comes without a line end.
    fn text(&self) -> String {
        if self.status == 501 { self.message.clone() } else { format!("{}\n", self.message) }
    }
}

/// The envelope around answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `/api2/json`: status codes as they are.
    Json,
    /// `/api2/extjs`: 200 even for errors, with `success` in the body.
    ExtJs,
}

/// An answer ready for the wire, but for its header fields.
#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) status: u16,
    pub(super) reason: String,
    /// `None` is no body and no `Content-Length`, which is not the same as an empty body.
    pub(super) body: Option<Vec<u8>>,
    pub(super) content_type: Option<&'static str>,
    pub(super) delay: Delay,
}

const JSON: &str = "application/json;charset=UTF-8";

/// Renders what a handler came to.
pub(super) fn render(
    outcome: Outcome,
    format: Format,
    message_in_body: bool,
    rng: &mut fastrand::Rng,
) -> Rendered {
    match outcome {
        Ok(mut reply) => {
            if let Value::Array(items) = &mut reply.data {
                match reply.order {
                    Order::Kept => {}
                    Order::Random => rng.shuffle(items),
                    Order::RandomRest => rng.shuffle(items.get_mut(1..).unwrap_or_default()),
                }
            }
            let mut members: Vec<(&str, &Value)> = vec![("data", &reply.data)];
            members.extend(reply.beside.iter().map(|(name, value)| (*name, value)));
            let success = Value::from(1);
            if format == Format::ExtJs {
                members.push(("success", &success));
            }
            rendered(200, "OK".to_owned(), Some(object(members, rng)), Some(JSON), Delay::None)
        }
        Err(failure) => render_failure(&failure, format, message_in_body, rng),
    }
}

fn render_failure(
    failure: &Failure,
    format: Format,
    message_in_body: bool,
    rng: &mut fastrand::Rng,
) -> Rendered {
    let reason = failure.reason();
    let delay = failure.delay;
    match failure.body {
        Body::None => rendered(failure.status, reason, None, None, delay),
        Body::Text => {
            rendered(failure.status, reason, Some(failure.message.clone().into_bytes()), None, delay)
        }
        Body::Json => {
            let text = Value::from(failure.text());
            let errors = Value::Object(failure.errors.clone());
            let mut members = vec![("data", &Value::Null)];
            if message_in_body || format == Format::ExtJs {
                members.push(("message", &text));
            }
            if !failure.errors.is_empty() {
                members.push(("errors", &errors));
            }
            let (status, success) = (Value::from(failure.status), Value::from(0));
            if format == Format::ExtJs {
                members.extend([("status", &status), ("success", &success)]);
                return rendered(200, "OK".to_owned(), Some(object(members, rng)), Some(JSON), delay);
            }
            rendered(failure.status, reason, Some(object(members, rng)), Some(JSON), delay)
        }
    }
}

fn rendered(
    status: u16,
    reason: String,
    body: Option<Vec<u8>>,
    content_type: Option<&'static str>,
    delay: Delay,
) -> Rendered {
    Rendered { status, reason, body, content_type, delay }
}

fn object(mut members: Vec<(&str, &Value)>, rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    rng.shuffle(&mut members);
    write_members(&mut out, members, rng);
    out
}

fn write_members(out: &mut Vec<u8>, members: Vec<(&str, &Value)>, rng: &mut fastrand::Rng) {
    out.push(b'{');
    for (index, (key, value)) in members.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_plain(out, key);
        out.push(b':');
        write_value(out, value, rng);
    }
    out.push(b'}');
}

fn write_value(out: &mut Vec<u8>, value: &Value, rng: &mut fastrand::Rng) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().map(|(key, value)| (key.as_str(), value)).collect();
            rng.shuffle(&mut members);
            write_members(out, members, rng);
        }
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(out, item, rng);
            }
            out.push(b']');
        }
        other => write_plain(out, other),
    }
}

fn write_plain<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("strings and JSON scalars always serialise");
}
