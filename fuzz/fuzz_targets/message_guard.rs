//! A request's body is the same whatever pieces it comes in, with gzip and without.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::message_guard::fuzzing::{Reading, received};
use tollgate_fuzz::in_pieces;

fuzz_target!(|data: &[u8]| {
    let Some((rules, data)) = data.split_first() else { return };
    let reading = Reading {
        many_messages: rules & 1 != 0,
        gzip: rules & 2 != 0,
        in_force: rules & 4 != 0,
        most_bytes: if rules & 8 != 0 { 1 << 20 } else { 300 },
    };
    let data = if rules & 16 != 0 { with_long_message(data) } else { data.to_vec() };
    let (body, pieces) = in_pieces(&data);
    let read = |pieces: &[&[u8]]| received(pieces, reading).expect("all is there").ok();
    let whole = read(&[body]);
    assert_eq!(read(&pieces), whole, "in pieces");
    if body.len() < 1000 {
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(read(&bytes), whole, "byte by byte");
    }
    let Some(plain) = whole else { return };
    if !reading.gzip {
        assert_eq!(plain, body, "nothing is changed");
    }
    let mut rest = &plain[..];
    let mut messages = 0;
    while let Some((prefix, after)) = rest.split_at_checked(5) {
        let length = usize::try_from(u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]])).expect("a length");
        assert!(length <= reading.most_bytes, "{length} bytes are more than there may be");
        assert!(prefix[0] == 0 || (reading.gzip && reading.many_messages), "it isn't decoded");
        (rest, messages) = (&after[length..], messages + 1);
    }
    assert!(rest.is_empty() && (reading.many_messages || messages == 1));
});

/// A message before the body for which its caller must be confirmed. The fuzzer's own inputs are shorter than that.
fn with_long_message(data: &[u8]) -> Vec<u8> {
    const LENGTH: u32 = 65_600;
    let cuts = data.first().map_or(0, |count| 1 + 2 * usize::from(count % 8)).min(data.len());
    let (cuts, body) = data.split_at(cuts);
    [cuts, &[0], &LENGTH.to_be_bytes(), &vec![7; LENGTH as usize], body].concat()
}
