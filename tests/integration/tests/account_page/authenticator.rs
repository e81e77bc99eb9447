//! An authenticator app, as RFC 6238 describes it: what a person has in their hand.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;

/// The letters of base32 (RFC 4648).
const BASE32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Seconds of a step.
const STEP: u64 = 30;

/// Its code, so many steps from now: a code is good one step before and after its own, and each once.
pub(crate) fn code(secret: &str, steps_from_now: i64) -> String {
    let step = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / STEP;
    code_at(secret, step.checked_add_signed(steps_from_now).unwrap())
}

/// The code of a step.
fn code_at(secret: &str, step: u64) -> String {
    let bits = secret.chars().filter(|letter| *letter != '=').flat_map(|letter| {
        let digit = BASE32.find(letter.to_ascii_uppercase()).expect("base32");
        (0..5).rev().map(move |bit| u8::from(digit >> bit & 1 == 1))
    });
    let bits: Vec<u8> = bits.collect();
    let key: Vec<u8> = bits.chunks_exact(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | bit)).collect();
    let digest = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key), &step.to_be_bytes());
    let digest = digest.as_ref();
    let at = usize::from(digest[19] & 0xf);
    let number = u32::from_be_bytes(digest[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

#[test]
fn its_codes_are_those_of_the_rfc() {
    // RFC 6238, appendix B, whose secret is "12345678901234567890", and the last six of its eight digits.
    let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
        assert_eq!(code_at(secret, seconds / STEP), code);
    }
}
