//! Who a request is from: tickets, tokens, CSRF prevention, in pveproxy's order of precedence.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use percent_encoding::percent_decode_str;

use super::answer::Failure;
use super::call::{Method, Principal};
use super::rights::Access;
use super::sha1;

/// Seconds a ticket is good for.
const TICKET_LIFETIME: u64 = 2 * 3600;
/// Seconds a ticket may come from the future, for clocks that differ.
const CLOCK_GRACE: u64 = 300;
/// The length of the signature of a 2048-bit key, so that tickets have their real length.
const SIGNATURE_BYTES: usize = 256;

/// A user.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) password: Option<String>,
    pub(super) enabled: bool,
    pub(super) groups: Vec<String>,
    pub(super) comment: Option<String>,
    pub(super) tokens: BTreeMap<String, Token>,
}

/// An API token of a user.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) secret: String,
    /// With separation the token has its own access control entries, within its user's.
    pub(super) separated: bool,
    pub(super) comment: Option<String>,
}

/// Users, tokens, access control, and the key that signs tickets.
#[derive(Debug)]
pub(super) struct Accounts {
    pub(super) users: BTreeMap<String, User>,
    pub(super) access: Access,
    pub(super) signing_key: String,
}

/// The parts of a request's head that say who it is from.
#[derive(Debug, Default)]
pub(super) struct Credentials<'a> {
    pub(super) cookie: Option<&'a str>,
    pub(super) authorization: Option<&'a str>,
    pub(super) csrf: Option<&'a str>,
}

impl Accounts {
    pub(super) fn add_user(&mut self, name: &str, password: &str) {
        let user = self.users.entry(name.to_owned()).or_insert_with(User::new);
        user.password = Some(password.to_owned());
    }

    pub(super) fn add_token(&mut self, name: &str, secret: &str) {
        let Some((user, token)) = name.split_once('!') else { return };
        let user = self.users.entry(user.to_owned()).or_insert_with(User::new);
        let added = Token { secret: secret.to_owned(), separated: false, comment: None };
        user.tokens.insert(token.to_owned(), added);
    }

    /// Finds out who a request is from and whether it may write.
    pub(super) fn authenticate(
        &self,
        credentials: &Credentials<'_>,
        method: Method,
        upload: bool,
        wall: u64,
    ) -> Result<Principal, Failure> {
        let from_cookie = credentials.cookie.and_then(|cookie| ticket_in_cookie(cookie));
        let from_header = credentials.authorization.and_then(|value| value.strip_prefix("PVEAuthCookie="));
        if let Some(ticket) = from_cookie.or(from_header) {
            let ticket = percent_decode_str(ticket).decode_utf8_lossy();
            let user = self.verify_ticket(&ticket, wall);
            let user = user.ok_or_else(|| Failure::unauthorized("Authentication failed!"))?;
            let writes = method != Method::Get;
            if writes && !upload && !credentials.csrf.is_some_and(|csrf| self.verify_csrf(csrf, &user, wall))
            {
                return Err(Failure::unauthorized("Permission denied - invalid csrf token"));
            }
            return Ok(Principal { user, token: None });
        }
        let token = credentials.authorization.and_then(|value| value.strip_prefix("PVEAPIToken"));
        match token.and_then(|token| token.strip_prefix(['=', ' '])) {
            Some(token) => {
                let token = percent_decode_str(token).decode_utf8_lossy();
                self.verify_token(&token).ok_or_else(|| Failure::unauthorized("Authentication failed!"))
            }
            None => Err(Failure::unauthorized("No ticket")),
        }
    }

    /// Checks a login. A valid ticket of the same user serves as the password, which renews it.
    pub(super) fn login(&self, user: &str, password: &str, wall: u64) -> Result<(), Failure> {
        let known = self.users.get(user).filter(|known| known.enabled);
        let right = known.is_some_and(|known| known.password.as_deref() == Some(password));
        let renewed = || known.is_some() && self.verify_ticket(password, wall).as_deref() == Some(user);
        if right || renewed() {
            return Ok(());
        }
        Err(Failure::new(401, "authentication failure").delayed(super::answer::Delay::Penalty))
    }

    /// A ticket of `user` from now on.
    pub(super) fn ticket(&self, user: &str, wall: u64) -> String {
        let plain = format!("PVE:{user}:{wall:08X}");
        format!("{plain}::{}", self.sign(&plain))
    }

    /// The CSRF prevention token that goes with tickets of `user`.
    pub(super) fn csrf(&self, user: &str, wall: u64) -> String {
        let seed = format!("{wall:08X}:{user}:{}", self.signing_key);
        format!("{wall:08X}:{}", STANDARD_NO_PAD.encode(sha1::stretch(seed.as_bytes(), 32)))
    }

    fn sign(&self, plain: &str) -> String {
        STANDARD.encode(sha1::stretch(format!("{}{plain}", self.signing_key).as_bytes(), SIGNATURE_BYTES))
    }

    fn verify_ticket(&self, ticket: &str, wall: u64) -> Option<String> {
        let (plain, signature) = ticket.split_once("::")?;
        let (user, time) = plain.strip_prefix("PVE:")?.rsplit_once(':')?;
        let time = u64::from_str_radix(time, 16).ok()?;
        let valid = signature == self.sign(plain) && in_time(time, wall, TICKET_LIFETIME);
        let enabled = self.users.get(user).is_some_and(|known| known.enabled);
        (valid && enabled).then(|| user.to_owned())
    }

    fn verify_csrf(&self, csrf: &str, user: &str, wall: u64) -> bool {
        let time = csrf.split_once(':').and_then(|(time, _)| u64::from_str_radix(time, 16).ok());
        time.is_some_and(|time| csrf == self.csrf(user, time) && in_time(time, wall, 24 * 3600))
    }

    fn verify_token(&self, text: &str) -> Option<Principal> {
        let (name, secret) = text.split_once('=')?;
        let (user, token) = name.split_once('!')?;
        let known = self.users.get(user).filter(|known| known.enabled)?.tokens.get(token)?;
        (known.secret == secret).then(|| Principal::parse(name))
    }
}

impl User {
    pub(super) fn new() -> Self {
        Self { password: None, enabled: true, groups: Vec::new(), comment: None, tokens: BTreeMap::new() }
    }
}

fn in_time(time: u64, wall: u64, lifetime: u64) -> bool {
    time <= wall + CLOCK_GRACE && wall < time + lifetime
}

/// The ticket in a `Cookie` field: behind the start or white space, up to a semicolon.
fn ticket_in_cookie(cookie: &str) -> Option<&str> {
    const NAME: &str = "PVEAuthCookie=";
    let starts = cookie.match_indices(NAME).map(|(at, _)| at);
    let at = starts.into_iter().find(|at| *at == 0 || cookie.as_bytes()[at - 1].is_ascii_whitespace())?;
    let value = &cookie[at + NAME.len()..];
    Some(value.split(';').next().unwrap_or(value))
}
