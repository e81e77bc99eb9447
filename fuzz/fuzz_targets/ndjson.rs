//! A body has the same lines whatever pieces it comes in.
#![no_main]

use inference_service::fuzzing::lines;
use libfuzzer_sys::fuzz_target;
use tollgate_fuzz::in_pieces;

fuzz_target!(|data: &[u8]| {
    let (body, pieces) = in_pieces(data);
    let found = lines(&pieces).expect("no line is too long");
    let expected: Vec<&[u8]> = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect();
    assert_eq!(found, expected);
    assert_eq!(lines(&[body]).as_ref(), Some(&found), "in one piece");
    let bytes: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(lines(&bytes).as_ref(), Some(&found), "byte by byte");
});
