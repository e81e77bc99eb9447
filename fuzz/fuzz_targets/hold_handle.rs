//! A hold's handle is read as it was written, and nothing else is read.
#![no_main]

use auth_service::hold::{HoldHandle, hold_id, is_attempt_id, is_request_id};
use auth_service::ids::{AccountId, UserId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(handle) = HoldHandle::parse(text) {
        assert_eq!(handle.to_text(), text);
        assert!(is_attempt_id(&handle.attempt_id) && is_request_id(&handle.request_id));
        assert_eq!(handle.hold_id(), hold_id(&handle.user_id, &handle.request_id));
    }
    // And what is made of parts that are good each for itself is one handle.
    let mut parts = text.split(' ');
    let mut next = || parts.next().unwrap_or_default();
    let (account, user_id) = (AccountId::parse(next()), UserId::parse(next()));
    let (attempt_id, request_id) = (next().to_owned(), next().to_owned());
    if let (Some(account), Some(user_id)) = (account, user_id) {
        let is_good = is_attempt_id(&attempt_id) && is_request_id(&request_id);
        let handle = HoldHandle { account, user_id, request_id, attempt_id };
        assert!(!is_good || HoldHandle::parse(&handle.to_text()) == Some(handle));
    }
});
