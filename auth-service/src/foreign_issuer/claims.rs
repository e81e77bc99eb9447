//! What a foreign issuer's token says.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Validation;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::config::IssuerConfig;
use super::key_set::ForeignKey;
use crate::access_token::{AccessTokenError, judge_times};

/// What access tokens call themselves. What calls itself otherwise, such as a logout token, is none.
const TYPES: [&str; 3] = ["at+jwt", "application/at+jwt", "JWT"];

/// The claims that are looked at; the first three and `iat` are required, each of exactly this type.
#[derive(Deserialize)]
pub(super) struct ForeignClaims {
    iss: String,
    aud: Audience,
    pub(super) exp: u64,
    pub(super) iat: u64,
    nbf: Option<u64>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// When a token counts, in seconds since 1970.
pub(super) struct ForeignTimes {
    from: u64,
    exp: u64,
}

impl ForeignTimes {
    pub(super) fn judge(&self, now: u64, leeway: Duration) -> Result<(), AccessTokenError> {
        judge_times(self.from, self.exp, now, leeway)
    }
}

/// The `iss` that a token has. Nothing is verified yet.
pub(super) fn issuer_of(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        iss: String,
    }
    let claims = token.split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    Some(serde_json::from_slice::<Named>(&claims).ok()?.iss)
}

/// The name of the key that a token has, if its header is an access token's. Nothing is verified yet.
pub(super) fn kid_of(token: &str) -> Option<String> {
    let header = jsonwebtoken::decode_header(token).ok()?;
    // `crit` names extensions that must be understood; we have none. `jku`, `x5u` and `jwk` are ignored.
    let typ = header.typ.as_deref().is_some_and(|typ| TYPES.iter().any(|known| typ.eq_ignore_ascii_case(known)));
    header.kid.filter(|_| typ && header.crit.is_none())
}

impl ForeignClaims {
    /// The claims of a token that this key signed, by the algorithm that it has here, for us.
    pub(super) fn verified(token: &str, key: &ForeignKey, config: &IssuerConfig) -> Option<Self> {
        let mut validation = Validation::new(key.algorithm);
        // Times are compared by themselves: a refusal says by how much they differ.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let claims = jsonwebtoken::decode::<Self>(token, &key.key, &validation).ok()?.claims;
        let for_us = match &claims.aud {
            Audience::One(one) => *one == config.audience,
            Audience::Several(several) => several.contains(&config.audience),
        };
        (claims.iss == config.issuer && for_us).then_some(claims)
    }

    pub(super) fn times(&self) -> ForeignTimes {
        ForeignTimes { from: self.iat.max(self.nbf.unwrap_or_default()), exp: self.exp }
    }

    /// A claim that is a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.others.get(name)?.as_str()
    }
}
