//! What is shown is what the API said, byte for byte: the whole of an answer, in the spelling of who asks, or an item
//! of a list that was read in place of its own read.

use std::io::Read as _;

use bytes::Bytes;

use super::super::client::Got;
use super::answers::{echoed, with_group};
use super::cells::{Kind, group_path};
use super::check::Asked;
use super::reads::Read;
use super::world::{Answer, World};

impl World {
    /// The item of `list` that is shown as what was asked for: as old as the list, and for whom the list is.
    pub(super) fn as_item(&self, asked: &Asked, got: &Got, list: &Answer) -> Result<Answer, String> {
        let wrong = |what: &str| Err(format!("{what}: {} is shown for {}", list.target, asked.target));
        let Read::Item(cell) = asked.read else { return wrong("no item") };
        if !self.few_calls {
            return wrong("no list is read for it");
        }
        let ((path, query), (own, own_query)) = (plain(&list.target), plain(&asked.target));
        if own.rsplit_once('/').map(|(above, _)| above) != Some(&*path) || query != own_query {
            return wrong("another list");
        }
        let body = plain_body(got).unwrap_or_default();
        let begins = format!(r#"{{"id":"{}","version":"#, cell.path());
        let text = String::from_utf8_lossy(&body);
        let version = text.strip_prefix(&begins).and_then(|rest| rest.split(',').next()?.parse().ok());
        let Some(version) = version else { return wrong("another item") };
        if !String::from_utf8_lossy(&list.body).contains(&*text) {
            return wrong("no item of it");
        }
        let rights = list.shows.iter().filter(|(cell, _)| cell.kind == Kind::Rights).copied();
        Ok(Answer {
            target: asked.target.clone(),
            shows: rights.chain([(cell, version)]).collect(),
            listed: true,
            moves: text.contains("Updating"),
            body: Bytes::from(body),
            ..list.clone()
        })
    }

    /// What is shown is what the API said, and to this request. Where one entry is for all spellings, it is what
    /// it would have said to this one.
    pub(super) fn judge_bytes(&self, asked: &Asked, got: &Got, answer: &Answer) -> Result<(), String> {
        let letters = |target: &str| {
            let target =
                target.strip_prefix("/~r/").map_or(target, |rest| &rest[rest.find('/').unwrap_or(0)..]);
            target.split('?').next().unwrap_or_default().to_owned()
        };
        let same_letters = self.few_calls || letters(&answer.target) == letters(&asked.target);
        if plain(&answer.target) != plain(&asked.target) || !same_letters {
            return Err(format!("the answer to {} was shown for {}", answer.target, asked.target));
        }
        if asked.bodiless || matches!(got.status, 204 | 304) {
            return Ok(());
        }
        let expected = match (echoed(&answer.target), echoed(&asked.target)) {
            (Some(from), Some(to)) if from != to => {
                let ids = |group: &str| {
                    let path = asked.read.group().map(group_path).unwrap_or_default();
                    format!(r#""{}/providers/Microsoft.Compute/"#, with_group(&path, group))
                };
                String::from_utf8_lossy(&answer.body).replace(&ids(from), &ids(to)).into_bytes()
            }
            _ => answer.body.to_vec(),
        };
        if plain_body(got) != Some(expected) {
            return Err(format!("other bytes than the API's: {}", String::from_utf8_lossy(&got.body)));
        }
        Ok(())
    }
}

/// The number of the answer that `got` is, if it is one of the API's, and whether it is an item of a list that was
/// one: then the number stands in its text alone.
pub(super) fn origin_of(asked: &Asked, got: &Got) -> Result<Option<(u128, bool)>, String> {
    if let Some(id) = got.field("x-model").and_then(|id| u128::from_str_radix(id, 16).ok()) {
        return Ok(Some((id, false)));
    }
    // Forebay refuses nobody's token on its own.
    if got.status >= 429 {
        return Ok(None);
    }
    let mark = plain_body(got).and_then(|body| {
        let text = String::from_utf8(body).ok()?;
        let mark = text.split_once(r#""mark":""#)?.1.get(..32)?;
        u128::from_str_radix(mark, 16).ok()
    });
    match mark.filter(|_| got.status == 200) {
        Some(id) => Ok(Some((id, true))),
        None => Err(format!("{} without the API's mark for {}", got.status, asked.target)),
    }
}

/// A body without its coding.
fn plain_body(got: &Got) -> Option<Vec<u8>> {
    if got.field("content-encoding") != Some("gzip") {
        return Some(got.body.to_vec());
    }
    let mut body = Vec::new();
    flate2::read::GzDecoder::new(&*got.body).read_to_end(&mut body).ok()?;
    Some(body)
}

/// Path and query as the API reads them: in small letters, in one order, without what an address said of its
/// host.
pub(super) fn plain(target: &str) -> (String, String) {
    let target = match target.strip_prefix("/~r/") {
        Some(rest) => &rest[rest.find('/').unwrap_or(0)..],
        None => target,
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let decoded = query.replace("%24", "$").replace("%3d", "=");
    let mut pairs: Vec<&str> = decoded.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.sort_by_key(|pair| pair.to_ascii_lowercase());
    let names = pairs.iter().map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        format!("{}={value}", name.to_ascii_lowercase())
    });
    (path.to_ascii_lowercase(), names.collect::<Vec<_>>().join("&"))
}
