use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use shared::secret::Secret;

use super::*;

/// A period that is turned at a time that is easy to read.
const PERIOD: Duration = Duration::from_secs(100_000);
/// In the middle of period 17,000.
const NOW: u64 = 1_700_050_000;
/// The first second of period 17,001.
const TURN: u64 = 1_700_100_000;

fn secret(kid: &str) -> SigningSecret {
    SigningSecret { kid: kid.to_owned(), secret: Secret::generate().unwrap().0 }
}

fn tokens(secrets: &[SigningSecret], algorithm: TokenAlgorithm) -> AccessTokens {
    AccessTokens::new(secrets, Duration::from_secs(1800), DEFAULT_LEEWAY).unwrap().signing_with(algorithm, PERIOD)
}

fn issue(tokens: &AccessTokens, now: u64) -> String {
    let session = SessionId::random().unwrap();
    let user = UserId::random().unwrap();
    tokens.issue_at(now, &user, session.to_string(), &TokenScopes::All, u64::MAX).unwrap().token
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

#[test]
fn a_token_that_was_verified_before_still_ends_at_its_time() {
    let tokens = AccessTokens::new(&[secret("k")], Duration::from_secs(60), DEFAULT_LEEWAY).unwrap();
    let user = UserId::random().unwrap();
    let issued = tokens.issue(&user).unwrap();
    let verified = tokens.verify(&issued.token).unwrap();
    assert_eq!(verified.user_id, user);
    assert_eq!(tokens.verify(&issued.token), Ok(verified));
    let known = tokens.verified.lock().unwrap().iter().next().unwrap().1.clone();
    let at = |seconds: u64| known.at(known.exp - 60 + seconds, DEFAULT_LEEWAY).map(|_| ());
    assert_eq!([at(0), at(65), at(66)], [Ok(()), Ok(()), Err(AccessTokenError::Expired { by_s: 6 })]);
    assert_eq!(known.at(known.from - 6, DEFAULT_LEEWAY), Err(AccessTokenError::NotYetValid { by_s: 6, leeway_s: 5 }));
    assert!(known.at(known.from - 6, MAX_LEEWAY).is_ok() && known.at(known.exp + 60, MAX_LEEWAY).is_ok());
    assert!(known.at(known.from - 1, Duration::ZERO).is_err() && known.at(known.exp + 1, Duration::ZERO).is_err());
    // A token that differs in its signature alone is another one.
    let forged = format!("{}{}", &issued.token[..issued.token.len() - 2], if issued.token.ends_with("AA") { "BB" } else { "AA" });
    assert_eq!(tokens.verify(&forged), Err(AccessTokenError::Invalid));
}

#[test]
fn a_token_of_a_session_names_it_and_does_not_outlive_it() {
    let tokens = tokens(&[secret("k")], TokenAlgorithm::Hs256);
    let (user, session) = (UserId::random().unwrap(), SessionId::random().unwrap());
    let ends_at = unix_seconds() + 100;
    let issued = tokens.issue_in(&user, &session, &TokenScopes::All, i64::try_from(ends_at).unwrap() * 1000 + 999).unwrap();
    let verified = tokens.verify(&issued.token).unwrap();
    assert_eq!((verified.session, verified.expires_at_s), (Some(session.clone()), ends_at));
    assert!(issued.lifetime <= Duration::from_secs(100));
    let long = tokens.issue_in(&user, &session, &TokenScopes::All, i64::MAX).unwrap();
    assert_eq!(long.lifetime, Duration::from_secs(1800));
    // A release before sessions drew longer ones, of which none was kept.
    assert_eq!(tokens.verify(&tokens.issue(&user).unwrap().token).unwrap().session, None);
}

#[test]
fn replicas_derive_the_same_keys_from_the_same_secret_and_others_from_another() {
    let (one, other) = (secret("k"), secret("k"));
    let replicas = [tokens(std::slice::from_ref(&one), TokenAlgorithm::EdDsa), tokens(&[one], TokenAlgorithm::EdDsa)];
    let stranger = tokens(&[other], TokenAlgorithm::EdDsa);
    let token = issue(&replicas[0], NOW);
    assert_eq!(kid(&token), "k.100000.17000");
    assert!(replicas[1].verify_at(&token, NOW).is_ok());
    assert_eq!(stranger.verify_at(&token, NOW), Err(AccessTokenError::Invalid));
    assert_eq!(replicas[0].keys.published(NOW), replicas[1].keys.published(NOW));
    assert_ne!(replicas[0].keys.published(NOW), stranger.keys.published(NOW));
}

/// Fixed for good: a release that derived others would refuse the tokens of the one before.
#[test]
fn the_derivation_of_a_key_is_pinned() {
    let secret = Secret::parse("6b1f0c5e9a7d42f38c21e0b4d95a7733f1e8c06d2b94a58e17c3fd60497a2be5").unwrap();
    let key = derived_key::derive(&SigningSecret { kid: "one".to_owned(), secret }, PERIOD, 17_000).unwrap();
    assert_eq!((key.kid.as_str(), hex::encode(key.public).as_str()), ("one.100000.17000", PINNED));
}

/// Computed by another implementation of HKDF and Ed25519.
const PINNED: &str = "ee298986590f013b6c9b5307a18a581554066421beaca9dc768d9c794c494a42";

#[test]
fn keys_rotate_by_themselves_and_each_is_published_a_period_before_it_signs_and_a_period_after() {
    let tokens = tokens(&[secret("k")], TokenAlgorithm::EdDsa);
    let published = |now| tokens.keys.published(now).unwrap().into_iter().map(|key| key.kid).collect::<Vec<_>>();
    let (before, after) = (kid(&issue(&tokens, TURN - 1)), kid(&issue(&tokens, TURN)));
    assert_ne!(before, after);
    assert_eq!(published(NOW), ["k.100000.17000", "k.100000.17001", "k.100000.16999"]);
    assert_eq!(published(TURN), ["k.100000.17001", "k.100000.17002", "k.100000.17000"]);
    // What somebody keeps for as long as is said has the key of each token that comes meanwhile.
    let keep = tokens.keep_public_keys_for().as_secs();
    assert!(keep > 0 && published(TURN - 1).contains(&kid(&issue(&tokens, TURN - 1 + keep))));
}

#[test]
fn a_replica_whose_clock_is_off_takes_its_neighbours_tokens_around_the_turn_of_a_period() {
    let secret = secret("k");
    let [neighbour, replica] = [(), ()].map(|()| tokens(std::slice::from_ref(&secret), TokenAlgorithm::EdDsa));
    let leeway = DEFAULT_LEEWAY.as_secs();
    for signed_at in [TURN - leeway, TURN - 1, TURN, TURN + leeway] {
        let token = issue(&neighbour, signed_at);
        for verified_at in [signed_at - leeway, signed_at, signed_at + leeway, signed_at + 1800 + leeway] {
            assert!(replica.verify_at(&token, verified_at).is_ok(), "{signed_at} {verified_at}");
        }
    }
    // Nothing is left of a key two periods later, whatever its tokens' times say.
    let long = AccessTokens { ttl: 3 * PERIOD, ..tokens(&[secret], TokenAlgorithm::EdDsa) };
    let token = issue(&long, TURN - 1);
    assert!(long.verify_at(&token, TURN + 1).is_ok());
    assert_eq!(replica.verify_at(&token, TURN + PERIOD.as_secs()), Err(AccessTokenError::Invalid));
}

#[test]
fn tokens_of_both_algorithms_are_taken_while_the_setting_changes_over_and_back() {
    let secrets = [secret("new"), secret("old")];
    let [hs256, eddsa] = [TokenAlgorithm::Hs256, TokenAlgorithm::EdDsa].map(|algorithm| tokens(&secrets, algorithm));
    let of_old = tokens(&secrets[1..], TokenAlgorithm::EdDsa);
    let issued = [issue(&hs256, NOW), issue(&eddsa, NOW), issue(&of_old, NOW)];
    assert_eq!(issued.each_ref().map(|token| kid(token)), ["new", "new.100000.17000", "old.100000.17000"]);
    for token in &issued {
        assert!(hs256.verify_at(token, NOW).is_ok() && eddsa.verify_at(token, NOW).is_ok(), "{token}");
    }
    assert_eq!(hs256.keys.published(NOW), Ok(Vec::new()));
    assert_eq!(eddsa.keys.published(NOW).unwrap().len(), 6);
}

/// Any header and our claims, signed by this key whatever the header says.
fn signed(header: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let claims = json!({
        "iss": "tollgate", "aud": "tollgate", "sub": "AAAAAAAAAAAAAAAA", "sid": "AAAAAAAAAAAA", "jti": "token", "iat": NOW, "nbf": NOW,
        "exp": NOW + 600
    });
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

#[test]
fn a_token_whose_header_names_another_algorithm_than_its_key_has_here_is_refused() {
    let secret = secret("k");
    let tokens = tokens(std::slice::from_ref(&secret), TokenAlgorithm::EdDsa);
    let derived = derived_key::derive(&secret, PERIOD, 17_000).unwrap();
    let hmac = EncodingKey::from_secret(secret.secret.bytes());
    let good = |alg: &str, kid: &str| json!({ "typ": "at+jwt", "alg": alg, "kid": kid });
    assert!(tokens.verify_at(&signed(&good("EdDSA", &derived.kid), &derived.signing, Algorithm::EdDSA), NOW).is_ok());
    assert!(tokens.verify_at(&signed(&good("HS256", "k"), &hmac, Algorithm::HS256), NOW).is_ok());
    // The public key as the secret, in each form in which somebody may have it.
    let x = URL_SAFE_NO_PAD.encode(derived.public);
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x }).to_string();
    for public in [derived.public.as_slice(), x.as_bytes(), hex::encode(derived.public).as_bytes(), jwk.as_bytes(), b""] {
        for kid in ["k", &derived.kid] {
            for (alg, algorithm) in [("HS256", Algorithm::HS256), ("HS384", Algorithm::HS384), ("HS512", Algorithm::HS512)] {
                let forged = signed(&good(alg, kid), &EncodingKey::from_secret(public), algorithm);
                assert_eq!(tokens.verify_at(&forged, NOW), Err(AccessTokenError::Invalid), "{alg} {kid}");
            }
        }
    }
    // A good signature under the other's name, and every name of an algorithm over one.
    for alg in ["HS256", "EdDSA", "Ed25519", "none", "None", "RS256", "PS256", "ES256", "HS512", "eddsa", ""] {
        for (kid, key, algorithm) in [("k", &derived.signing, Algorithm::EdDSA), (&derived.kid, &hmac, Algorithm::HS256)] {
            let forged = signed(&good(alg, kid), key, algorithm);
            let unsigned = format!("{}.", forged.rsplit_once('.').unwrap().0);
            for token in [&forged, &unsigned] {
                assert_eq!(tokens.verify_at(token, NOW), Err(AccessTokenError::Invalid), "{alg} {kid}");
            }
        }
        if alg != "EdDSA" {
            let forged = signed(&good(alg, &derived.kid), &derived.signing, Algorithm::EdDSA);
            assert_eq!(tokens.verify_at(&forged, NOW), Err(AccessTokenError::Invalid), "{alg}");
        }
    }
}

#[test]
fn a_kid_is_a_look_up_among_the_keys_of_three_periods_and_never_derives_one() {
    let secret = secret("k");
    let tokens = tokens(std::slice::from_ref(&secret), TokenAlgorithm::EdDsa);
    assert!(tokens.verify_at(&issue(&tokens, NOW), NOW).is_ok());
    // Each is signed by the very key that its name would have.
    for number in [0, 16_998, 17_002, 325_036, u64::MAX / 2] {
        let far = derived_key::derive(&secret, PERIOD, number).unwrap();
        let header = json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": far.kid });
        assert_eq!(tokens.verify_at(&signed(&header, &far.signing, Algorithm::EdDSA), NOW), Err(AccessTokenError::Invalid), "{number}");
    }
    let now = derived_key::derive(&secret, PERIOD, 17_000).unwrap();
    let other_length = derived_key::derive(&secret, Duration::from_secs(10), NOW / 10).unwrap();
    let (long, padded) = ("k".repeat(3000), format!("{} ", now.kid));
    for kid in [
        "k.100000.017000",
        "k.100000",
        "k..17000",
        ".100000.17000",
        "K.100000.17000",
        "k.100000.17000.",
        "../k.100000.17000",
        "' OR 1=1 --",
        "k.100000.-1",
        "k.100000.18446744073709551616",
        "",
        &long,
        &padded,
        &other_length.kid,
    ] {
        let header = json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": kid });
        assert_eq!(tokens.verify_at(&signed(&header, &now.signing, Algorithm::EdDSA), NOW), Err(AccessTokenError::Invalid), "{kid}");
    }
    assert_eq!(tokens.keys.published(NOW).unwrap().len(), 3);
}

#[test]
fn another_issuer_is_named_in_new_tokens_and_those_from_before_are_taken() {
    let secret = secret("k");
    let before = tokens(std::slice::from_ref(&secret), TokenAlgorithm::Hs256);
    let after = tokens(&[secret], TokenAlgorithm::Hs256).issued_by("https://auth.example.com".to_owned());
    let (old, new) = (issue(&before, NOW), issue(&after, NOW));
    assert!(after.verify_at(&old, NOW).is_ok() && after.verify_at(&new, NOW).is_ok());
    assert_eq!(before.verify_at(&new, NOW), Err(AccessTokenError::Invalid));
}
