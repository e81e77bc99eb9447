//! Headers that anybody may send: the deadline, the caller's address behind proxies, the account.
#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use shared::authorization::judge_end_user;
use shared::caller_address::TrustedProxies;
use shared::credential_form::{ACCOUNT_HEADER, account, bearer, end_users};
use shared::request_context::deadline;

static PROXIES: LazyLock<TrustedProxies> =
    LazyLock::new(|| TrustedProxies::parse("10.0.0.0/8, 127.0.0.1, 2001:db8::/32").expect("networks"));

// Each line is a header: a letter that says which, and its value.
fuzz_target!(|data: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(64) {
        let Some((which, value)) = line.split_first() else { continue };
        let name = match which {
            b't' => "grpc-timeout",
            b'f' => "x-forwarded-for",
            b'a' => "authorization",
            _ => ACCOUNT_HEADER,
        };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    the_deadline(&headers);
    for peer in ["10.0.0.1", "127.0.0.1", "203.0.113.5", "::1", "2001:db8::1", "::ffff:10.0.0.1"] {
        the_caller(peer.parse().expect("an address"), &headers);
    }
    if let Ok(account) = account(&headers) {
        assert!(headers.get_all(ACCOUNT_HEADER).iter().count() <= 1 && !account.contains(','));
        assert_eq!(account.as_bytes(), headers.get(ACCOUNT_HEADER).map_or(&b""[..], HeaderValue::as_bytes));
    }
    let credential = bearer(&headers);
    assert!(credential.is_err() || headers.get_all("authorization").iter().count() == 1);
    assert_eq!(judge_end_user(&headers).is_ok(), credential.is_ok_and(|credential| end_users(credential).is_ok()));
});

fn the_deadline(headers: &HeaderMap) {
    let sent = headers.get("grpc-timeout").map(HeaderValue::as_bytes);
    let Ok(waits) = deadline(headers) else {
        assert!(sent.is_some(), "what isn't there is not malformed");
        return;
    };
    assert_eq!(waits.is_some(), sent.is_some());
    let (Some(waits), Some(sent)) = (waits, sent) else { return };
    let (unit, digits) = sent.split_last().expect("not empty");
    assert!((1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit));
    let number = digits.iter().fold(0, |number: u128, digit| number * 10 + u128::from(digit - b'0'));
    let nanos = match unit {
        b'H' => 3_600_000_000_000,
        b'M' => 60_000_000_000,
        b'S' => 1_000_000_000,
        b'm' => 1_000_000,
        b'u' => 1000,
        b'n' => 1,
        _ => panic!("{unit} is no unit"),
    };
    assert_eq!(waits.as_nanos(), number * nanos);
    assert!(waits <= Duration::from_secs(99_999_999 * 3600));
}

fn the_caller(peer: IpAddr, headers: &HeaderMap) {
    let connection = PROXIES.connection(peer, None);
    let caller = PROXIES.caller(connection, headers);
    assert_eq!(caller.through_proxy, connection.through_proxy);
    assert!(!caller.through_proxy || !caller.is_local());
    assert_eq!(caller.ip, caller.ip.to_canonical());
    if !connection.through_proxy {
        assert_eq!(caller, connection, "who isn't listed says nothing of others");
    }
    if caller.ip != connection.ip && !PROXIES.contains(caller.ip) {
        // What stands left of it was written by whoever wanted to.
        let mut forged = HeaderMap::new();
        forged.append("x-forwarded-for", HeaderValue::from_static("198.51.100.66, 10.0.0.7"));
        for line in headers.get_all("x-forwarded-for") {
            forged.append("x-forwarded-for", line.clone());
        }
        assert_eq!(PROXIES.caller(connection, &forged), caller);
    }
}
