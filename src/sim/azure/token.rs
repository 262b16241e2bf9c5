//! Access tokens as the login authority issues them: JWT of version 1, signed with a key of its own.
//!
//! The signature is Ed25519 where the real one is RSA: nobody but the issuer can check either (tokens for
//! ARM are opaque to everybody else), and an Ed25519 signature is the same each time, so checking it is
//! signing again.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use serde_json::{Map, Value, json};

use super::{Principal, TENANT};

/// How long a token lives; the real ones draw between 60 and 90 minutes.
pub(super) const LIFETIME: Duration = Duration::from_secs(75 * 60);
const KEY_ID: &str = "simulated-key-1";

/// Who a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Actor {
    pub(super) object: String,
    pub(super) application: String,
    /// The token's number in order of issue.
    pub(super) number: u64,
    pub(super) expires: u64,
    pub(super) audience: String,
    pub(super) tenant: String,
}

/// The authority's key and the number of the next token.
pub(super) struct Issuer {
    key: KeyPair,
    next: u64,
}

impl Issuer {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("the provider makes Ed25519 keys");
        Self { key, next: 1 }
    }

    /// The number that the next token gets.
    pub(super) fn next_number(&self) -> u64 {
        self.next
    }

    /// A token for `principal`; `more` replaces or adds claims.
    pub(super) fn issue(
        &mut self,
        principal: &Principal,
        audience: &str,
        now: u64,
        more: &Map<String, Value>,
    ) -> String {
        let number = self.next;
        self.next += 1;
        let mut claims = json!({
            "aud": audience,
            "iss": format!("https://sts.windows.net/{TENANT}/"),
            "iat": now, "nbf": now, "exp": now + LIFETIME.as_secs(),
            "aio": format!("E2ZgYEj{number:012}"),
            "appid": principal.client_id,
            "appidacr": "1",
            "idp": format!("https://sts.windows.net/{TENANT}/"),
            "idtyp": "app",
            "oid": principal.object_id,
            "sub": principal.object_id,
            "rh": format!("1.ARoA{number:012}"),
            "tid": TENANT,
            "uti": format!("uti{number:016}"),
            "ver": "1.0",
            "xms_idrel": "7 12",
        });
        for (name, value) in more {
            claims[name] = value.clone();
        }
        self.sign(&claims)
    }

    fn sign(&self, claims: &Value) -> String {
        let header = json!({ "typ": "JWT", "alg": "EdDSA", "x5t": KEY_ID, "kid": KEY_ID });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = self.signature(&signed);
        format!("{signed}.{signature}")
    }

    fn signature(&self, signed: &str) -> String {
        let signature = self.key.sign(signed.as_bytes()).expect("an Ed25519 key signs any message");
        URL_SAFE_NO_PAD.encode(signature)
    }

    /// Who a token speaks for, if this issuer has signed it. Whether it has expired is the caller's question.
    pub(super) fn verify(&self, token: &str) -> Option<Actor> {
        let (signed, signature) = token.rsplit_once('.')?;
        if self.signature(signed) != signature {
            return None;
        }
        let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        let text = |name: &str| claims[name].as_str().map(str::to_owned);
        Some(Actor {
            object: text("oid")?,
            application: text("appid")?,
            number: text("uti")?.trim_start_matches("uti").parse().ok()?,
            expires: claims["exp"].as_u64()?,
            audience: text("aud")?,
            tenant: text("tid")?,
        })
    }

    /// The public half as a JSON Web Key Set (RFC 8037).
    pub(super) fn keys(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.der_bytes());
        json!({ "keys": [{
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": KEY_ID, "x5t": KEY_ID, "x": x,
        }]})
    }
}
