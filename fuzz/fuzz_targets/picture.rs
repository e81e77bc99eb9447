//! A picture's head is read without a look beyond it.
#![no_main]

use inference_service::fuzzing::picture;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match picture(data) {
        Ok(()) => {
            let known = [&b"\x89PNG"[..], b"\xff\xd8\xff", b"RIFF"];
            assert!(known.iter().any(|start| data.starts_with(start)));
            assert_eq!(picture(&[data, data].concat()), Ok(()), "what follows a head doesn't change it");
            assert!(picture(&data[..12]).is_err(), "a head is longer than that");
        }
        Err(rule) => assert!(rule.starts_with("must be ")),
    }
});
