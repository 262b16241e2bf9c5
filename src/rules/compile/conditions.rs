//! What rules look at in requests and answers.

use http::HeaderName;

use super::{Compiler, Here, item_path};
use crate::rules::document::{Step, at};
use crate::rules::json_path::JsonPath;
use crate::rules::moving::Moving;
use crate::rules::policy::{Bypass, Condition, QueryParameter, Texts, Wanted};
use crate::rules::raw::{OneOrMany, RawBypass, RawCondition, RawQuery, RawRead, RawTtl};

const ONE_TEST: &str =
    "`json` goes with one of `equals` (not null), `present`, `any_of`, `none_of` and `other_than`";

/// The test of a condition that compares texts with words.
fn words(item: &RawCondition) -> Option<(Wanted, &[String])> {
    let tests = [
        (Wanted::AnyOf, &item.any_of),
        (Wanted::NoneOf, &item.none_of),
        (Wanted::OtherThan, &item.other_than),
    ];
    tests.into_iter().find_map(|(wanted, words)| Some((wanted, words.as_deref()?)))
}

impl Compiler<'_> {
    pub(super) fn conditions(
        &mut self,
        here: &Here,
        key: &'static str,
        raw: &OneOrMany<RawCondition>,
    ) -> Vec<Condition> {
        let mut conditions = Vec::new();
        for (index, item) in raw.items.iter().enumerate() {
            let at = item_path(here, key, raw.listed, index);
            if item.statuses.is_none() && item.json.is_none() {
                self.error(&at, "a condition needs `statuses` or `json`");
            }
            if let Some(statuses) = &item.statuses {
                if statuses.iter().any(|status| !(100..=999).contains(status)) {
                    self.error(&at, "a status has three digits");
                }
                conditions.push(Condition::Statuses(statuses.clone()));
            }
            if let Some((wanted, words)) = words(item) {
                conditions.extend(self.texts(&at, item, wanted, words));
                continue;
            }
            match (&item.json, &item.equals, item.present) {
                (None, None, None) => {}
                (Some(pointer), _, _) if !(pointer.is_empty() || pointer.starts_with('/')) => {
                    self.error(&at, format!("`{pointer}` is not a JSON pointer: it starts with `/`"));
                }
                (Some(pointer), Some(equals), None) => {
                    conditions.push(Condition::Json { pointer: pointer.clone(), equals: equals.clone() });
                }
                (Some(pointer), None, Some(present)) => {
                    conditions.push(Condition::JsonPresent { pointer: pointer.clone(), present });
                }
                _ => self.error(&at, ONE_TEST),
            }
        }
        conditions
    }

    pub(super) fn bypass(&mut self, here: &Here, raw: &OneOrMany<RawBypass>) -> Vec<Bypass> {
        let mut bypass = Vec::with_capacity(raw.items.len());
        for (index, item) in raw.items.iter().enumerate() {
            match HeaderName::from_bytes(item.header.as_bytes()) {
                Ok(header) => bypass.push(Bypass { header, matches: item.matches.clone() }),
                Err(_) => {
                    let at = item_path(here, "bypass", raw.listed, index);
                    self.error(&at, format!("`{}` is not the name of a header field", item.header));
                }
            }
        }
        bypass
    }

    pub(super) fn moving(&mut self, here: &Here, raw: &[String]) -> Vec<Moving> {
        let mut moving = Vec::with_capacity(raw.len());
        for (index, text) in raw.iter().enumerate() {
            match Moving::parse(text) {
                Ok(pointer) => moving.push(pointer),
                Err(error) => self.error(&here.path(&at!["moving", index]), error.to_string()),
            }
        }
        moving
    }

    fn texts(
        &mut self,
        at: &[Step],
        item: &RawCondition,
        wanted: Wanted,
        words: &[String],
    ) -> Option<Condition> {
        let lists = [&item.any_of, &item.none_of, &item.other_than];
        let tests = lists.iter().filter(|list| list.is_some()).count();
        let Some(path) = item.json.as_ref().filter(|_| tests == 1) else {
            self.error(at, ONE_TEST);
            return None;
        };
        if item.equals.is_some() || item.present.is_some() || words.is_empty() {
            self.error(at, ONE_TEST);
        }
        let fold = self.matching.case_insensitive;
        match JsonPath::parse(path) {
            Ok(path) => Some(Condition::Texts(Texts { path, wanted, words: words.to_vec(), fold })),
            Err(error) => {
                self.error(at, error.to_string());
                None
            }
        }
    }

    pub(super) fn query(&mut self, here: &Here, raw: &OneOrMany<RawQuery>) -> Vec<QueryParameter> {
        let mut parameters = Vec::with_capacity(raw.items.len());
        for (index, item) in raw.items.iter().enumerate() {
            if item.name.is_empty() || item.matches.is_empty() {
                let at = item_path(here, "query", raw.listed, index);
                self.error(&at, "a parameter needs a `name` and at least one text in `matches`");
            }
            parameters.push(QueryParameter { name: item.name.clone(), matches: item.matches.clone() });
        }
        parameters
    }

    /// Whether a read is one that is asked by POST.
    pub(super) fn posted(&mut self, here: &Here, raw: &RawRead) -> bool {
        let methods: Vec<&str> = raw.methods.iter().map(String::as_str).collect();
        let posted = methods == ["POST"];
        let usual = methods.is_empty() || methods == ["GET", "HEAD"] || methods == ["HEAD", "GET"];
        if !posted && !usual {
            let message = "the methods of a read are GET and HEAD, or [POST] for one that is asked by POST";
            self.error(&here.path(&at!["methods"]), message);
        }
        if posted && raw.ttl != RawTtl::Pass {
            let message = "what is asked by POST is not stored, since its content would be part of the key: \
                           write `ttl: pass`";
            self.error(&here.path(&at!["ttl"]), message);
        }
        posted
    }
}
