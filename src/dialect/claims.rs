//! What a credential says of itself.

use smallvec::SmallVec;

/// What a credential claims. Nothing of it is true before the API has accepted the credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The principal, where its name can be read in one way only.
    pub principal: Option<Principal>,
    /// When it ends, in seconds since 1970 by the API's clock.
    pub ends: Option<u64>,
}

/// A principal: whoever the API gives the same answers to, by the name that its credentials have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// What sort of name it is: the same letters may name a user and a token.
    pub kind: &'static str,
    /// The name.
    pub name: SmallVec<[u8; PRINCIPAL]>,
}

/// Names of principals up to this length are read without memory of their own.
const PRINCIPAL: usize = 96;
