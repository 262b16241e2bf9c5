//! Who asks: principals, their tokens, and what they may see.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fastrand::Rng;

use super::super::acceptance::Holder;
use super::super::history::Stamp;
use super::super::people::Standing;
use super::cells::PRINCIPALS;

/// A token.
pub struct Token {
    /// Whose it is, or claims to be.
    pub principal: usize,
    /// The line of a request that carries it.
    pub field: String,
    /// What is known of it.
    pub holder: Holder,
    /// The second of the wall clock in which it ends by itself.
    pub ends: u64,
}

/// Everybody.
pub struct People {
    /// The tokens; they are never taken out.
    pub credentials: Vec<Token>,
    by_field: HashMap<String, usize>,
    lives: Lives,
}

/// The principals' claims: two are the same user with other groups, one names nobody that could be told from
/// others.
const CLAIMS: [&str; PRINCIPALS] = [
    r#""oid":"o-admin","idtyp":"app","appid":"a-1""#,
    r#""oid":"o-ann","idtyp":"user","appid":"a-2","scp":"user_impersonation","groups":["g1","g2"]"#,
    r#""oid":"o-ann","idtyp":"user","appid":"a-2","scp":"user_impersonation","groups":["g1"]"#,
    r#""oid":"o-bob","idtyp":"app","appid":"a-3","roles":["r"]"#,
    r#""oid":"o-eve","appid":"a-3","scp":"user_impersonation""#,
];

/// The one that names nobody.
const NAMELESS: usize = 4;

/// How many tokens each has at a time.
const TOKENS: usize = 2;

/// How long tokens live, in seconds; some are about to end.
const LIFE: u64 = 3_600;
const SHORT_LIFE: std::ops::Range<u64> = 5..60;

/// The same where tokens end all the time.
const SHORTEST_LIFE: std::ops::Range<u64> = 3..15;

/// How long tokens live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lives {
    /// Most for longer than a run takes.
    Usual,
    /// For seconds, all of them.
    Short,
}

impl People {
    /// Everybody with fresh tokens, and as many forged ones; `wall` is the second that it is.
    pub fn new(wall: u64, lives: Lives, rng: &mut Rng) -> Self {
        let mut people = Self { credentials: Vec::new(), by_field: HashMap::new(), lives };
        for principal in 0..PRINCIPALS {
            for _ in 0..TOKENS {
                people.issue(principal, Standing::Valid, wall, rng);
            }
            people.issue(principal, Standing::Forged, wall, rng);
        }
        people
    }

    /// Whether the API accepts a token in this second.
    pub fn is_valid(&self, credential: usize, wall: u64) -> bool {
        let token = &self.credentials[credential];
        token.holder.standing == Standing::Valid && wall < token.ends
    }

    /// Whether answers for the one may be the other's where principals share.
    pub fn are_one(&self, one: Option<usize>, other: Option<usize>) -> bool {
        let of = |credential: Option<usize>| credential.map(|c| self.credentials[c].principal);
        one == other || of(one) == of(other) && of(one).is_some_and(|principal| principal != NAMELESS)
    }

    /// A new token of `principal`, or one that claims to be.
    fn issue(&mut self, principal: usize, standing: Standing, wall: u64, rng: &mut Rng) {
        let place = self.credentials.len();
        let life = match (self.lives, rng.u8(..6)) {
            (Lives::Short, _) => rng.u64(SHORTEST_LIFE),
            (Lives::Usual, 0) => rng.u64(SHORT_LIFE),
            (Lives::Usual, _) => LIFE,
        };
        let ends = wall + life;
        let noise = rng.u64(..);
        let mut claims: Vec<String> = vec![
            r#""tid":"t-1""#.into(),
            CLAIMS[principal].into(),
            format!(r#""iat":{wall},"nbf":{wall},"uti":"{noise:x}","exp":{ends}"#),
        ];
        rng.shuffle(&mut claims);
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let payload = part(&format!("{{{}}}", claims.join(",")));
        let signature = part(&format!("{:032x}", rng.u128(..)));
        let field = format!("Authorization: Bearer {}.{payload}.{signature}", part(r#"{"alg":"none"}"#));
        self.by_field.insert(field.clone(), place);
        self.credentials.push(Token { principal, field, holder: Holder::new(standing), ends });
    }

    /// The token that a line of a request carries.
    pub fn of_field(&self, line: &str) -> Option<usize> {
        let (_, value) = line.split_once(": ")?;
        self.by_field.get(&format!("Authorization: {value}")).copied()
    }

    /// A token that holds, of anybody.
    pub fn any_valid(&self, rng: &mut Rng) -> usize {
        self.any(rng, |standing| standing == Standing::Valid).expect("what ends is replaced")
    }

    /// A token that the API refuses, if there is any.
    pub fn any_refused(&self, rng: &mut Rng) -> Option<usize> {
        self.any(rng, |standing| standing != Standing::Valid)
    }

    fn any(&self, rng: &mut Rng, wanted: impl Fn(Standing) -> bool) -> Option<usize> {
        let found: Vec<usize> =
            (0..self.credentials.len()).filter(|c| wanted(self.credentials[*c].holder.standing)).collect();
        (!found.is_empty()).then(|| found[rng.usize(..found.len())])
    }

    /// Ends a token; its principal gets another.
    pub fn revoke(&mut self, credential: usize, when: Stamp, wall: u64, rng: &mut Rng) {
        let held = &mut self.credentials[credential];
        held.holder.standing = Standing::Revoked(when);
        let principal = held.principal;
        self.issue(principal, Standing::Valid, wall, rng);
    }

    /// Whether a token that the API accepted has ended by itself.
    pub fn any_is_over(&self, wall: u64) -> bool {
        self.credentials.iter().any(|token| token.holder.standing == Standing::Valid && token.ends <= wall)
    }

    /// Tokens that have ended by themselves are replaced: says which, and by which.
    pub fn renew(&mut self, when: Stamp, wall: u64, rng: &mut Rng) -> Vec<(usize, usize)> {
        let mut renewed = Vec::new();
        for credential in 0..self.credentials.len() {
            let token = &self.credentials[credential];
            if token.holder.standing == Standing::Valid && token.ends <= wall {
                self.revoke(credential, when, wall, rng);
                renewed.push((credential, self.credentials.len() - 1));
            }
        }
        renewed
    }

    /// Whether tokens end all the time.
    pub fn live_shortly(&self) -> bool {
        self.lives == Lives::Short
    }
}

/// In how many ways rights differ, but for whoever has all.
const KINDS_OF_RIGHTS: usize = 3;

/// Whether `principal`, whose rights in a subscription are at `version`, may see what is in `group`.
pub fn sees(principal: usize, version: usize, group: usize) -> bool {
    principal == 0 || !(group + principal + version).is_multiple_of(KINDS_OF_RIGHTS)
}
