use super::*;

const TIME: u64 = 0x65F0_A1B2;

/// The kind of credential, what it claims to be, and whether it says when it ends.
fn claimed(kind: &[u8], value: &str) -> Option<(String, Option<u64>)> {
    let Claims { principal, ends } = claims(&[kind, value.as_bytes()]);
    if principal.is_none() {
        assert_eq!(ends, None, "{value}");
    }
    principal.map(|p| (format!("{} {}", p.kind, String::from_utf8_lossy(&p.name)), ends))
}

#[test]
fn tickets_name_their_user_and_their_end() {
    let cases = [
        ("PVE:root@pam:65F0A1B2::c2lnbmF0dXJl", "user root@pam"),
        ("PVE%3Aroot@pam%3A65F0A1B2%3A%3Ac2ln%2B%2F%3D%3D", "user root@pam"),
        ("PVE%3aroot%40pam%3a65f0a1b2%3a%3asig", "user root@pam"),
        ("PVE:joe@corp.example@ldap-1:65F0A1B2::a+/b==", "user joe@corp.example@ldap-1"),
        ("PVE:a.b-c_d+e@pve:65F0A1B2::sig", "user a.b-c_d+e@pve"),
        // No signature at all: nobody accepts it, so what it claims is of no account.
        ("PVE:root@pam:65F0A1B2::", "user root@pam"),
    ];
    for (ticket, expected) in cases {
        for kind in [TICKET, TICKET_FIELD] {
            let found = claimed(kind, ticket);
            assert_eq!(found, Some((expected.to_owned(), Some(TIME + 7200))), "{ticket}");
        }
        assert_eq!(claimed(TOKEN, ticket), None, "{ticket}");
    }
}

#[test]
fn tokens_name_themselves_and_no_end() {
    let cases = [
        ("root@pam!ci=0123-abcd", "token root@pam!ci"),
        ("root%40pam%21ci%3D0123-abcd", "token root@pam!ci"),
        ("a@b@pve!x.y-z_1=s", "token a@b@pve!x.y-z_1"),
    ];
    for (token, expected) in cases {
        assert_eq!(claimed(TOKEN, token), Some((expected.to_owned(), None)), "{token}");
        assert_eq!(claimed(TICKET, token), None, "{token}");
    }
    // A user's ticket and a token that is called like the user are two principals.
    assert_ne!(claimed(TOKEN, "root@pam!ci=x"), claimed(TICKET, "PVE:root@pam:65F0A1B2::x"));
}

#[test]
fn what_can_be_read_in_two_ways_claims_nothing() {
    let tickets = [
        "",
        "root@pam",
        "PVE:root@pam:65F0A1B2",
        "PVE:root@pam:65F0A1B2:sig",
        "PVE:root@pam::sig",
        "PVE:root@pam:65F0A1B::sig",
        "PVE:root@pam:65F0A1B21::sig",
        "PVE:root@pam:65F0A1BX::sig",
        "PVE:root@pam:+5F0A1B2::sig",
        "PVE::65F0A1B2::sig",
        "PVE:root:65F0A1B2::sig",
        "PVE:@pam:65F0A1B2::sig",
        "PVE:root@:65F0A1B2::sig",
        "PVE:root@9am:65F0A1B2::sig",
        // Half tickets and those of a second factor.
        "PVE:!tfa!%7B%22totp%22%3Atrue%7D:65F0A1B2::sig",
        "PVE:tfa!root@pam:65F0A1B2::sig",
        "PVE:u2f!root@pam!abc:65F0A1B2::sig",
        // Another colon, so that the last pair may be the one that counts.
        "PVE:root@pam:65F0A1B2::x@pve:65F0A1B2::sig",
        "PVE:root@pam:65F0A1B2::sig::sig",
        "PVE:root@pam:65F0A1B2:::sig",
        "PVE:x:root@pam:65F0A1B2::sig",
        "PVEVNC:root@pam:65F0A1B2::sig",
        "pve:root@pam:65F0A1B2::sig",
        " PVE:root@pam:65F0A1B2::sig",
        "PVE:root@pam:65F0A1B2::si g",
        "PVE:ro ot@pam:65F0A1B2::sig",
        "PVE:ro%00ot@pam:65F0A1B2::sig",
        "PVE:r%C3%B6t@pam:65F0A1B2::sig",
        "PVE:r\u{f6}t@pam:65F0A1B2::sig",
        "PVE:root@pam:65F0A1B2::s%zz",
        "PVE:root@pam:65F0A1B2::s%4",
        "PVE%253Aroot@pam:65F0A1B2::sig",
        "PVE:ro%2525ot@pam:65F0A1B2::sig",
    ];
    for ticket in tickets {
        assert_eq!(claimed(TICKET, ticket), None, "{ticket}");
    }
    let tokens = [
        "",
        "root@pam!ci",
        "root@pam=x",
        "root!ci=x",
        "@pam!ci=x",
        "root@pam!=x",
        "root@pam!c=x",
        // Proxmox takes the last of several equals signs for the end of the name.
        "root@pam!ci=x@pve!ci=y",
        "root@pam!ci=",
        "root@pam!ci==",
        "root@pam!ci!x=y",
        "root@pam!c/i=y",
        "ro:ot@pam!ci=y",
        "root@pam!ci=x;y",
        "root@pam!ci=x y",
        "root%40pam!ci%",
        "root%2540pam!ci=x",
    ];
    for token in tokens.iter().filter(|token| **token != "root@pam!ci=") {
        assert_eq!(claimed(TOKEN, token), None, "{token}");
    }
    assert_eq!(claimed(TICKET, &format!("PVE:root@pam:65F0A1B2::{}", "a".repeat(4096))), None);
}
