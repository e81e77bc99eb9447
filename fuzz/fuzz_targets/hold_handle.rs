//! A hold's handle is read as it was written, and nothing else is read.
#![no_main]

use auth_service::hold::{Outcome, Terms, TokenUsage, is_attempt_id, settlement};
use libfuzzer_sys::fuzz_target;
use shared::request_id::is_request_id;

/// The longest handle that is read.
const MAX_HANDLE_BYTES: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
    if let Some(terms) = std::str::from_utf8(bytes).ok().and_then(Terms::from_handle) {
        assert_eq!(terms.to_handle().as_bytes(), bytes);
        is_sound(&terms);
    }
    if let Some(terms) = Terms::from_bytes(bytes.to_vec()) {
        assert_eq!(terms.as_bytes(), bytes);
        let handle = terms.to_handle();
        assert!(handle.len() > MAX_HANDLE_BYTES || Terms::from_handle(&handle).as_ref() == Some(&terms));
        is_sound(&terms);
    }
});

fn is_sound(terms: &Terms) {
    assert!(is_attempt_id(&terms.attempt_id) && is_request_id(&terms.request_id));
    // Made anew they say the same, whatever else their bytes held.
    let again = Terms::new((**terms).clone());
    assert_eq!(*again, **terms);
    assert_eq!(Terms::from_bytes(again.as_bytes().to_vec()).as_ref(), Some(&again));
    let all = TokenUsage { input_tokens: u32::MAX, output_tokens: u32::MAX, estimated: false };
    assert!((0..=terms.held_credits).contains(&settlement(terms, Outcome::Completed, all).charge));
}
