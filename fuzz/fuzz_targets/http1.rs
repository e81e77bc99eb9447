//! A response is the same whatever pieces it comes in. What is accepted follows RFC 9112 to the letter, and a second reader, which knows
//! nothing but the grammar, finds the same body in it.
#![no_main]

use inference_service::fuzzing::http1::{Outcome, response};
use libfuzzer_sys::fuzz_target;
use tollgate_fuzz::in_pieces;

fuzz_target!(|data: &[u8]| {
    let (bytes, pieces) = in_pieces(data);
    let whole = response(&[bytes]);
    assert_eq!(response(&pieces), whole, "in pieces");
    if bytes.len() < 1000 {
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(response(&single), whole, "byte by byte");
    }
    if let Outcome::Whole { status, body, behind } = whole {
        let (expected_status, expected_body, rest) = by_grammar(bytes);
        assert_eq!((status, behind), (expected_status, rest.len()));
        assert_eq!(body, expected_body);
    }
});

/// The status and the body of a response, and what lies behind it. Panics where it is none.
fn by_grammar(mut bytes: &[u8]) -> (u16, Vec<u8>, &[u8]) {
    loop {
        let (head, rest) = split(bytes, b"\r\n\r\n");
        let head = std::str::from_utf8(&head.iter().map(|byte| if byte.is_ascii() { *byte } else { b'?' }).collect::<Vec<u8>>())
            .expect("ASCII")
            .to_owned();
        assert!(!head.replace("\r\n", "").contains(|character: char| character.is_control() && character != '\t'), "{head:?}");
        let mut lines = head.split("\r\n");
        let status_line = lines.next().expect("a first line");
        let (version, code) = status_line.split_once(' ').expect("a version and a status");
        assert!(matches!(version, "HTTP/1.0" | "HTTP/1.1"), "{version:?}");
        let code = code.split(' ').next().expect("a status");
        assert!(code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code:?}");
        let status: u16 = code.parse().expect("a status");
        let (mut lengths, mut codings) = (Vec::new(), Vec::new());
        for line in lines {
            let (name, value) = line.split_once(':').expect("a name and a value");
            assert!(is_token(name), "{name:?}");
            let elements = value.split(',').map(|element| element.trim_matches([' ', '\t']).to_ascii_lowercase());
            match name.to_ascii_lowercase().as_str() {
                "content-length" => lengths.extend(elements),
                "transfer-encoding" => codings.extend(elements),
                _ => {}
            }
        }
        assert!(lengths.is_empty() || codings.is_empty(), "two ways to say where it ends");
        assert!(codings.is_empty() || version == "HTTP/1.1");
        let length = lengths.first().map(|length| {
            assert!(lengths.iter().all(|other| !other.is_empty() && other.bytes().all(|byte| byte.is_ascii_digit())), "{lengths:?}");
            length.parse::<usize>().unwrap_or(usize::MAX)
        });
        assert!(lengths.iter().all(|other| other.parse::<usize>().unwrap_or(usize::MAX) == length.expect("a first")), "{lengths:?}");
        match status {
            101 => panic!("another protocol"),
            100..200 => bytes = rest,
            204 | 304 => return (status, Vec::new(), rest),
            _ if codings.is_empty() => {
                let length = length.unwrap_or(rest.len());
                return (status, rest[..length].to_vec(), &rest[length..]);
            }
            _ => {
                assert_eq!(codings, ["chunked"]);
                let (body, rest) = chunks(rest);
                return (status, body, rest);
            }
        }
    }
}

fn chunks(mut rest: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut body = Vec::new();
    loop {
        let (line, behind) = split(rest, b"\r\n");
        assert!(line.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control()), "{line:?}");
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let blanks = line[digits..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let extension = &line[digits + blanks..];
        assert!(digits > 0 && (extension.starts_with(b";") || (extension.is_empty() && blanks == 0)), "{line:?}");
        let digits = std::str::from_utf8(&line[..digits]).expect("digits");
        let size = usize::from_str_radix(digits, 16).expect("a size");
        if size == 0 {
            rest = behind;
            break;
        }
        body.extend_from_slice(&behind[..size]);
        rest = behind[size..].strip_prefix(b"\r\n").expect("a chunk ends where its size says");
    }
    loop {
        let (line, behind) = split(rest, b"\r\n");
        rest = behind;
        if line.is_empty() {
            return (body, rest);
        }
        let colon = line.iter().position(|byte| *byte == b':').expect("a trailer has a name");
        assert!(std::str::from_utf8(&line[..colon]).is_ok_and(is_token), "{line:?}");
        assert!(line.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control()), "{line:?}");
    }
}

fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn split<'a>(bytes: &'a [u8], end: &[u8]) -> (&'a [u8], &'a [u8]) {
    let at = bytes.windows(end.len()).position(|window| window == end).expect("it ends");
    (&bytes[..at], &bytes[at + end.len()..])
}
