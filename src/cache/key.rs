//! Keys, partitions and the hashes they are made of.
//!
//! A key is a 128-bit keyed hash (SipHash-2-4 with a secret drawn at the start) of everything that
//! may tell two answers apart. Nobody without the secret can make two requests collide, and two
//! that were not made to collide do so with a probability of 2^-128; so keys need not be compared in
//! full, and no readable key with a credential in it exists anywhere.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13, SipHasher24};

use crate::semantics::query::{self, Syntax};

/// The key of an entry or a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u128);

impl Key {
    /// The key of the same answer compressed with gzip: another one for every key.
    pub fn gzip(self) -> Key {
        Key(self.0 ^ 0x677a_6970_677a_6970_677a_6970_677a_6970)
    }

    /// The key of a form of the same answer that `text` tells from others, which is hashed to this.
    pub fn form(self, text: u128) -> Key {
        Key(self.0 ^ text.rotate_left(1))
    }

    /// The key of the flight of one credential alone, beside the one that others share: another one for
    /// every credential.
    pub fn of_one(self, who: CredentialId) -> Key {
        Key(self.0 ^ who.0 ^ 0x6f6e_6520_616c_6f6e_656f_6e65_2061_6c6f)
    }

    /// The hash, for a store that outlives the process.
    pub(crate) fn as_u128(self) -> u128 {
        self.0
    }

    /// The key that this hash is.
    pub(crate) fn from_u128(hash: u128) -> Key {
        Key(hash)
    }

    /// A number spread evenly over the keys, for choosing a shard.
    pub fn spread(self) -> usize {
        self.0 as usize
    }
}

/// One credential, known here by its keyed hash only. What the API accepts or refuses is this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CredentialId(u128);

impl CredentialId {
    /// Callers without a credential.
    pub const ANONYMOUS: CredentialId = CredentialId(0);

    /// The hash, for charging limits to whoever calls.
    pub fn as_u128(self) -> u128 {
        self.0
    }

    /// The credential whose hash this is.
    pub(crate) fn from_u128(hash: u128) -> CredentialId {
        CredentialId(hash)
    }
}

/// Who may see an entry: one credential, or those that share it (invariant 4). It only ever says who
/// may; whether the API has accepted them is another question, which is asked of each credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Partition(u128);

impl Partition {
    /// Every credential that the API has accepted.
    pub const EVERYONE: Partition = Partition(1);

    /// One credential alone.
    pub fn of(credential: CredentialId) -> Partition {
        Partition(credential.0)
    }

    /// The hash, for naming groups and for charging limits.
    pub fn as_u128(self) -> u128 {
        self.0
    }

    /// The partition whose hash this is.
    pub(crate) fn from_u128(hash: u128) -> Partition {
        Partition(hash)
    }
}

/// What a key is made of.
#[derive(Clone, Copy, Debug)]
pub struct KeyParts<'r> {
    /// Which upstream answers.
    pub site: u32,
    /// The meaning of the rule that keeps the answer, so that a changed rule finds nothing old.
    pub rule: u64,
    /// Who may see it.
    pub partition: Partition,
    /// From which endpoint, where the rule says that answers differ by node.
    pub endpoint: Option<u64>,
    /// The path as the client wrote it.
    pub path: &'r str,
    /// The query as the client wrote it, without the question mark.
    pub query: Option<&'r str>,
    /// How the API reads the query.
    pub syntax: Syntax,
    /// Query names that do not tell answers apart.
    pub ignored_query: &'r [String],
    /// What else of the request chooses among answers, where the API has such a choice.
    pub variant: Option<&'r [u8]>,
}

/// The secret behind every hash of this process.
#[derive(Clone)]
pub struct Secret {
    full: SipHasher24,
    /// With fewer rounds, for what a collision of costs no truth: the places of groups, and whether a
    /// body is still the same.
    light: SipHasher13,
}

impl Default for Secret {
    fn default() -> Self {
        Self::random()
    }
}

impl Secret {
    /// A secret from the operating system's random numbers.
    pub fn random() -> Self {
        let mut bytes = [0u8; 16];
        let filled = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
        assert_eq!(filled, Ok(bytes.len()), "the operating system gives random numbers");
        Self::from_bytes(&bytes)
    }

    /// The secret that these bytes are. One that others know protects nothing; it serves tests, which
    /// then meet the same collisions of groups in every run.
    pub fn from_bytes(bytes: &[u8; 16]) -> Self {
        Self { full: SipHasher24::new_with_key(bytes), light: SipHasher13::new_with_key(bytes) }
    }

    /// The credential that consists of `parts`.
    pub fn credential(&self, parts: &[&[u8]]) -> CredentialId {
        CredentialId(self.tagged(b'c', parts))
    }

    /// The partition of the principal whose name consists of `parts`.
    pub fn principal(&self, parts: &[&[u8]]) -> Partition {
        Partition(self.tagged(b'p', parts))
    }

    /// The partition of all whose rights are `rights`, in a form that is one for equal rights.
    pub fn rights(&self, rights: &[u8]) -> Partition {
        Partition(self.tagged(b'r', &[rights]))
    }

    /// The number of what `parts` name, for levels of limits.
    pub fn bucket(&self, parts: &[&[u8]]) -> u128 {
        self.tagged(b'b', parts)
    }

    /// The number of a write that consists of `parts`, for finding those that are the same.
    pub fn meeting(&self, parts: &[&[u8]]) -> u128 {
        self.tagged(b'w', parts)
    }

    /// The hash of what names a page of the upstream `site` as those who share `partition` see it.
    pub fn page(&self, site: u32, partition: Partition, name: &[u8]) -> u128 {
        self.tagged(b'n', &[&site.to_le_bytes(), &partition.0.to_le_bytes(), name])
    }

    /// The hash of what names an operation of the upstream `site`.
    pub fn operation(&self, site: u32, name: &[u8]) -> u128 {
        self.tagged(b'o', &[&site.to_le_bytes(), name])
    }

    /// The hash of a path as a request spells it.
    pub fn spelling(&self, path: &str) -> u128 {
        self.tagged(b's', &[path.as_bytes()])
    }

    /// The hash of what names a list of the upstream `site` for one credential.
    pub fn list(&self, site: u32, who: CredentialId, path: &str) -> u128 {
        self.tagged(b'l', &[&site.to_le_bytes(), &who.0.to_le_bytes(), path.as_bytes()])
    }

    /// `kind` keeps what is hashed for one purpose apart from all others.
    fn tagged(&self, kind: u8, parts: &[&[u8]]) -> u128 {
        let mut hasher = self.full;
        hasher.write_u8(kind);
        for part in parts {
            write(&mut hasher, part);
        }
        hasher.finish128().as_u128()
    }

    /// The key of `parts`.
    pub fn key(&self, parts: &KeyParts<'_>) -> Key {
        let mut hasher = self.full;
        hasher.write_u8(b'k');
        hasher.write_u64(parts.rule);
        hasher.write_u128(parts.partition.0);
        hasher.write_u32(parts.site);
        hasher.write_u64(parts.endpoint.unwrap_or(0));
        write(&mut hasher, parts.path.as_bytes());
        if let Some(text) = parts.query {
            query::canonical(text, parts.syntax, parts.ignored_query, |pair| {
                write(&mut hasher, pair.as_bytes())
            });
        }
        if let Some(variant) = parts.variant {
            // No pair of a query has a control character, so this is none.
            write(&mut hasher, b"\0variant");
            write(&mut hasher, variant);
        }
        Key(hasher.finish128().as_u128())
    }

    /// The number of a group: `kind` keeps names, paths and subtrees apart.
    pub fn group(&self, site: u32, kind: u8, name: &[u8]) -> u64 {
        let mut hasher = self.light;
        hasher.write_u64(u64::from(site) << 8 | u64::from(kind));
        hasher.write(name);
        hasher.finish()
    }

    /// A checksum of `parts` that nobody without the secret can make; `kind` keeps those of one purpose
    /// apart from all others.
    pub fn seal(&self, kind: u8, parts: &[&[u8]]) -> u64 {
        let mut hasher = self.light;
        hasher.write_u8(kind);
        for part in parts {
            hasher.write_u32(part.len() as u32);
            hasher.write(part);
        }
        hasher.finish()
    }

    /// A hash of a body, for validators.
    pub fn content(&self, body: &[bytes::Bytes]) -> u128 {
        let mut hasher = self.light;
        body.iter().for_each(|chunk| hasher.write(chunk));
        hasher.finish128().as_u128()
    }
}

/// Length first, so that no two lists of parts read the same.
fn write(hasher: &mut SipHasher24, part: &[u8]) {
    hasher.write_u32(part.len() as u32);
    hasher.write(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<'a>(path: &'a str, query: Option<&'a str>) -> KeyParts<'a> {
        KeyParts {
            site: 0,
            rule: 7,
            partition: Partition::of(CredentialId::ANONYMOUS),
            endpoint: None,
            path,
            query,
            syntax: Syntax::Semicolons,
            ignored_query: &[],
            variant: None,
        }
    }

    #[test]
    fn what_differs_has_another_key() {
        let secret = Secret::random();
        let base = parts("/a", Some("x=1&y=2"));
        let same = parts("/a", Some("y=2;x=1"));
        assert_eq!(secret.key(&base), secret.key(&same));
        let others = [
            parts("/a", None),
            parts("/a", Some("x=1")),
            parts("/a", Some("x=1&y=3")),
            parts("/a?x=1&y=2", None),
            parts("/%61", Some("x=1&y=2")),
            KeyParts { site: 1, ..base },
            KeyParts { rule: 8, ..base },
            KeyParts { endpoint: Some(1), ..base },
            KeyParts { partition: Partition::of(secret.credential(&[b"ticket", b"x"])), ..base },
            KeyParts { partition: secret.principal(&[b"ticket", b"x"]), ..base },
            KeyParts { partition: Partition::EVERYONE, ..base },
            KeyParts { variant: Some(b"de"), ..base },
            KeyParts { variant: Some(b""), ..base },
        ];
        let mut keys: Vec<_> = others.iter().map(|p| secret.key(p)).collect();
        let own = secret.key(&base);
        let who = secret.credential(&[b"ticket", b"x"]);
        keys.extend([own, own.gzip(), own.of_one(who), own.of_one(CredentialId::ANONYMOUS)]);
        keys.sort_by_key(|k| k.0);
        keys.dedup();
        assert_eq!(keys.len(), others.len() + 4);
        assert_ne!(secret.key(&base), Secret::random().key(&base));
    }

    #[test]
    fn parts_of_a_credential_do_not_run_together() {
        let secret = Secret::random();
        assert_ne!(secret.credential(&[b"ab", b"c"]), secret.credential(&[b"a", b"bc"]));
        assert_ne!(secret.credential(&[b"token", b"x"]), secret.credential(&[b"ticket", b"x"]));
    }
}
