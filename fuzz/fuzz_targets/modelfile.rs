//! A Modelfile is parsed, or refused with one of its own lines, whichever editor wrote its line ends.
#![no_main]

use inference_service::modelfile::{Located, Modelfile, ParameterValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lines = u32::try_from(text.replace("\r\n", "\n").split(['\n', '\r']).count()).expect("few lines");
    let has = |line: u32| assert!((1..=lines).contains(&line), "line {line} of {lines}");
    let parsed = Modelfile::parse(text);
    match &parsed {
        Err(refused) => {
            has(refused.line);
            assert!(!refused.sentence.is_empty() && refused.sentence.len() < 1000);
            assert!(!refused.sentence.contains(|character: char| character.is_control()), "{:?}", refused.sentence);
        }
        Ok(file) => {
            assert!(!file.from.value.is_empty());
            let files = [&file.from].into_iter().chain(&file.earlier_froms).chain(&file.from_in_comment).chain(&file.adapters);
            let texts = [&file.template, &file.system, &file.draft, &file.renderer, &file.parser, &file.requires].into_iter().flatten();
            for Located { value, line } in files.chain(texts).chain(&file.licenses) {
                has(*line);
                printable(value);
            }
            for message in &file.messages {
                has(message.line);
                printable(&message.value.content);
            }
            assert!(file.parameters.len() <= 512);
            for parameter in &file.parameters {
                has(parameter.line);
                match &parameter.value {
                    ParameterValue::Float(float) => assert!(float.is_finite()),
                    ParameterValue::Text(text) => assert!(!text.is_empty()),
                    ParameterValue::Int(_) | ParameterValue::Bool(_) => {}
                }
            }
        }
    }
    // A NUL behind a line end is half of a UTF-16 character.
    if !text.contains(['\r', '\0']) {
        assert_eq!(parsed, Modelfile::parse(&text.replace('\n', "\r\n")), "CRLF");
        assert_eq!(parsed, Modelfile::parse(&text.replace('\n', "\r")), "CR");
    }
    if !text.starts_with('\u{feff}') {
        assert_eq!(parsed, Modelfile::parse(&format!("\u{feff}{text}")), "a byte order mark");
    }
});

fn printable(text: &str) {
    assert!(text.chars().all(|character| matches!(character, '\t' | '\n') || !character.is_control()), "{text:?}");
}
