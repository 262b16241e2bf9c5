//! Which way a request goes: by its method, its fields and the first rule that matches its path.

use std::borrow::Cow;

use http::{HeaderMap, Method, Request};

use super::admit::{Admitted, Caller};
use super::counters::RuleMetrics;
use super::{Failure, Shared, Site, links, share};
use crate::cache::groups::{GroupId, GroupName};
use crate::cache::key::{CredentialId, Key, KeyParts, Partition};
use crate::clock::Timestamp;
use crate::dialect::Dialect;
use crate::rules::{
    Captures, Fields, Group, GroupTemplate, Match, ReadRule, Reuse, RuleSet, Sharing, WriteRule,
};
use crate::semantics::cache_status::{Detail, Forward};
use crate::semantics::fields;

/// The ways.
pub(super) enum Route<'r> {
    /// A read that a rule keeps or collapses.
    Read(Read<'r>),
    /// A read that goes straight through.
    Pass(Pass<'r>),
    /// A request to switch protocols.
    Tunnel(Pass<'r>),
    /// Everything that may change something.
    Write(Write<'r>),
}

/// A read with its rule.
#[derive(Clone)]
pub(super) struct Read<'r> {
    pub rule: usize,
    pub captures: Captures,
    pub path: Cow<'r, str>,
    /// Who asks.
    pub credential: CredentialId,
    /// Who may see the answer, and what that is.
    pub partition: Partition,
    pub share: Sharing,
}

/// A request that is forwarded as it is, and why.
pub(super) struct Pass<'r> {
    pub rule: Option<usize>,
    pub path: Cow<'r, str>,
    pub caller: Caller,
    pub forward: Forward,
    pub detail: Detail,
}

/// A write with its rule, if one matches.
pub(super) struct Write<'r> {
    pub rule: Option<usize>,
    pub captures: Captures,
    /// `None` where the API's reading of it is not certain.
    pub path: Option<Cow<'r, str>>,
    pub caller: Caller,
    /// The principal that the credential names, where the API has not confirmed it before.
    pub claimed: Option<Partition>,
}

/// Decides which way a request goes.
pub(super) fn route<'r, B>(
    site: &Site,
    request: &'r Request<B>,
    mut admitted: Admitted<'r>,
    now: Timestamp,
) -> Route<'r> {
    let (path, caller) = (admitted.path.take(), admitted.caller);
    let method = request.method();
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    let query = request.uri().query();
    if *method == Method::POST
        && let Some(found) = path.as_deref().and_then(|path| site.rules.posted(path, query))
    {
        let (rule, path) = (Some(found.index), path.unwrap_or_default());
        return Route::Pass(Pass { rule, path, caller, forward: Forward::Method, detail: Detail::Pass });
    }
    if !is_read && !matches!(*method, Method::OPTIONS | Method::TRACE) {
        let found = path.as_deref().and_then(|path| site.rules.write(method, path));
        let (rule, captures) = found.map_or((None, Captures::default()), |m| (Some(m.index), m.captures));
        let claimed = share::claimed(site, &admitted);
        return Route::Write(Write { rule, captures, path, caller, claimed });
    }
    let pass = |rule, path, forward, detail| Pass { rule, path, caller, forward, detail };
    let Some(path) = path else {
        let raw = Cow::Borrowed(request.uri().path());
        return Route::Pass(pass(None, raw, Forward::Bypass, Detail::Unmatched));
    };
    let found = site.rules.read(&path, query).map(|Match { index, captures, .. }| (index, captures));
    let rule = found.as_ref().map(|(index, _)| *index);
    if fields::asks_upgrade(request.headers()) && is_read {
        return Route::Tunnel(pass(rule, path, Forward::Bypass, Detail::Tunnel));
    }
    if !is_read {
        return Route::Pass(pass(rule, path, Forward::Method, Detail::Request));
    }
    let Some((index, captures)) = found else {
        return Route::Pass(pass(None, path, Forward::Bypass, Detail::Unmatched));
    };
    let Caller::One(credential) = caller else {
        return Route::Pass(pass(rule, path, Forward::Bypass, Detail::AmbiguousCredential));
    };
    if site.rules.reads[index].reuse == Reuse::Pass
        || links::is_regional(request)
        || site.asks_after_operation(method, &path, request.uri().query())
    {
        return Route::Pass(pass(rule, path, Forward::Bypass, Detail::Pass));
    }
    if site.dialect().passes(method, &path, query, request.headers()) || has_content(request) {
        return Route::Pass(pass(rule, path, Forward::Bypass, Detail::Request));
    }
    let rule = &site.rules.reads[index];
    let (partition, share) =
        share::partition(site, rule, site.reads[index].share, credential, &admitted, now);
    Route::Read(Read { rule: index, captures, path, credential, partition, share })
}

/// A GET with content has no defined meaning (RFC 9110 §9.3.1), so what it means is the API's to say.
fn has_content<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(http::header::TRANSFER_ENCODING)
        || request.headers().get(http::header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}

impl Read<'_> {
    /// The same without the request's borrow.
    pub fn detach(self) -> Read<'static> {
        Read { path: Cow::Owned(self.path.into_owned()), ..self }
    }

    /// The rule.
    pub fn rule<'s>(&self, site: &'s Site) -> &'s ReadRule {
        &site.rules.reads[self.rule]
    }

    /// Who asks.
    pub fn caller(&self) -> Caller {
        Caller::One(self.credential)
    }

    /// The rule's counters.
    pub fn metrics<'s>(&self, site: &'s Site) -> &'s RuleMetrics {
        &site.reads[self.rule].metrics
    }

    /// The key of the identity-coded answer.
    pub fn key<B>(&self, site: &Site, request: &Request<B>, endpoint: Option<u64>) -> Key {
        self.key_at(site, request.uri().path(), request.uri().query(), request.headers(), endpoint)
    }

    /// The same of a request for this path and query with these fields.
    pub fn key_at(
        &self,
        site: &Site,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
        endpoint: Option<u64>,
    ) -> Key {
        let read = &site.reads[self.rule];
        site.shared.secret.key(&KeyParts {
            site: site.id,
            rule: read.meaning,
            partition: self.partition,
            endpoint,
            path: self.key_path(site, path),
            query,
            syntax: site.dialect().query_syntax(),
            variant: site.dialect().variant(headers),
            ignored_query: &read.ignored_query,
        })
    }

    /// Everything whose change overtakes the answer: the rule's groups, the path and its ancestors,
    /// and the partition.
    pub fn groups(&self, site: &Site, query: Option<&str>) -> Vec<GroupId> {
        let groups = &site.shared.groups;
        let resource = &self.path[site.dialect().resource_offset(&self.path)..];
        let mut ids = Vec::with_capacity(16);
        let templates = &self.rule(site).groups;
        let query = query.filter(|_| templates.iter().any(GroupTemplate::needs_query));
        let fields = query.map(Fields::from_query).unwrap_or_default();
        for template in templates {
            if let Some(group) = template.render(&self.path, &self.captures, &fields) {
                ids.push(named(site, &group));
            }
        }
        groups.of_path(site.id, resource, &mut ids);
        ids.push(groups.id(site.id, GroupName::Partition(self.partition)));
        ids
    }
}

impl Read<'_> {
    /// What an answer that turned out to be old casts doubt on: its own path, whoever asks for it, and the
    /// rule's groups for what the request names (one guest, say). Not the wide ones: one changed guest
    /// says nothing of all the others.
    pub fn doubted(&self, site: &Site, query: Option<&str>) -> Vec<GroupId> {
        let fields = Fields::from_query(query.unwrap_or_default());
        let specific = self.rule(site).groups.iter().filter(|template| template.is_specific());
        let groups = specific.filter_map(|template| template.render(&self.path, &self.captures, &fields));
        let mut ids: Vec<GroupId> = groups.map(|group| named(site, &group)).collect();
        let resource = &self.path[site.dialect().resource_offset(&self.path)..];
        ids.push(site.shared.groups.own_path(site.id, resource));
        ids
    }
}

impl Read<'static> {
    /// The same read, forwarded as it is.
    pub fn straight(self, forward: Forward, detail: Detail) -> Pass<'static> {
        let caller = self.caller();
        Pass { rule: Some(self.rule), path: self.path, caller, forward, detail }
    }
}

impl Pass<'_> {
    /// The same without the request's borrow.
    pub fn detach(self) -> Pass<'static> {
        Pass { path: Cow::Owned(self.path.into_owned()), ..self }
    }

    /// The counters of the rule, or of what no rule matches.
    pub fn metrics<'s>(&self, site: &'s Site) -> &'s RuleMetrics {
        self.rule.map_or(&site.unmatched, |rule| &site.reads[rule].metrics)
    }
}

impl Write<'_> {
    /// The same without the request's borrow.
    pub fn detach(self) -> Write<'static> {
        Write { path: self.path.map(|path| Cow::Owned(path.into_owned())), ..self }
    }

    /// The rule, if one matches.
    pub fn rule<'s>(&self, site: &'s Site) -> Option<&'s WriteRule> {
        self.rule.map(|rule| &site.rules.writes[rule])
    }

    /// The counters of the rule, or of what no rule matches.
    pub fn metrics<'s>(&self, site: &'s Site) -> &'s RuleMetrics {
        self.rule.map_or(&site.unmatched, |rule| &site.writes[rule])
    }

    /// Everything that the write changes. `fields` is `None` when the rule needs the content and it
    /// could not be read: then everything is.
    pub fn groups(&self, site: &Site, fields: Option<&Fields>) -> Vec<GroupId> {
        let groups = &site.shared.groups;
        let everything = vec![groups.id(site.id, GroupName::Subtree(""))];
        let Some(path) = self.path.as_deref() else { return everything };
        let Some(rule) = self.rule(site) else {
            let mut ids = Vec::with_capacity(8);
            groups.around_path(site.id, &path[site.dialect().resource_offset(path)..], &mut ids);
            return ids;
        };
        let Some(fields) = fields else { return everything };
        rule.invalidates
            .iter()
            .filter_map(|template| template.render(path, &self.captures, fields))
            .map(|group| named(site, &group))
            .collect()
    }
}

/// Everything whose change overtakes what is read from `path`, by the rule that matches it, whoever asks.
pub(super) fn groups_of_path(
    shared: &Shared,
    id: u32,
    dialect: Dialect,
    rules: &RuleSet,
    path: &str,
) -> Vec<GroupId> {
    let groups = &shared.groups;
    let mut ids = Vec::with_capacity(8);
    if let Some(Match { rule, captures, .. }) = rules.read(path, None) {
        let rendered =
            rule.groups.iter().filter_map(|group| group.render(path, &captures, &Fields::default()));
        ids.extend(rendered.map(|group| groups.id(id, name_of(&group))));
    }
    groups.of_path(id, dialect.resource_of(path), &mut ids);
    ids
}

/// The place of a rendered group.
pub(super) fn named(site: &Site, group: &Group) -> GroupId {
    site.shared.groups.id(site.id, name_of(group))
}

fn name_of(group: &Group) -> GroupName<'_> {
    match group {
        Group::Named(name) => GroupName::Named(name),
        Group::Path(path) => GroupName::Path(path),
        Group::Subtree(path) => GroupName::Subtree(path.trim_end_matches('/')),
    }
}

/// The error for a request that did not get as far as a rule.
pub(super) fn path_of<'r, B>(site: &Site, request: &'r Request<B>, _: Failure) -> Cow<'r, str> {
    let raw = request.uri().path();
    site.dialect().read_path(raw).unwrap_or(Cow::Borrowed(raw))
}
