//! Whom tickets and API tokens name, and until when a ticket is good.
//!
//! pveproxy percent-decodes both once. A ticket is `PVE:USER@REALM:HEXTIME::SIGNATURE`, of which the
//! signature covers the part before the double colon; a token is `USER@REALM!ID=SECRET`. What is read
//! here is narrower than what Proxmox takes: whatever could be split in another way, or is not a plain
//! login ticket, claims nothing, and is shared with nobody. Once the API has accepted the credential the
//! name is true, since it is the one that the API itself has read there.

use smallvec::SmallVec;

use super::{TICKET, TICKET_FIELD, TOKEN};
use crate::dialect::{Claims, Principal};

/// Seconds that a ticket is good for (`$ticket_lifetime` in PVE::AccessControl).
const TICKET_LIFETIME: u64 = 2 * 3600;

/// No credential of Proxmox is longer: a head has 8 KiB, and a ticket with a 4096-bit key 800 bytes.
const LONGEST: usize = 2048;

type Text = SmallVec<[u8; 96]>;

pub(in crate::dialect) fn claims(parts: &[&[u8]]) -> Claims {
    let [kind, value] = parts else { return Claims::default() };
    let claimed = match *kind {
        TICKET | TICKET_FIELD => ticket(value),
        TOKEN => token(value).map(|principal| Claims { principal: Some(principal), ends: None }),
        _ => None,
    };
    claimed.unwrap_or_default()
}

/// Only the part before the signature is decoded: the name and the time.
fn ticket(value: &[u8]) -> Option<Claims> {
    if value.len() > LONGEST {
        return None;
    }
    let mut decoded = Decoded(value);
    let mut plain = Text::new();
    // Up to the first double colon. No name has a colon, so it is the only one that can follow a time.
    while !plain.ends_with(b"::") {
        plain.push(decoded.next()??);
    }
    // Behind it stands only the signature, in base64.
    let signature = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
    if !decoded.all(signature) {
        return None;
    }
    plain.truncate(plain.len() - 2);
    let (name, time) = plain.strip_prefix(b"PVE:")?.split_at_checked(plain.len().checked_sub(4 + 9)?)?;
    let time = time.strip_prefix(b":").filter(|time| time.iter().all(u8::is_ascii_hexdigit))?;
    let time = u64::from_str_radix(std::str::from_utf8(time).ok()?, 16).ok()?;
    // A half ticket has `!tfa!...` in the place of the name.
    is_user(name).then(|| Claims {
        principal: Some(Principal { kind: "user", name: name.into() }),
        ends: Some(time + TICKET_LIFETIME),
    })
}

/// The full id of a token: its rights are its own, whoever's it is.
fn token(value: &[u8]) -> Option<Principal> {
    if value.len() > LONGEST {
        return None;
    }
    let mut decoded = Decoded(value);
    let mut name = Text::new();
    loop {
        match decoded.next()?? {
            b'=' => break,
            byte => name.push(byte),
        }
    }
    // Proxmox splits at the last equals sign.
    if !decoded.all(|byte| byte.is_some_and(|byte| byte.is_ascii_graphic() && !b"=;%".contains(&byte))) {
        return None;
    }
    let mark = name.iter().position(|byte| *byte == b'!')?;
    let (user, id) = (&name[..mark], &name[mark + 1..]);
    let is_id = id.len() > 1 && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(byte));
    (is_user(user) && is_id).then_some(Principal { kind: "token", name })
}

/// `USER@REALM` in characters that no reader takes for anything else.
fn is_user(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !b":/!=;,%\"\\".contains(byte);
    let Some(at) = name.iter().rposition(|byte| *byte == b'@') else { return false };
    let realm = &name[at + 1..];
    at > 0
        && name.iter().all(plain)
        && realm.first().is_some_and(u8::is_ascii_alphabetic)
        && realm.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(byte))
}

/// The bytes of a value, percent-decoded once; `None` in the place of a broken escape.
struct Decoded<'v>(&'v [u8]);

impl Iterator for Decoded<'_> {
    type Item = Option<u8>;

    fn next(&mut self) -> Option<Option<u8>> {
        let (first, rest) = self.0.split_first()?;
        if *first != b'%' {
            self.0 = rest;
            return Some(Some(*first));
        }
        let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
        let byte = digit(rest.first()).zip(digit(rest.get(1))).map(|(high, low)| (high * 16 + low) as u8);
        self.0 = rest.get(2..).unwrap_or_default();
        Some(byte)
    }
}

#[cfg(test)]
mod tests;
