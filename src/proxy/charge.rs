//! The API's own buckets that a call is charged to, where the API has any that are known.

use crate::dialect::{Charged, Credential, Payer};
use crate::semantics::quota::Charges;
use crate::upstream::{Answer, Outgoing, SendError, Terms, Urgency};

use super::admit::CallerStanding;
use super::forward;
use super::site::Site;

/// Whether calls are charged at all.
pub(super) fn is_charged(site: &Site) -> bool {
    site.upstream.config().quota.reading.is_some()
}

/// Sends a call that is charged.
pub(super) async fn send(
    site: &Site,
    caller: CallerStanding,
    outgoing: Outgoing,
    terms: Terms<'_>,
) -> Result<Answer, SendError> {
    let charges = of(site, &outgoing);
    let read = site.dialect().read_path(outgoing.target.path());
    // Polls come before the reads that share a bucket with them.
    let is_poll = read.is_some_and(|path| site.dialect().is_poll(&path));
    let urgency = terms.urgency.or(is_poll.then_some(Urgency::Change));
    let terms = Terms { charges: &charges, urgency, ..terms };
    forward::send_by_standing(site, caller, outgoing, terms).await
}

/// The buckets of a call.
pub(super) fn of(site: &Site, call: &Outgoing) -> Charges {
    let dialect = site.dialect();
    let raw = call.target.path();
    let read = dialect.read_path(raw);
    let charged = Charged {
        method: &call.method,
        // Where the reading is not certain this is the best guess.
        path: read.as_deref().unwrap_or(raw),
        query: call.target.query(),
        payer: payer(site, call),
    };
    dialect.charges(charged, &|parts| site.shared.secret.bucket(parts))
}

/// Who pays: the one whom the API charges for this very credential, once it has accepted that; until then
/// whoever the call counts for anyway, which is the client's address, because nobody is charged for what
/// somebody else claims to be. An acceptance that is old suffices: what it says of the name does not end.
fn payer(site: &Site, call: &Outgoing) -> u128 {
    let secret = &site.shared.secret;
    let credential = site.dialect().credential(&call.headers, &site.config.credentials);
    let Credential::Present(parts) = &credential else { return call.principal };
    let id = secret.credential(parts);
    if !site.shared.acceptance.is_known(site.id, id) {
        return call.principal;
    }
    let name: Option<Payer> = site.dialect().payer(&credential);
    name.map_or(id.as_u128(), |name| secret.bucket(&[b"payer", &name]))
}
