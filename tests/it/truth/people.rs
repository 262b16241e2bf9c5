//! Who asks: principals, their credentials, and what they may see.

use std::collections::HashMap;

use fastrand::Rng;

use super::acceptance::Holder;
use super::cells::PRINCIPALS;
use super::history::Stamp;

/// What the API makes of a credential.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is accepted.
    Valid,
    /// It is accepted, and forebay's own.
    Own,
    /// It was accepted until then.
    Revoked(Stamp),
    /// It never was: it only claims to be somebody's.
    Forged,
}

/// A credential.
pub struct Credential {
    /// Whose it is, or claims to be.
    pub principal: usize,
    /// The line of a request that carries it.
    pub field: String,
    /// What is known of it.
    pub holder: Holder,
}

/// Everybody.
pub struct People {
    /// Forebay's own, for what it reads in the background.
    pub own: usize,
    /// The credentials; they are never taken out.
    pub credentials: Vec<Credential>,
    by_field: HashMap<String, usize>,
}

/// The names of the principals: users, and a token, which is a principal of its own.
const NAMES: [&str; PRINCIPALS + 1] =
    ["admin@pve", "ann@pve", "ann@pve!reads", "bob@pve", "eve@pve", "forebay@pve!feed"];

/// The principal that forebay itself is.
pub const FOREBAY: usize = PRINCIPALS;

/// How many credentials each user holds at a time.
const TICKETS: usize = 2;

impl People {
    /// Everybody with fresh credentials, and as many forged ones.
    pub fn new(rng: &mut Rng) -> Self {
        let mut people = Self { own: 0, credentials: Vec::new(), by_field: HashMap::new() };
        for principal in 0..PRINCIPALS {
            for _ in 0..TICKETS {
                people.issue(principal, Standing::Valid, rng);
            }
            people.issue(principal, Standing::Forged, rng);
        }
        people.own = people.issue(FOREBAY, Standing::Own, rng);
        people
    }

    /// Whether the API accepts a credential.
    pub fn is_valid(&self, credential: usize) -> bool {
        matches!(self.credentials[credential].holder.standing, Standing::Valid | Standing::Own)
    }

    /// A new credential of `principal`, or one that claims to be.
    pub fn issue(&mut self, principal: usize, standing: Standing, rng: &mut Rng) -> usize {
        let place = self.credentials.len();
        let name = NAMES[principal];
        let secret = format!("{:032x}", rng.u128(..));
        let wall = forebay::clock::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        let field = if name.contains('!') {
            format!("Authorization: PVEAPIToken={name}={secret}")
        } else if rng.bool() {
            format!("Authorization: PVEAuthCookie=PVE:{name}:{wall:08X}::{secret}")
        } else {
            format!("Cookie: PVEAuthCookie=PVE:{name}:{wall:08X}::{secret}")
        };
        self.by_field.insert(field.to_ascii_lowercase(), place);
        self.credentials.push(Credential { principal, field, holder: Holder::new(standing) });
        place
    }

    /// The credential that a line of a request carries.
    pub fn of_field(&self, line: &str) -> Option<usize> {
        self.by_field.get(&line.to_ascii_lowercase()).copied()
    }

    /// The name of a principal.
    pub fn name(&self, principal: usize) -> &'static str {
        NAMES[principal]
    }

    /// A credential that holds, of anybody.
    pub fn any_valid(&self, rng: &mut Rng) -> usize {
        self.any(rng, |standing| standing == Standing::Valid).expect("revoked ones are replaced")
    }

    /// A credential that the API refuses, if there is any.
    pub fn any_refused(&self, rng: &mut Rng) -> Option<usize> {
        self.any(rng, |standing| !matches!(standing, Standing::Valid | Standing::Own))
    }

    fn any(&self, rng: &mut Rng, wanted: impl Fn(Standing) -> bool) -> Option<usize> {
        let found: Vec<usize> =
            (0..self.credentials.len()).filter(|c| wanted(self.credentials[*c].holder.standing)).collect();
        (!found.is_empty()).then(|| found[rng.usize(..found.len())])
    }

    /// Ends a credential; its principal gets another.
    pub fn revoke(&mut self, credential: usize, when: Stamp, rng: &mut Rng) {
        let held = &mut self.credentials[credential];
        held.holder.standing = Standing::Revoked(when);
        let principal = held.principal;
        self.issue(principal, Standing::Valid, rng);
    }
}

/// What `principal` may see while its rights are at `version`: two may see the same if this is equal. The
/// first sees everything.
pub fn rights(principal: usize, version: usize) -> usize {
    if principal == 0 { KINDS_OF_RIGHTS } else { (principal % 2 + version) % KINDS_OF_RIGHTS }
}

/// In how many ways rights differ, but for whoever has all.
const KINDS_OF_RIGHTS: usize = 3;

/// Whether who has `rights` may see `guest`.
pub fn sees(rights: usize, guest: usize) -> bool {
    rights == KINDS_OF_RIGHTS || !(guest + rights).is_multiple_of(3)
}
