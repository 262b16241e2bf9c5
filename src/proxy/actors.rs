//! Actors and watchers: whoever wrote lately, or tried to, gets the truth or an error in place of what
//! has expired.
//!
//! A writer is remembered by its credential and, once the API has confirmed it, its principal; where it
//! has none, or none that can be told, by the address that it came from. Whether the API took the write does not matter, nor whether its answer
//! came: whoever wants to change something acts on what it is told. Only who the API does not even know
//! (401) is no actor, and what changes nothing (a login, a console) makes none.

use std::net::SocketAddr;

use http::StatusCode;
use smallvec::{SmallVec, smallvec};

use super::Site;
use super::admit::Caller;
use super::route::Write;
use crate::cache::actors::{Name, Standing};
use crate::cache::key::CredentialId;
use crate::clock::Timestamp;
use crate::rules::{ReadRule, StaleTo};

/// Whether `caller` may be given what has expired, at `now`.
pub(super) fn may_have_stale(
    site: &Site,
    rule: &ReadRule,
    caller: Caller,
    client: SocketAddr,
    now: Timestamp,
) -> bool {
    let window = site.config.actor_window;
    let mut names = of_credential(site, caller);
    names.push(of_address(site, client));
    rule.stale_to == StaleTo::Everyone || !site.shared.actors.is_any(site.id, &names, now, window)
}

/// Whether `caller` is known to have written lately.
pub(super) fn wrote_lately(site: &Site, caller: Caller, client: SocketAddr, now: Timestamp) -> bool {
    let mut names = of_credential(site, caller);
    names.push(of_address(site, client));
    site.shared.actors.is_known(site.id, &names, now, site.config.actor_window)
}

/// A write is about to leave. A caller that the API knows is an actor from here on, whatever comes of it;
/// of others what they claim is worth nothing yet.
pub(super) fn about_to_write(site: &Site, write: &Write<'_>) {
    if is_known(site, write.caller) && changes_something(site, write) {
        remember(site, of_credential(site, write.caller), Standing::Known);
    }
}

/// A write had this outcome; `None`: it is not known.
pub(super) fn wrote(site: &Site, write: &Write<'_>, client: SocketAddr, status: Option<StatusCode>) {
    if status == Some(StatusCode::UNAUTHORIZED) || !changes_something(site, write) {
        return;
    }
    let standing = match status {
        _ if is_known(site, write.caller) => Standing::Known,
        Some(status) if status.is_success() => Standing::Admitted,
        _ => Standing::Stranger,
    };
    let mut names = of_credential(site, write.caller);
    if names.is_empty() {
        names.push(of_address(site, client));
    }
    remember(site, names, standing);
    // A write that the API carried out was of whom the credential names, although a write accepts nobody.
    if let Some(claimed) = write.claimed.filter(|_| status.is_some_and(|status| status.is_success())) {
        remember(site, smallvec![Name(claimed.as_u128())], Standing::Known);
    }
}

fn remember(site: &Site, names: SmallVec<[Name; 2]>, standing: Standing) {
    let now = site.shared.clock.now();
    names.into_iter().for_each(|name| site.shared.actors.wrote(site.id, name, standing, now));
}

/// The names that a caller's credential gives it. A principal that is only claimed is none of them, or
/// anybody could take the last known state from whomever it names.
fn of_credential(site: &Site, caller: Caller) -> SmallVec<[Name; 2]> {
    match caller {
        Caller::One(CredentialId::ANONYMOUS) | Caller::Ambiguous => SmallVec::new(),
        Caller::One(credential) => {
            let principal = site.shared.acceptance.principal(site.id, credential);
            let principal = principal.map(|principal| Name(principal.as_u128()));
            [Some(Name(credential.as_u128())), principal].into_iter().flatten().collect()
        }
    }
}

fn of_address(site: &Site, client: SocketAddr) -> Name {
    Name(site.shared.secret.credential(&[b"address", client.ip().to_string().as_bytes()]).as_u128())
}

/// Whether the API has accepted the caller, however long ago.
fn is_known(site: &Site, caller: Caller) -> bool {
    let Caller::One(credential) = caller else { return false };
    site.shared.acceptance.is_known(site.id, credential)
}

fn changes_something(site: &Site, write: &Write<'_>) -> bool {
    write.rule(site).is_none_or(|rule| !rule.invalidates.is_empty())
}
