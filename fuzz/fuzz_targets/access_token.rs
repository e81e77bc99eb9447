//! No text is taken for an access token but one that was issued.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use auth_service::access_token::{AUDIENCE, AccessTokens, DEFAULT_LEEWAY, ISSUER, SigningSecret, TYPE};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use shared::secret::Secret;

const KID: &str = "one";
const HEADER: &str = r#"{"typ":"at+jwt","alg":"HS256","kid":"one"}"#;
/// Always the same, so that a finding is one again: issued in 2023, until 2096.
const CLAIMS: &str = concat!(
    r#"{"iss":"tollgate","aud":"tollgate","sub":"aaaaaaaaaaaaaaaa","sid":"s","iat":1700000000,"#,
    r#""nbf":1700000000,"exp":4000000000,"jti":"j"}"#
);

static SECRET: LazyLock<Secret> =
    LazyLock::new(|| Secret::parse("6b1f0c5e9a7d42f38c21e0b4d95a7733f1e8c06d2b94a58e17c3fd60497a2be5").expect("a secret"));
static TOKENS: LazyLock<AccessTokens> = LazyLock::new(|| {
    let secret = SigningSecret { kid: KID.to_owned(), secret: SECRET.clone() };
    AccessTokens::new(&[secret], Duration::from_secs(1800), DEFAULT_LEEWAY).expect("a secret signs")
});
static ISSUED: LazyLock<String> = LazyLock::new(|| signed(HEADER.as_bytes(), CLAIMS.as_bytes()));

fn signed(header: &[u8], claims: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = crypto::sign(message.as_bytes(), &EncodingKey::from_secret(SECRET.bytes()), Algorithm::HS256).expect("signs");
    format!("{message}.{signature}")
}

fuzz_target!(|data: &[u8]| {
    assert!(TOKENS.verify(&ISSUED).is_ok(), "the issued one is good");
    let Some((how, data)) = data.split_first() else { return };
    match how % 3 {
        0 => never_taken(&String::from_utf8_lossy(data)),
        1 => never_taken(&changed(data)),
        _ => signed_by_us(data),
    }
});

fn never_taken(text: &str) {
    if text != *ISSUED {
        assert!(TOKENS.verify(text).is_err(), "{text:?} was not issued");
    }
}

/// The issued token with changes of three bytes each: where, what (to put there, in between, or to take out), and a byte.
fn changed(data: &[u8]) -> String {
    let mut text = ISSUED.clone().into_bytes();
    for change in data.chunks_exact(3).take(16) {
        let at = (usize::from(change[0]) * 256 + usize::from(change[1])) % text.len();
        match change[1] % 3 {
            0 => text[at] = change[2],
            1 => text.insert(at, change[2]),
            _ if text.len() > 1 => drop(text.remove(at)),
            _ => {}
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Whatever else the secret signs is taken only if it is an access token in every part. A line end is between header and claims.
fn signed_by_us(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (header, claims) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let (header, claims) =
        (if header.is_empty() { HEADER.as_bytes() } else { header }, if claims.is_empty() { CLAIMS.as_bytes() } else { claims });
    let Ok(token) = TOKENS.verify(&signed(header, claims)) else { return };
    let header: Value = serde_json::from_slice(header).expect("a header is JSON");
    let claims: Value = serde_json::from_slice(claims).expect("claims are JSON");
    assert_eq!((&header["typ"], &header["alg"], &header["kid"]), (&Value::from(TYPE), &Value::from("HS256"), &Value::from(KID)));
    assert!(header["crit"].is_null());
    assert_eq!((&claims["iss"], &claims["aud"]), (&Value::from(ISSUER), &Value::from(AUDIENCE)));
    assert_eq!(claims["sub"], token.user_id.as_str());
    assert!(claims["exp"].as_u64().is_some() && claims["nbf"].as_u64().is_some());
    assert_eq!(claims["iat"].as_i64().map(|at| at * 1000), Some(token.issued_at_ms));
}
