//! `share: rights`: credentials that the API gives the same rights share answers.
//!
//! What a credential may do the API says itself, to a read that forebay sends with that very credential
//! beside the requests of its holder: once for each time that acceptances last, and anew when something has
//! overtaken what may change rights. Until the word is here the credential shares as its principal does, so
//! no reader ever waits for it. While a write that may change rights is under way or has not settled, nobody
//! shares for his rights.
//!
//! A word says what was so when it was asked for. So an answer that one credential fetched is another's
//! only while both words count, or the word on the first is from after its fetch: a change of rights that
//! nobody told forebay of is seen within `accept_for`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::uri::PathAndQuery;
use http_body_util::{BodyExt, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::admit::Caller;
use super::counters::Cause;
use super::forward::{self, Accepts, Answered, LARGEST_READ};
use super::operations::Writer;
use super::route::{self, Read};
use super::site::{ReadSite, Shared, Site, SiteConfig};
use crate::cache::acceptance::{Evidence, RightsWord, Validity};
use crate::cache::entry::Entry;
use crate::cache::groups::{GroupId, GroupName, Sequence, Settling};
use crate::cache::key::{CredentialId, Partition};
use crate::clock::Timestamp;
use crate::rules::template::ACCEPTANCES;
use crate::rules::{RuleSet, Sharing};
use crate::upstream::{Answer, Outgoing};

/// How many questions one upstream has to answer at once; those for whom there is no place share as their
/// principals until they come again.
const ASKED_AT_ONCE: usize = 4;

/// Bodies from this size on, in bytes, are read where a thread may take its time.
const READ_AT_ONCE: usize = 64 * 1024;

/// What asking an upstream for rights needs, where a rule shares by them.
pub(super) struct Rights {
    target: &'static str,
    /// What is overtaken when the answer may be another.
    groups: Vec<GroupId>,
    /// When these rules came into force.
    since: Sequence,
    places: Arc<Semaphore>,
}

impl Rights {
    /// `None` where nobody shares by rights.
    pub fn new(
        shared: &Shared,
        id: u32,
        config: &SiteConfig,
        rules: &RuleSet,
        reads: &[ReadSite],
    ) -> Option<Self> {
        let target = config.dialect.rights_read()?;
        if reads.iter().all(|read| read.share != Sharing::Rights) {
            return None;
        }
        let mut groups = route::groups_of_path(shared, id, config.dialect, rules, target);
        groups.push(shared.groups.id(id, GroupName::Named(ACCEPTANCES)));
        let (since, places) = (shared.groups.next(), Arc::new(Semaphore::new(ASKED_AT_ONCE)));
        Some(Self { target, groups, since, places })
    }

    /// Whether a question is under way.
    pub fn are_asked_for(&self) -> bool {
        self.places.available_permits() < ASKED_AT_ONCE
    }

    fn validity(&self, site: &Site) -> Validity<'_> {
        Validity { groups: &self.groups, since: self.since, accept_for: site.config.accept_for }
    }

    /// Whether no write that may change rights is under way or settles.
    fn are_settled(&self, site: &Site, now: Timestamp) -> bool {
        let groups = &site.shared.groups;
        !groups.is_being_written(&self.groups) && groups.settling(&self.groups, now) == Settling::Settled
    }
}

/// Those whose rights are the same as those of `who`, as far as that may be acted on at `now`: while the API
/// is silent or says that it is down, its last word before that counts.
pub(super) fn of(site: &Site, who: CredentialId, now: Timestamp) -> Option<Partition> {
    let rights = site.rights.as_ref()?;
    let by = rights.validity(site);
    let at = |then| site.shared.acceptance.rights(site.id, who, then, now, by);
    let found = at(now)
        .or_else(|| at(now.before(site.upstream.failing_since()?.elapsed())))
        .or_else(|| at(site.down_since()?))?;
    rights.are_settled(site, now).then_some(found)
}

/// Whether who asked still has the rights for which it shares, so that what was fetched with its credential
/// may be shared.
pub(super) fn may_make(site: &Site, read: &Read<'_>, now: Timestamp) -> bool {
    if read.share != Sharing::Rights {
        return true;
    }
    let Some(rights) = &site.rights else { return false };
    let by = rights.validity(site);
    let word = site.shared.acceptance.rights(site.id, read.credential, now, now, by);
    word == Some(read.partition) && rights.are_settled(site, now)
}

/// Whether who asks still has the rights for which it shares.
pub(super) fn still_holds(site: &Site, read: &Read<'_>, now: Timestamp) -> bool {
    read.share != Sharing::Rights || of(site, read.credential, now) == Some(read.partition)
}

/// Whether what is kept as `entry` was fetched with the rights that `read` shares for.
pub(super) fn may_have(site: &Site, read: &Read<'_>, entry: &Entry, now: Timestamp) -> bool {
    let maker = entry.maker();
    read.share != Sharing::Rights
        || maker == read.credential
        || site.shared.acceptance.had_rights(site.id, maker, read.partition, entry.sequence())
        || of(site, maker, now) == Some(read.partition)
}

/// Has the API asked for the rights of who sent `read` with these fields, if that is due.
pub(super) fn ask_if_due(site: &Arc<Site>, read: &Read<'_>, headers: &HeaderMap, now: Timestamp) {
    let Some(rights) = site.rights.as_ref().filter(|_| site.reads[read.rule].share == Sharing::Rights) else {
        return;
    };
    let who = read.credential;
    if !rights.are_settled(site, now) {
        return;
    }
    let Ok(place) = rights.places.clone().try_acquire_owned() else { return };
    if !site.shared.acceptance.rights_are_due(site.id, who, now, rights.validity(site)) {
        return;
    }
    let principal = site.shared.acceptance.principal(site.id, who);
    let charged = principal.map_or(who.as_u128(), |principal| principal.as_u128());
    let asker = Writer::new(headers, &site.config.credentials, who, charged);
    let rests = site.config.accept_for / 4;
    let question = Question { site: site.clone(), who, word: None, rests, _place: place };
    tokio::spawn(question.ask(asker));
}

/// A question under way: whatever becomes of it, another may be asked.
struct Question {
    site: Arc<Site>,
    who: CredentialId,
    word: Option<RightsWord>,
    /// For how long there is no other question, if there is no word.
    rests: Duration,
    _place: OwnedSemaphorePermit,
}

impl Drop for Question {
    fn drop(&mut self) {
        let Self { site, who, word, rests, .. } = self;
        let again = site.shared.clock.now().after(*rests);
        site.shared.acceptance.rights_answered(site.id, *who, *word, again);
    }
}

impl Question {
    async fn ask(mut self, asker: Arc<Writer>) {
        let site = self.site.clone();
        let Some(rights) = &site.rights else { return };
        let (sequence, left) = (site.shared.groups.next(), site.shared.clock.now());
        let dialect = site.dialect();
        let fields = asker.fields();
        let claims = dialect.claims(&dialect.credential(&fields, &site.config.credentials));
        let by_rights = claims.principal.is_some_and(|principal| dialect.is_judged_by_rights(&principal));
        let partition = match by_rights {
            true => match self.read(rights, &asker, sequence, left).await {
                Some(partition) => partition,
                None => return,
            },
            false => None,
        };
        // What was asked while a write may have changed rights is of before or of after it. In this order:
        // a write ends by overtaking first, so whoever sees none under way sees its mark.
        match rights.are_settled(&site, site.shared.clock.now()) {
            true => self.word = Some(RightsWord { sequence, left, partition }),
            false => self.rests = Duration::ZERO,
        }
    }

    /// Asks, and learns from the answer what any answer to this credential tells of it. `None` when the API
    /// gave none.
    async fn read(
        &self,
        rights: &Rights,
        asker: &Writer,
        sequence: Sequence,
        left: Timestamp,
    ) -> Option<Option<Partition>> {
        let (site, caller) = (&*self.site, Caller::One(self.who));
        let Answer { parts, body, .. } =
            forward::send(site, caller.standing(site), rights.outgoing(site, asker)).await.ok()?;
        let (sent, evidence) = (asker.fields(), Evidence { sequence, left });
        let accepts = Accepts::Caller(Answered { evidence, sent: &sent, fields: &parts.headers });
        forward::learn(site, caller, accepts, parts.status);
        if site.dialect().is_outage(parts.status) {
            return None;
        }
        if !parts.status.is_success() {
            return Some(None);
        }
        let body = Limited::new(body, LARGEST_READ).collect().await.ok()?.to_bytes();
        let dialect = site.dialect();
        let told = move |body: Bytes| dialect.rights_told(&body);
        let told = match body.len() < READ_AT_ONCE {
            true => told(body),
            false => tokio::task::spawn_blocking(move || told(body)).await.ok()?,
        };
        Some(told.map(|told| site.shared.secret.rights(&told)))
    }
}

impl Rights {
    fn outgoing(&self, site: &Site, asker: &Writer) -> Outgoing {
        let target = PathAndQuery::from_static(self.target);
        forward::own_read(site, target, asker.fields(), asker.principal, Cause::Rights)
    }
}
