//! Promotion: several single reads become one of the list that they are items of, where a rule says that items
//! and single reads are alike.
//!
//! The list is read as the caller that missed would read it: with its credential, on its account, by the rule
//! of the list. What it tells of items becomes entries (`fill::items`); a reader then looks once more, and if
//! its item is not there, or may not be shown to it, it reads it alone. So every answer that is not the item
//! itself (403, 404) is the API's own to that very read, and a list that fails costs one call and some time.
//!
//! A list is read in place of a single read when something speaks for more of them: another item of it was
//! asked for a moment ago, or an answer to the same caller named several. The first of a few that come
//! together is therefore read alone, at once, and nobody ever waits to see whether others come.

mod table;

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use http_body_util::BodyExt;

pub(super) use table::Promotions;

use super::counters::Cause;
use super::fill::items::Listed;
use super::fill::{self, Behalf, Errand};
use super::lookup::{self, Lookup};
use super::pages::Page;
use super::read::Reading;
use super::site::Site;
use super::{Failure, actors, forward, warm};
use crate::cache::entry::{Entry, Head};
use crate::cache::flight::{Begin, Company, Join, Landing, Passenger, Waiter};
use crate::cache::groups::{GroupId, GroupName};
use crate::cache::key::{CredentialId, Key, Partition};
use crate::clock::Timestamp;
use crate::dialect::Continuation;
use crate::rules::Reuse;
use table::Turn;

/// How long a reader waits for a list before it reads its item alone: longer than any list takes that is worth
/// it, and short beside what clients wait for.
const WAITS: Duration = Duration::from_secs(10);

/// How many pages of a list are read at most: beyond that a list costs more than it saves.
const MAX_PAGES: usize = 4;

/// For how long a list is left alone that the API refused to this caller, or that is too long or not of the
/// form that a list has.
const UNFIT_FOR: Duration = Duration::from_secs(300);

/// For how long a list is left alone that got no answer, or one that says that the API cannot answer now.
const FAILED_FOR: Duration = Duration::from_secs(10);

/// How many names of an answer are looked at for items of lists.
const MOST_NAMES: usize = 10_000;

/// A list that is to be read.
struct Listing {
    site: Arc<Site>,
    /// What is remembered of it is remembered under this.
    key: Key,
    target: PathAndQuery,
    /// With the credential among them.
    headers: HeaderMap,
    client: SocketAddr,
    /// How long what it tells is fresh.
    fresh: Duration,
}

/// What came of reading it.
enum Found {
    /// What it tells of its items is kept, as far as it may be.
    Told,
    /// It is of no use.
    Unfit,
    /// There was no answer that counts.
    Failed,
}

/// The entry for a reader, from a list that is read in place of its own read, and whether another reader began
/// that; `None` where it reads alone.
pub(super) async fn promoted(reading: &Reading) -> Option<(Arc<Entry>, bool)> {
    let Reading { site, read, absent, .. } = reading;
    let shared = &site.shared;
    let listing = Listing::instead_of(reading, shared.clock.now())?;
    let (mut end, collapsed) = match shared.promotions.turn(listing.key, shared.clock.now()) {
        Turn::Not => return None,
        Turn::Joins(end) => (end, true),
        Turn::Leads(place, end) => {
            tokio::spawn(listing.run(place));
            (end, false)
        }
    };
    // Nothing is ever sent: it ends when the place is given up.
    let _over_or_too_slow = tokio::time::timeout(WAITS, end.changed()).await;
    let entry = lookup::usable(site, read, absent.key, &absent.asks, shared.clock.now())?;
    Some((entry, collapsed))
}

impl Listing {
    /// The list to be read in place of a single read; `None` where nothing speaks for it, or anything against.
    fn instead_of(reading: &Reading, now: Timestamp) -> Option<Self> {
        let Reading { site, request, client, read, absent, .. } = reading;
        let (shared, rule, asks) = (&site.shared, read.rule(site), &absent.asks);
        let (promote, Reuse::For(fresh)) = (rule.promote.as_ref()?, rule.reuse) else { return None };
        shared.promotions.note(&shared.groups, now);
        let (raw, query) = (request.uri().path(), request.uri().query());
        // Who asks for an answer of a certain age asks for this one's. What is escaped could be read in more
        // than one way.
        let unfit = *request.method() != Method::GET
            || asks.no_cache
            || asks.max_age.is_some()
            || asks.min_fresh.is_some()
            || !raw.eq_ignore_ascii_case(&read.path)
            || !site.dialect().lists_alike(query);
        if unfit {
            return None;
        }
        let path = promote.list_of(&read.path);
        let list = shared.secret.list(site.id, read.credential, path);
        // Whoever writes reads what it wrote, which a list may lag behind; and of a credential that is only a
        // claim there shall be no more calls than it asks for.
        if !shared.promotions.is_one_of_several(list, shared.secret.spelling(&read.path), now)
            || actors::wrote_lately(site, read.caller(), *client, now)
            || !lookup::is_accepted(site, rule, read.credential, now)
        {
            return None;
        }
        let target = format!("{}?{}", &raw[..path.len()], query?).parse().ok()?;
        let headers = forward::fill_fields(site, request.headers());
        let asked = request_for(&target, &headers);
        let of_list = warm::read_of(site, &asked)?;
        // A list that is fresh has told all that it may.
        let Lookup::Absent(_) = lookup::lookup(site, &asked, &of_list, now) else { return None };
        let mut groups = read.groups(site, query);
        groups.extend(of_list.groups(site, query));
        if !shared.promotions.may_tell(
            site.id,
            &shared.groups,
            &groups,
            (now, now),
            site.dialect().lists_lag(),
        ) {
            return None;
        }
        let key = of_list.key(site, &asked, None).of_one(read.credential);
        Some(Self { site: site.clone(), key, target, headers, client: *client, fresh })
    }

    /// Reads it. Who waits is woken when `place` is given up, however this ends.
    async fn run(self, place: table::Place) {
        let shared = self.site.shared.clone();
        let began = shared.clock.now();
        // In case of an end without a word.
        shared.promotions.not_before(self.key, began.after(FAILED_FOR));
        let again = match self.read_all(began).await {
            // One list for all items in each of their lifetimes: what it did not tell, it does not tell.
            Found::Told => self.fresh,
            Found::Unfit => UNFIT_FOR,
            Found::Failed => FAILED_FOR,
        };
        shared.promotions.not_before(self.key, began.after(again));
        drop(place);
    }

    async fn read_all(&self, began: Timestamp) -> Found {
        let (mut pages, mut target) = (Vec::new(), self.target.clone());
        loop {
            let entry = match self.page(&target).await {
                Ok(Some(entry)) => entry,
                // A list that is not kept has told its items all the same, if it has one page.
                Ok(None) if pages.is_empty() => return Found::Told,
                Ok(None) => return Found::Unfit,
                Err(found) => return found,
            };
            let continuation = self.site.dialect().continuation(&entry.body());
            pages.push(entry);
            match continuation {
                Continuation::Whole => break,
                Continuation::Next(next) if pages.len() < MAX_PAGES => match next.parse() {
                    Ok(next) => target = next,
                    Err(_) => return Found::Unfit,
                },
                Continuation::Next(_) | Continuation::Unclear => return Found::Unfit,
            }
        }
        // A list of one page has told its items when it came.
        if pages.len() > 1 {
            self.tell(&pages, began).await;
        }
        Found::Told
    }

    /// One page, if it is kept.
    async fn page(&self, target: &PathAndQuery) -> Result<Option<Arc<Entry>>, Found> {
        let (site, shared) = (&self.site, &self.site.shared);
        let request = request_for(target, &self.headers);
        let read = warm::read_of(site, &request).ok_or(Found::Unfit)?.detach();
        let absent = match lookup::lookup(site, &request, &read, shared.clock.now()) {
            Lookup::Fresh(_, entry) => return Ok(Some(entry)),
            Lookup::Pass(..) => return Err(Found::Unfit),
            Lookup::Absent(absent) => absent,
        };
        let page = Page::of(site, &read, target.query());
        if page.is_stray() {
            return Err(Found::Unfit);
        }
        let (key, who, own) = (absent.key, read.credential, Partition::of(read.credential));
        let mut groups = read.groups(site, target.query());
        groups.extend(page.groups(site));
        let accepted = lookup::is_accepted(site, read.rule(site), who, shared.clock.now());
        let company = if read.partition == own || accepted { Company::Shared } else { Company::Own };
        if company == Company::Own {
            groups.push(shared.groups.id(site.id, GroupName::Partition(own)));
        }
        let form = read.form(site, target.path());
        let passenger = Passenger { who, company, join: Join::Allowed, form };
        let usable = || lookup::usable(site, &read, key, &absent.asks, shared.clock.now());
        let status = match shared.flights.begin(key, &shared.groups, passenger, || groups.into(), usable) {
            Begin::Stored(entry) => return Ok(Some(entry)),
            Begin::Full => return Err(Found::Failed),
            Begin::Joined(waiter) => self.landed(waiter).await?,
            Begin::Leads(fill, waiter) => {
                let errand = Errand {
                    site: site.clone(),
                    account: read.caller().account(site, self.client),
                    read: read.clone(),
                    key,
                    endpoint: absent.endpoint,
                    target: target.clone(),
                    headers: self.headers.clone(),
                    cause: Cause::Promote,
                    page,
                    behalf: Behalf::Client,
                };
                let (landed, ()) = tokio::join!(self.landed(waiter), fill::run(errand, fill, None));
                landed?
            }
        };
        match status {
            status if status.is_success() => Ok(usable()),
            status if status == StatusCode::UNAUTHORIZED || self.is_momentary(status) => Err(Found::Failed),
            _ => Err(Found::Unfit),
        }
    }

    fn is_momentary(&self, status: StatusCode) -> bool {
        status.is_server_error() || self.site.dialect().is_outage(status)
    }

    /// Waits for the end of an answer that is as large as what may be kept at most.
    async fn landed(&self, waiter: Waiter<Failure>) -> Result<StatusCode, Found> {
        match waiter.landing().await {
            Landing::Shared(head, _, mut body) => {
                let mut room = self.site.shared.max_object;
                while let Some(Ok(frame)) = body.frame().await {
                    let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                    room = room.checked_sub(length).ok_or(Found::Unfit)?;
                }
                Ok(head.status)
            }
            Landing::Alone => Err(Found::Unfit),
            Landing::Apart | Landing::Failed(_) => Err(Found::Failed),
        }
    }

    /// Makes entries of what all pages tell, the first of which left after `began`.
    async fn tell(&self, pages: &[Arc<Entry>], began: Timestamp) {
        let (site, at) = (&self.site, self.site.shared.clock.now());
        let asked = request_for(&self.target, &self.headers);
        let Some(read) = warm::read_of(site, &asked) else { return };
        let mut fields = HeaderMap::new();
        pages[0].write_fields(&mut fields);
        let head = Head { status: pages[0].status(), reason: pages[0].reason().cloned(), fields };
        let groups: Vec<GroupId> = pages.iter().flat_map(|page| page.groups()).copied().collect();
        let bodies: Vec<Bytes> = pages.iter().map(|page| page.body()).collect();
        let Some(sequence) = pages.iter().map(|page| page.sequence()).min() else { return };
        // A page may be from before; entries count whole seconds.
        let age = pages.iter().map(|page| page.age(at)).max().unwrap_or_default();
        let listed = Listed {
            read: &read.detach(),
            query: self.target.query(),
            headers: &self.headers,
            head: &head,
            pages: &bodies,
            sequence,
            groups: &groups,
            left: began.before(age),
            at,
            age: Duration::from_secs(age.as_secs() + u64::from(age.subsec_nanos() > 0)),
        };
        listed.keep(site).await;
    }
}

/// A request for a list. The version is one that needs no `Host`.
fn request_for(target: &PathAndQuery, headers: &HeaderMap) -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = Uri::from(target.clone());
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers.clone();
    request
}

/// Notes the lists that the answer to a read of `own` by `who` names several items of. The list that it is
/// itself does not count: else who asks for one item, time after time, would have all of them read each time.
pub(super) fn note_named(site: &Site, who: CredentialId, own: &str, body: &[u8]) {
    let (shared, now) = (&site.shared, site.shared.clock.now());
    let mut first: HashMap<u128, u128> = HashMap::new();
    for name in paths_in(body).take(MOST_NAMES) {
        let Some(path) = site.dialect().item_path(name).and_then(|raw| site.dialect().read_path(raw)) else {
            continue;
        };
        for promote in site.rules.promotes_read(&path) {
            if promote.list_of(&path) == own {
                continue;
            }
            let list = shared.secret.list(site.id, who, promote.list_of(&path));
            let item = shared.secret.spelling(&path);
            match first.entry(list) {
                Place::Vacant(place) => drop(place.insert(item)),
                Place::Occupied(other) if *other.get() != item => shared.promotions.named(list, now),
                Place::Occupied(_) => {}
            }
        }
    }
}

/// The texts in a JSON body that begin with a slash.
fn paths_in(body: &[u8]) -> impl Iterator<Item = &str> {
    memchr::memmem::find_iter(body, b"\"/").filter_map(|quote| {
        let text = &body[quote + 1..];
        std::str::from_utf8(&text[..memchr::memchr(b'"', text)?]).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::paths_in;

    #[test]
    fn paths_are_found_wherever_they_stand() {
        let body = br#"{"id":"/a/b","x":["/c", "d/e", "\/f"],"t":"say \"/g\" /h","/k":1,"open":"/never"#;
        let found: Vec<&str> = paths_in(body).collect();
        assert_eq!(found, ["/a/b", "/c", "/g\\", "/k"]);
    }
}
