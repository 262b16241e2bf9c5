//! Lists of ARM and what stands in them.
//!
//! A list is `{"value": [...], "nextLink": ...}` with the same envelope of a resource in it that a GET shows
//! (the contract, "List resources"); nothing there demands equal properties, so which types are alike is for
//! rules to say. An item's `id` is the path at which it is read.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;

use super::super::decode;
use super::super::promotion::Continuation;
use super::links;

/// Lists are made by other parts of a provider than a read of one resource, and follow within seconds in a
/// group by Microsoft's account of them (azure-rest-api-specs issue 28600). Lists of a whole subscription take
/// minutes, and are never used.
pub(in crate::dialect) const LISTS_LAG: Duration = Duration::from_secs(60);

/// With nothing but the version of the API, which both have to have: a filter shows less, an expansion more.
pub(in crate::dialect) fn lists_alike(query: Option<&str>) -> bool {
    let mut pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let is_version = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default();
        decode(name).is_some_and(|name| name.eq_ignore_ascii_case("api-version"))
    };
    pairs.next().is_some_and(is_version) && pairs.next().is_none()
}

/// An `id` of characters that every client writes as they are: what would be escaped could be written in
/// several ways.
pub(in crate::dialect) fn item_path(id: &str) -> Option<&str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let is_path = id.starts_with('/') && !id.ends_with('/') && !id.contains("//") && id.bytes().all(plain);
    is_path.then_some(id)
}

/// By its `nextLink`, and only by an address of the public host, or of any without a region.
pub(in crate::dialect) fn continuation(body: &[u8]) -> Continuation {
    #[derive(Deserialize)]
    struct List<'b> {
        #[serde(rename = "nextLink", borrow, default)]
        next: Option<Cow<'b, str>>,
        #[serde(rename = "@odata.nextLink", borrow, default)]
        odata: Option<Cow<'b, str>>,
    }
    // A byte order mark, which some providers write, or a name that stands twice is no list for us either.
    let list = serde_json::from_slice::<List<'_>>(body).ok().filter(|_| body.trim_ascii().starts_with(b"{"));
    let Some(list) = list else { return Continuation::Unclear };
    let link = match (list.next, list.odata) {
        (None, None) => return Continuation::Whole,
        (Some(link), None) | (None, Some(link)) => link,
        (Some(_), Some(_)) => return Continuation::Unclear,
    };
    if link.is_empty() {
        return Continuation::Whole;
    }
    let target = link.split_once("://").and_then(|(_, rest)| {
        let (host, _) = rest.split_once('/')?;
        links::region_of(host).is_none().then_some(&rest[host.len()..])
    });
    target.map_or(Continuation::Unclear, |target| Continuation::Next(target.to_owned()))
}

/// What is said of every answer of the provider, and of the answer's form; nothing of the one call that read
/// the list. A GET has the `etag` of the body as a field (recorded for interfaces and addresses).
pub(in crate::dialect) fn item_fields(fields: &HeaderMap, item: &[u8]) -> HeaderMap {
    static OF_ANY: [HeaderName; 8] = [
        header::CONTENT_TYPE,
        header::CACHE_CONTROL,
        header::PRAGMA,
        header::EXPIRES,
        header::DATE,
        header::SERVER,
        header::VARY,
        header::X_CONTENT_TYPE_OPTIONS,
    ];
    #[derive(Deserialize)]
    struct Tagged<'b> {
        #[serde(borrow, default)]
        etag: Option<Cow<'b, str>>,
    }
    let mut kept = HeaderMap::with_capacity(OF_ANY.len() + 1);
    for name in &OF_ANY {
        for value in fields.get_all(name) {
            kept.append(name, value.clone());
        }
    }
    let tag = serde_json::from_slice::<Tagged<'_>>(item).ok().and_then(|item| item.etag);
    if let Some(tag) = tag.and_then(|tag| HeaderValue::from_str(&tag).ok()) {
        kept.insert(header::ETAG, tag);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_goes_with_both() {
        for (query, alike) in [
            (Some("api-version=2022-01-01"), true),
            (Some("&Api%2DVersion=2022-01-01"), true),
            (None, false),
            (Some(""), false),
            (Some("api-version=1&$expand=x"), false),
            (Some("api-version=1&api-version=1"), false),
            (Some("$filter=x"), false),
            (Some("api-version=1&$skiptoken=x"), false),
        ] {
            assert_eq!(lists_alike(query), alike, "{query:?}");
        }
    }

    #[test]
    fn an_id_is_a_path_where_it_can_be_written_in_one_way() {
        let id = "/subscriptions/s/resourceGroups/RG_a/providers/Microsoft.Network/networkInterfaces/n-1";
        assert_eq!(item_path(id), Some(id));
        for id in ["", "x", "/", "/a/", "/a//b", "/a b", "/a%20b", "/ä", "/a(b)", "https://x/a"] {
            assert_eq!(item_path(id), None, "{id}");
        }
    }

    #[test]
    fn a_list_is_whole_only_where_it_says_so() {
        let next = |text: &str| Continuation::Next(text.to_owned());
        for (body, expected) in [
            (r#"{"value":[]}"#, Continuation::Whole),
            (r#"{"value":[],"nextLink":null}"#, Continuation::Whole),
            (r#"{"value":[],"nextLink":""}"#, Continuation::Whole),
            (r#"{"nextLink":"https://management.azure.com/a?b=c"}"#, next("/a?b=c")),
            (r#"{"nextLink":"https:\/\/127.0.0.1:7\/a"}"#, next("/a")),
            (r#"{"nextLink":"https://eastus.management.azure.com/a"}"#, Continuation::Unclear),
            (r#"{"nextLink":"/a"}"#, Continuation::Unclear),
            (r#"{"nextLink":7}"#, Continuation::Unclear),
            (r#"{"nextLink":null,"nextLink":"https://x/a"}"#, Continuation::Unclear),
            ("\u{feff}{}", Continuation::Unclear),
            ("[]", Continuation::Unclear),
            ("{", Continuation::Unclear),
        ] {
            assert_eq!(continuation(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn an_item_has_what_its_own_answer_would_have() {
        let mut list = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json; charset=utf-8"),
            ("cache-control", "no-cache"),
            ("etag", "\"of the list\""),
            ("x-ms-request-id", "1"),
            ("x-ms-original-request-ids", "[1,2]"),
            ("x-ms-ratelimit-remaining-subscription-reads", "7"),
            ("content-length", "100"),
        ] {
            list.insert(name, HeaderValue::from_static(value));
        }
        let fields = item_fields(&list, br#"{"etag":"W/\"1\"","properties":{"etag":"W/\"2\""}}"#);
        let mut names: Vec<&str> = fields.keys().map(HeaderName::as_str).collect();
        names.sort();
        assert_eq!(names, ["cache-control", "content-type", "etag"]);
        assert_eq!(fields[header::ETAG], "W/\"1\"");
        assert!(!item_fields(&list, b"{}").contains_key(header::ETAG));
    }
}
