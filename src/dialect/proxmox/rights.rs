//! Rights in Proxmox VE: `GET /access/permissions` dumps the caller's effective privileges, with the flag
//! whether they propagate, on every path that is in any access list and on all members of pools
//! (`get_effective_permissions` of PVE::RPCEnvironment). Two principals for whom it is equal get equal
//! answers to whatever privileges decide.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::dialect::Principal;

pub(in crate::dialect) const READ: &str = "/api2/json/access/permissions";

/// Tasks and lines of the log are shown to their owner, users and tokens to themselves: names decide there.
pub(in crate::dialect) const BEYOND: [&str; 4] =
    ["/api2/*/cluster/tasks", "/api2/*/nodes/*/tasks/**", "/api2/*/cluster/log", "/api2/*/access/**"];

/// Passes every check by its name (`check_api2_permissions` of PVE::AccessControl), whatever the list says.
const ROOT: &[u8] = b"root@pam";

#[derive(Deserialize)]
struct Told {
    data: BTreeMap<String, BTreeMap<String, u8>>,
}

/// The same list of paths and privileges, in one order. Perl's hashes have another in every answer.
pub(in crate::dialect) fn told(body: &[u8]) -> Option<Vec<u8>> {
    let Told { data } = serde_json::from_slice(body).ok()?;
    let is_flag = |flag: &u8| *flag <= 1;
    let readable = data.values().all(|rights| rights.values().all(is_flag))
        && data.values().any(|rights| !rights.is_empty());
    readable.then(|| serde_json::to_vec(&data).ok()).flatten()
}

/// What root's own tokens may do is in the list, but some calls ask for the name before it: they count as
/// root.
pub(in crate::dialect) fn decide(principal: &Principal) -> bool {
    let user = principal.name.split(|byte| *byte == b'!').next();
    user.is_some_and(|user| user != ROOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rights_have_one_form_whatever_their_order() {
        let one = br#"{"data":{"/vms/100":{"VM.Audit":1,"VM.Console":0},"/":{"Sys.Audit":1}}}"#;
        let same = br#"{"data": {"/": {"Sys.Audit": 1}, "/vms/100": {"VM.Console": 0, "VM.Audit": 1}}}"#;
        assert!(told(one).is_some());
        assert_eq!(told(one), told(same));
        let others: [&[u8]; 5] = [
            br#"{"data":{"/vms/100":{"VM.Audit":1,"VM.Console":1},"/":{"Sys.Audit":1}}}"#,
            br#"{"data":{"/vms/100":{"VM.Audit":1},"/":{"Sys.Audit":1}}}"#,
            br#"{"data":{"/vms/101":{"VM.Audit":1,"VM.Console":0},"/":{"Sys.Audit":1}}}"#,
            br#"{"data":{"/vms/100":{"VM.Audit":1,"VM.Console":0}}}"#,
            br#"{"data":{"/vms/100":{"VM.Audit":1,"VM.Console":0},"/":{"Sys.Audit":1},"/pool":{}}}"#,
        ];
        for other in others {
            assert!(told(other).is_some());
            assert_ne!(told(one), told(other), "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn what_tells_of_no_rights_or_cannot_be_read_is_no_list() {
        let cases = [
            "",
            "null",
            "[]",
            r#"{"data":null}"#,
            r#"{"data":{}}"#,
            r#"{"data":[]}"#,
            r#"{"data":{"/":{}}}"#,
            r#"{"data":{"/":1}}"#,
            r#"{"data":{"/":{"Sys.Audit":"1"}}}"#,
            r#"{"data":{"/":{"Sys.Audit":2}}}"#,
            r#"{"data":{"/":{"Sys.Audit":1}}"#,
            r#"{"data":null,"message":"no"}"#,
        ];
        for body in cases {
            assert_eq!(told(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn root_is_more_than_its_rights() {
        let of = |kind, name: &str| decide(&Principal { kind, name: name.as_bytes().into() });
        assert!(of("user", "joe@pve") && of("token", "joe@pve!ci") && of("user", "root@pve"));
        assert!(of("user", "xroot@pam"));
        assert!(!of("user", "root@pam") && !of("token", "root@pam!ci"));
    }
}
