//! Which parts of a query are a secret, so that nobody shows or writes them.

use percent_encoding::percent_decode_str;

/// Parameters whose value is a secret: any whose name contains one of these, or is the last.
const NAMES: [&str; 6] = ["ticket", "token", "password", "secret", "apikey", "signature"];
const SIGNATURE: &str = "sig";

/// Whether a parameter of this name has a secret as its value.
pub fn names_secret(name: &str) -> bool {
    let name = percent_decode_str(name).decode_utf8_lossy().to_ascii_lowercase();
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    name == SIGNATURE || NAMES.iter().any(|secret| name.contains(secret))
}

/// Whether a parameter of `query` has a secret as its value.
pub fn holds_secret(query: &str) -> bool {
    query.split(['&', ';']).any(|pair| names_secret(pair.split_once('=').map_or(pair, |(name, _)| name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_by_the_names_of_their_parameters() {
        for secret in ["vncticket=x", "a=1;VncTicket=x", "a=1&vnc%74icket=x", "sig=x", "api-key=x", "token"] {
            assert!(holds_secret(secret), "{secret}");
        }
        for harmless in ["", "a=ticket", "design=1&type=vm", "signal=1"] {
            assert!(!holds_secret(harmless), "{harmless}");
        }
    }
}
