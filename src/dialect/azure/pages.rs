//! Pages of ARM's lists: each names the address of the next in `nextLink`.
//!
//! Most clients follow it as it is. The SDK for Python reads it and writes it anew: other escapes, another
//! order, `$skipToken` for `%24skiptoken`. So what is compared are the decoded names and values.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::decode;
use super::super::pages::PageName;

pub(in crate::dialect) fn name(path: &str, query: Option<&str>) -> PageName {
    let mut pairs: Vec<(String, Cow<'_, str>)> = pairs(query.unwrap_or_default()).collect();
    pairs.sort();
    let mut name = path.to_owned();
    for (key, value) in pairs {
        // Length first, so that no two lists of pairs read the same.
        name += &format!(" {}:{key} {}:{value}", key.len(), value.len());
    }
    PageName(name)
}

/// Behind the first page there is a token that says where.
pub(in crate::dialect) fn is_later(query: &str) -> bool {
    pairs(query).any(|(name, _)| name == "$skiptoken")
}

pub(in crate::dialect) fn next(body: &[u8]) -> Option<PageName> {
    #[derive(Deserialize)]
    struct Page<'b> {
        #[serde(rename = "nextLink", borrow, default)]
        next: Option<Cow<'b, str>>,
        #[serde(rename = "@odata.nextLink", borrow, default)]
        odata: Option<Cow<'b, str>>,
    }
    let page: Page<'_> = serde_json::from_slice(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)).ok()?;
    let link = page.next.or(page.odata)?;
    let (_, rest) = link.split_once("://")?;
    let target = &rest[rest.find('/')?..];
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Some(name(&super::read_path(path)?, query))
}

/// Names decoded and folded, values decoded; what cannot be decoded stays as it is.
fn pairs(query: &str) -> impl Iterator<Item = (String, Cow<'_, str>)> {
    let plain = |text| decode(text).unwrap_or(Cow::Borrowed(text));
    query.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (plain(name).to_ascii_lowercase(), plain(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_the_same_however_its_address_is_written() {
        let link = "/subscriptions/s/vms?api-version=1&%24skiptoken=aB%3d%3D";
        let same = |query: &str| name("/subscriptions/s/vms", Some(query));
        let body =
            format!(r#"{{"value":[{{"nextLink":3}}],"nextLink":"https://management.azure.com{link}"}}"#);
        let next = next(body.as_bytes()).expect("there is one");
        for query in [
            "api-version=1&%24skiptoken=aB%3d%3D",
            "$skipToken=aB==&api-version=1",
            "$skiptoken=aB%3D%3D&&Api-Version=1",
        ] {
            assert!(same(query) == next, "{query}");
            assert!(is_later(query));
        }
        for query in
            ["api-version=1", "api-version=1&$skiptoken=ab==", "api-version=2&$skiptoken=aB==", "$skip=1"]
        {
            assert!(same(query) != next, "{query}");
        }
        assert!(!is_later("api-version=1&skiptoken=x&a=$skiptoken"));
    }

    #[test]
    fn a_body_without_a_next_page_has_none() {
        for body in
            ["{}", r#"{"nextLink":null}"#, r#"{"nextLink":""}"#, r#"{"nextLink":"/a"}"#, "[]", "", "x"]
        {
            assert!(next(body.as_bytes()).is_none(), "{body}");
        }
        assert!(next(br#"{"@odata.nextLink":"https:\/\/a\/b"}"#).is_some());
    }
}
