//! Hosts and ports as clients name them in CONNECT and `Host` (RFC 9110 §4.2, §7.2, §9.3.6), and as a
//! configuration names those that it means.
//!
//! Invariant: what compares equal here is the same host to every resolver. A name has no trailing dot, no
//! escape and nothing that a resolver would read as an address; an address is compared as such.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The port of `https`, where none is named.
pub const HTTPS: u16 = 443;

/// The longest name (RFC 1035 §2.3.4), and the longest label of one.
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// A host: a name in lower case, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name.
    Name(String),
    /// An address; one of IPv4 in the clothes of IPv6 is the first.
    Address(IpAddr),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// The hosts that a configuration means with one text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Hosts {
    /// This one.
    One(Host),
    /// Every name below this domain, and not the domain itself: `*.example.com`.
    Below(String),
    /// Every name, and no address: `*`.
    AnyName,
}

/// Hosts, and the one port that is meant of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The hosts.
    pub hosts: Hosts,
    /// The port.
    pub port: u16,
}

/// Why a text names no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// Neither a name nor an address.
    #[error("neither a host name nor an address")]
    Host,
    /// The port is no number from 1 to 65535.
    #[error("no host with a port from 1 to 65535")]
    Port,
}

impl Host {
    /// Reads a name or an address; that of IPv6 in brackets.
    pub fn parse(text: &str) -> Result<Self, AuthorityError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(AuthorityError::Host)?;
            let address: Ipv6Addr = inner.parse().map_err(|_| AuthorityError::Host)?;
            return Ok(Host::Address(IpAddr::V6(address).to_canonical()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Host::Address(IpAddr::V4(address)));
        }
        match is_name(text) {
            true => Ok(Host::Name(text.to_ascii_lowercase())),
            false => Err(AuthorityError::Host),
        }
    }
}

/// Whether a text is a name that every resolver reads as one. The last label of a name has a letter that is
/// no digit of a number (`127.1` and `0x7f000001` are addresses to many resolvers).
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= LONGEST_LABEL
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.get(..2).is_some_and(|prefix| prefix.eq_ignore_ascii_case("0x"));
    text.len() <= LONGEST_NAME && text.split('.').all(label) && !is_number
}

/// Splits `host[:port]`.
fn split(text: &str, default: Option<u16>) -> Result<(&str, u16), AuthorityError> {
    let end = text.rfind(']').map_or(0, |bracket| bracket + 1);
    match text[end..].rfind(':').map(|colon| end + colon) {
        None => Ok((text, default.ok_or(AuthorityError::Port)?)),
        Some(colon) => {
            let digits = &text[colon + 1..];
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(AuthorityError::Port);
            }
            let port: u16 = digits.parse().map_err(|_| AuthorityError::Port)?;
            if port == 0 { Err(AuthorityError::Port) } else { Ok((&text[..colon], port)) }
        }
    }
}

impl Authority {
    /// Reads `host:port`, the only form that the target of a CONNECT has (RFC 9112 §3.2.3).
    pub fn with_port(text: &str) -> Result<Self, AuthorityError> {
        let (host, port) = split(text, None)?;
        Ok(Self { host: Host::parse(host)?, port })
    }

    /// Reads `host` or `host:port`, as in the `Host` field of a request that came over TLS.
    pub fn of_https(text: &str) -> Result<Self, AuthorityError> {
        let (host, port) = split(text, Some(HTTPS))?;
        Ok(Self { host: Host::parse(host)?, port })
    }
}

impl Target {
    /// Reads what a configuration says: a host, `*.domain` or `*`, each with or without `:port`.
    pub fn parse(text: &str) -> Result<Self, AuthorityError> {
        let (hosts, port) = split(text, Some(HTTPS))?;
        let hosts = match (hosts, hosts.strip_prefix("*.")) {
            ("*", _) => Hosts::AnyName,
            (_, Some(domain)) => match Host::parse(domain)? {
                Host::Name(domain) => Hosts::Below(domain),
                Host::Address(_) => return Err(AuthorityError::Host),
            },
            (one, None) => Hosts::One(Host::parse(one)?),
        };
        Ok(Self { hosts, port })
    }

    /// Whether `authority` is meant.
    pub fn means(&self, authority: &Authority) -> bool {
        self.port == authority.port
            && match (&self.hosts, &authority.host) {
                (Hosts::One(one), host) => one == host,
                (Hosts::Below(domain), Host::Name(name)) => name
                    .strip_suffix(domain.as_str())
                    .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
                (Hosts::AnyName, Host::Name(_)) => true,
                (Hosts::Below(_) | Hosts::AnyName, Host::Address(_)) => false,
            }
    }
}

impl fmt::Display for Host {
    /// As it stands in a certificate or is given to a resolver: without brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(address) => write!(f, "{address}"),
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_and_addresses_without_a_second_reading() {
        let good = [
            ("Management.Azure.com:443", "management.azure.com:443"),
            ("a_b.example:8443", "a_b.example:8443"),
            ("localhost:1", "localhost:1"),
            ("10.0.0.1:443", "10.0.0.1:443"),
            ("[2001:DB8::1]:443", "[2001:db8::1]:443"),
            ("[::ffff:127.0.0.1]:443", "127.0.0.1:443"),
            ("1.example:443", "1.example:443"),
        ];
        for (text, read) in good {
            assert_eq!(Authority::with_port(text).map(|a| a.to_string()), Ok(read.to_owned()), "{text}");
        }
        let bad = [
            "",
            ":443",
            "a",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a.:443",
            ".a:443",
            "a..b:443",
            "127.1:443",
            "0x7f000001:443",
            "2130706433:443",
            "1.2.3.4.5:443",
            "a b:443",
            "a@b:443",
            "a%2e:443",
            "-a:443",
            "a-:443",
            "ä.de:443",
            "::1:443",
            "[::1:443",
            "[10.0.0.1]:443",
            "[fe80::1%lo]:443",
            "*:443",
            "a/b:443",
        ];
        for text in bad {
            assert!(Authority::with_port(text).is_err(), "{text}");
        }
        assert!(Authority::with_port(&format!("{}a:443", "a.".repeat(130))).is_err());
    }

    #[test]
    fn a_port_may_be_left_out_of_a_host_field_and_not_of_a_connect() {
        let both = Authority::of_https("A.example").unwrap();
        assert_eq!(both, Authority::with_port("a.example:443").unwrap());
        assert_ne!(both, Authority::of_https("a.example:8443").unwrap());
        assert_eq!(Authority::of_https("[::1]").unwrap().to_string(), "[::1]:443");
    }

    #[test]
    fn a_target_means_what_it_says() {
        let cases: [(&str, &[&str], &[&str]); 6] = [
            (
                "Management.azure.com",
                &["management.azure.com:443", "MANAGEMENT.AZURE.COM:443"],
                &["management.azure.com:8443", "x.management.azure.com:443", "anagement.azure.com:443"],
            ),
            (
                "*.management.azure.com",
                &["westeurope.management.azure.com:443", "a.b.management.azure.com:443"],
                &[
                    "management.azure.com:443",
                    "xmanagement.azure.com:443",
                    "management.azure.com.evil.example:443",
                ],
            ),
            ("a.example:8443", &["a.example:8443"], &["a.example:443"]),
            ("*", &["a.example:443", "localhost:443"], &["10.0.0.1:443", "[::1]:443", "a.example:22"]),
            ("10.0.0.1", &["10.0.0.1:443", "[::ffff:10.0.0.1]:443"], &["10.0.0.2:443"]),
            ("*:8443", &["a.example:8443"], &["a.example:443"]),
        ];
        for (text, meant, others) in cases {
            let target = Target::parse(text).unwrap();
            for (authority, expected) in
                meant.iter().map(|m| (m, true)).chain(others.iter().map(|o| (o, false)))
            {
                let authority = Authority::with_port(authority).unwrap();
                assert_eq!(target.means(&authority), expected, "{text} {authority}");
            }
        }
        for text in ["", "*.", "a.*", "*a", "*.10.0.0.1", "*.*", "https://a", "a/", "a.", "a:x"] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
