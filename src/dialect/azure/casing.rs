//! How ARM spells in an answer what a request spelled otherwise.
//!
//! Groups and resources are compared without regard to case. Most providers answer the spelling that was used
//! when a resource was made; Compute answers ids of its own with the request's spelling of the group (recorded:
//! 14 of 14 machines, 5 of 5 disks).

use std::ops::Range;

/// The provider whose answers repeat the request's spelling.
const ECHOES: &str = "microsoft.compute";

/// Where the group stands in a path below a group of that provider, and where what says so ends.
fn echoed(path: &str) -> Option<(Range<usize>, usize)> {
    let mut ranges = path.match_indices('/').map(|(at, _)| at);
    let slashes: [usize; 7] = std::array::from_fn(|_| ranges.next().unwrap_or(path.len()));
    let segment = |place: usize| path.get(slashes[place] + 1..slashes[place + 1]).unwrap_or_default();
    let is = |place: usize, word: &str| segment(place).eq_ignore_ascii_case(word);
    let is_echoed = is(0, "subscriptions") && is(2, "resourcegroups") && is(4, "providers") && is(5, ECHOES);
    is_echoed.then_some((slashes[3] + 1..slashes[4], slashes[6] + 1))
}

/// `body` with the group as `asked` spells it in each id of the provider that spells it as `kept` does.
pub(in crate::dialect) fn respelled(kept: &str, asked: &str, body: &[u8]) -> Option<Vec<u8>> {
    let (group, end) = echoed(kept)?;
    let (from, to) = (kept.get(group.clone())?, asked.get(group.clone())?);
    if from == to || !from.eq_ignore_ascii_case(to) || end > kept.len() {
        return None;
    }
    let (before, behind) = (&kept.as_bytes()[..group.start], &kept.as_bytes()[group.end..end]);
    let mut changed: Option<Vec<u8>> = None;
    for quote in memchr::memchr_iter(b'"', body) {
        let at = quote + 1 + group.start;
        let Some(text) = body.get(quote + 1..quote + 1 + end) else { break };
        let is_echo = text[..group.start].eq_ignore_ascii_case(before)
            && &text[group.clone()] == from.as_bytes()
            && text[group.end..].eq_ignore_ascii_case(behind);
        if is_echo {
            let body = changed.get_or_insert_with(|| body.to_vec());
            body[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: &str = "/subscriptions/s/resourcegroups/RG-A/providers/microsoft.compute/disks/d";

    fn respell(kept: &str, asked: &str, body: &str) -> Option<String> {
        respelled(kept, asked, body.as_bytes()).map(|body| String::from_utf8(body).expect("text"))
    }

    #[test]
    fn ids_of_compute_follow_the_request_and_all_else_stays() {
        let asked = KEPT.replace("RG-A", "rg-a");
        let body = |group: &str| {
            format!(
                r#"{{"id":"/subscriptions/s/resourceGroups/{group}/providers/Microsoft.Compute/disks/d",
                "vm":"/subscriptions/s/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/v",
                "nic":"/subscriptions/s/resourceGroups/RG-A/providers/Microsoft.Network/networkInterfaces/n",
                "other":"/subscriptions/s/resourceGroups/Rg-A/providers/Microsoft.Compute/disks/e",
                "longer":"/subscriptions/s/resourceGroups/RG-AB/providers/Microsoft.Compute/disks/e",
                "name":"RG-A"}}"#
            )
        };
        assert_eq!(respell(KEPT, &asked, &body("RG-A")), Some(body("rg-a")));
        assert_eq!(respell(KEPT, KEPT, &body("RG-A")), None);
        assert_eq!(respell(&asked, KEPT, &body("RG-A")), None, "nothing is spelled so");
    }

    #[test]
    fn other_providers_and_scopes_answer_one_spelling() {
        for kept in [
            "/subscriptions/s/resourceGroups/RG-A/providers/Microsoft.Network/networkInterfaces/n",
            "/subscriptions/s/providers/Microsoft.Compute/virtualMachines",
            "/subscriptions/s/resourceGroups/RG-A",
            "/subscriptions/s/resourceGroups/RG-A/providers/Microsoft.Compute",
            "/",
            "",
        ] {
            assert_eq!(respell(kept, &kept.replace("RG-A", "rg-a"), &format!("{{\"id\":\"{kept}\"}}")), None);
        }
    }
}
