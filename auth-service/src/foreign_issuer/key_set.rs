//! A foreign issuer's published keys (RFC 7517), each with the one algorithm that it is for.

use std::collections::HashMap;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Keys of one issuer that are looked at.
const MOST_KEYS: usize = 100;
/// Characters of a key's name.
const MOST_KID: usize = 256;

/// A public key.
#[derive(Debug, Clone)]
pub(super) struct ForeignKey {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// An issuer's keys by their names.
#[derive(Debug, Default)]
pub(super) struct KeySet(HashMap<String, ForeignKey>);

#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads what an issuer publishes. A key that can't be used here is passed over: an issuer has others for others. A name that two of
    /// them have is nobody's.
    pub(super) fn parse(json: &[u8], algorithms: &[Algorithm]) -> Result<Self, String> {
        let published: Published = serde_json::from_slice(json).map_err(|error| format!("no set of keys: {error}"))?;
        if published.keys.len() > MOST_KEYS {
            return Err(format!("more than {MOST_KEYS} keys"));
        }
        let mut keys: HashMap<String, Option<ForeignKey>> = HashMap::new();
        for value in published.keys {
            let Some(kid) = value.get("kid").and_then(Value::as_str).filter(|kid| (1..=MOST_KID).contains(&kid.len())) else { continue };
            let kid = kid.to_owned();
            let key = usable(value, algorithms);
            keys.entry(kid).and_modify(|twice| *twice = None).or_insert(key);
        }
        Ok(Self(keys.into_iter().filter_map(|(kid, key)| Some((kid, key?))).collect()))
    }

    pub(super) fn get(&self, kid: &str) -> Option<&ForeignKey> {
        self.0.get(kid)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn usable(value: Value, algorithms: &[Algorithm]) -> Option<ForeignKey> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let is_for_signing = jwk.common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature);
    let may_verify = jwk.common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !is_for_signing || !may_verify {
        return None;
    }
    let algorithm = algorithm_of(&jwk, algorithms)?;
    Some(ForeignKey { algorithm, key: DecodingKey::from_jwk(&jwk).ok()? })
}

/// The algorithm that a key is for: of those listed for its issuer the one that the key names. One that names none must leave no choice.
fn algorithm_of(jwk: &Jwk, algorithms: &[Algorithm]) -> Option<Algorithm> {
    let fits = |algorithm: &Algorithm| match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => matches!(
            algorithm,
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 | Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512
        ),
        AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
            EllipticCurve::P256 => *algorithm == Algorithm::ES256,
            EllipticCurve::P384 => *algorithm == Algorithm::ES384,
            _ => false,
        },
        AlgorithmParameters::OctetKeyPair(okp) => okp.curve == EllipticCurve::Ed25519 && *algorithm == Algorithm::EdDSA,
        // A secret is nobody's to publish.
        _ => false,
    };
    let mut listed = algorithms.iter().copied().filter(fits);
    match jwk.common.key_algorithm {
        Some(named) => listed.find(|algorithm| KeyAlgorithm::from(*algorithm) == named),
        None => listed.next().filter(|_| listed.next().is_none()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn algorithms_of(keys: &Value, listed: &[Algorithm]) -> Vec<(String, Algorithm)> {
        let set = KeySet::parse(json!({ "keys": keys }).to_string().as_bytes(), listed).unwrap();
        let mut found: Vec<_> = set.0.into_iter().map(|(kid, key)| (kid, key.algorithm)).collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    #[test]
    fn a_key_has_one_algorithm_and_it_is_listed_for_its_issuer() {
        let okp = |more: Value| {
            let mut key = json!({ "kty": "OKP", "crv": "Ed25519", "x": X, "kid": "k" });
            key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!([key])
        };
        let rsa = |alg: Option<&str>| json!([{ "kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "k", "alg": alg }]);
        let one = |algorithm| vec![("k".to_owned(), algorithm)];
        use Algorithm::{ES256, EdDSA, HS256, PS256, RS256};
        assert_eq!(algorithms_of(&okp(json!({})), &[EdDSA, RS256]), one(EdDSA));
        assert_eq!(algorithms_of(&okp(json!({ "alg": "EdDSA", "use": "sig", "key_ops": ["verify"] })), &[EdDSA]), one(EdDSA));
        assert_eq!(algorithms_of(&okp(json!({})), &[RS256]), []);
        for unusable in [json!({ "use": "enc" }), json!({ "key_ops": ["sign"] }), json!({ "alg": "RS256" }), json!({ "crv": "X25519" })] {
            assert_eq!(algorithms_of(&okp(unusable), &[EdDSA, RS256]), []);
        }
        assert_eq!(algorithms_of(&rsa(None), &[RS256, EdDSA]), one(RS256));
        assert_eq!(algorithms_of(&rsa(Some("PS256")), &[RS256, PS256]), one(PS256));
        assert_eq!(algorithms_of(&rsa(None), &[RS256, PS256]), [], "either");
        assert_eq!(algorithms_of(&rsa(Some("RS384")), &[RS256]), []);
        let secret = json!([{ "kty": "oct", "k": "c2VjcmV0", "kid": "k", "alg": "HS256" }]);
        assert_eq!(algorithms_of(&secret, &[HS256, RS256]), [], "not even if it could be listed");
        let p384 = json!([{ "kty": "EC", "crv": "P-384", "x": X, "y": X, "kid": "k" }]);
        assert_eq!(algorithms_of(&p384, &[ES256]), []);
    }

    #[test]
    fn a_name_that_two_keys_have_is_nobodys_and_what_is_no_key_of_ours_is_passed_over() {
        let key = |kid: &str| json!({ "kty": "OKP", "crv": "Ed25519", "x": X, "kid": kid });
        let keys = json!([
            key("a"), key("twice"), key("twice"), key("twice"), key(""), key(&"k".repeat(300)), { "kty": "OKP", "crv": "Ed25519", "x": X },
            { "kty": "new", "kid": "n" }, "text", null, { "kid": 1 }
        ]);
        assert_eq!(algorithms_of(&keys, &[Algorithm::EdDSA]), [("a".to_owned(), Algorithm::EdDSA)]);
        // Also where only one of the two could be used.
        let twice = json!([{ "kty": "oct", "k": "AA", "kid": "k" }, key("k")]);
        assert_eq!(algorithms_of(&twice, &[Algorithm::EdDSA]), []);
        for wrong in ["", "[]", "{}", "{\"keys\":{}}", "null"] {
            assert!(KeySet::parse(wrong.as_bytes(), &[Algorithm::EdDSA]).is_err(), "{wrong}");
        }
        let many: Vec<Value> = (0..101).map(|number| key(&number.to_string())).collect();
        assert!(KeySet::parse(json!({ "keys": many }).to_string().as_bytes(), &[Algorithm::EdDSA]).is_err());
        assert_eq!(KeySet::parse(b"{\"keys\":[]}", &[Algorithm::EdDSA]).unwrap().len(), 0);
    }
}
