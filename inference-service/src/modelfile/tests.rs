use super::*;

fn parsed(text: &str) -> Modelfile {
    Modelfile::parse(text).unwrap()
}

fn refused(text: &str) -> (u32, String) {
    let error = Modelfile::parse(text).unwrap_err();
    (error.line, error.sentence)
}

#[test]
fn every_instruction_is_accepted_in_any_case_and_keeps_its_line() {
    let text = "# a comment\n\nfrom smollm2\nPARAMETER temperature 0.7\nTemplate {{ .Prompt }}\nSYSTEM You are mario.\nLICENSE MIT\n\
                license Apache-2.0\nADAPTER ./lora\nMESSAGE user hi\nmessage assistant It's-a me!\nRENDERER r\nPARSER p\n\
                REQUIRES v0.14.0\nDRAFT ./d\n";
    let file = parsed(text);
    assert_eq!(file.from, Located { value: "smollm2".to_owned(), line: 3 });
    assert_eq!(file.parameters, [Parameter { name: "temperature", value: ParameterValue::Float(0.7), line: 4 }]);
    assert_eq!(file.template, Some(Located { value: "{{ .Prompt }}".to_owned(), line: 5 }));
    assert_eq!(file.system, Some(Located { value: "You are mario.".to_owned(), line: 6 }));
    assert_eq!(file.licenses.iter().map(|l| (l.value.as_str(), l.line)).collect::<Vec<_>>(), [("MIT", 7), ("Apache-2.0", 8)]);
    assert_eq!(file.adapters, [Located { value: "./lora".to_owned(), line: 9 }]);
    let messages: Vec<_> = file.messages.iter().map(|m| (m.value.role, m.value.content.as_str(), m.line)).collect();
    assert_eq!(messages, [(ChatRole::User, "hi", 10), (ChatRole::Assistant, "It's-a me!", 11)]);
    assert_eq!(file.renderer.unwrap().value, "r");
    assert_eq!(file.parser.unwrap().value, "p");
    assert_eq!(file.requires, Some(Located { value: "0.14.0".to_owned(), line: 14 }));
    assert_eq!(file.draft.unwrap().line, 15);
}

#[test]
fn quotes_span_lines_and_keep_what_is_inside() {
    let file = parsed(
        "FROM a\nSYSTEM \"\"\"\nYou are \"mario\".\n\n  # not a comment\n\"\"\"\nMESSAGE user \"one\ntwo\"\nPARAMETER stop \" x \"\n",
    );
    assert_eq!(file.system, Some(Located { value: "\nYou are \"mario\".\n\n  # not a comment\n".to_owned(), line: 2 }));
    assert_eq!((file.messages[0].value.content.as_str(), file.messages[0].line), ("one\ntwo", 7));
    assert_eq!(file.parameters[0], Parameter { name: "stop", value: ParameterValue::Text(" x ".to_owned()), line: 9 });
    assert_eq!(parsed("FROM a\nSYSTEM \"\"").system.unwrap().value, "");
    assert_eq!(parsed("FROM a\nSYSTEM \"\"\"\"\"\"").system.unwrap().value, "");
    assert_eq!(parsed("FROM a\nSYSTEM \"He said \"no\"\"\n").system.unwrap().value, "He said \"no\"");
    assert_eq!(parsed("FROM a\nSYSTEM 'single'").system.unwrap().value, "'single'");
    assert_eq!(parsed("FROM a\nSYSTEM \"\"\"x\"\"\"   \nLICENSE y").licenses[0].line, 3);
}

#[test]
fn crlf_and_a_byte_order_mark_are_fine_and_count_as_they_look() {
    let file = parsed("\u{feff}FROM a\r\n\r\nSYSTEM b\r\nPARAMETER seed 7\r\n");
    assert_eq!((file.from.value.as_str(), file.system.as_ref().unwrap().value.as_str()), ("a", "b"));
    assert_eq!(file.parameters[0].line, 4);
    assert_eq!(refused("FROM a\r\n\r\nNOPE b").0, 3);
    assert_eq!(parsed("FROM a\r\nSYSTEM \"\"\"x\r\ny\"\"\"").system.unwrap().value, "x\ny");
}

#[test]
fn the_last_one_wins_and_stops_add_up() {
    let file = parsed("FROM a\nFROM b\nSYSTEM x\nSYSTEM y\nPARAMETER seed 1\nPARAMETER stop p\nPARAMETER stop q\nPARAMETER seed 2\n");
    assert_eq!(file.from, Located { value: "b".to_owned(), line: 2 });
    assert_eq!(file.system.unwrap().value, "y");
    let parameters: Vec<_> = file.parameters.iter().map(|p| (p.name, p.line)).collect();
    assert_eq!(parameters, [("stop", 6), ("stop", 7), ("seed", 8)]);
}

#[test]
fn a_hash_after_a_value_belongs_to_the_value() {
    assert_eq!(parsed("FROM a # b").from.value, "a # b");
}

#[test]
fn each_mistake_is_answered_with_its_line() {
    let cases = [
        ("", 1, "FROM is missing"),
        ("# only\n# comments\n", 1, "FROM is missing"),
        ("SYSTEM x", 1, "FROM is missing"),
        ("FROM a\n\nFROMM b", 3, "\"FROMM\" is not an instruction"),
        ("FROM a\nRUN x", 2, "\"RUN\" is not an instruction"),
        ("FROM a\nSYSTEM: x", 2, "\"SYSTEM:\" is not an instruction"),
        ("FROM a\n<html>", 2, "is not an instruction"),
        ("FROM", 1, "FROM's model is missing"),
        ("FROM a\nFROM \"\"", 2, "FROM's model is missing"),
        ("FROM a\nPARAMETER", 2, "PARAMETER's name is missing"),
        ("FROM a\nPARAMETER temperture 1", 2, "\"temperture\" is not a parameter; there are num_keep, seed"),
        ("FROM a\nPARAMETER temperature", 2, "temperature must be a number"),
        ("FROM a\nPARAMETER temperature hot", 2, "temperature must be a number"),
        ("FROM a\nPARAMETER temperature NaN", 2, "temperature must be a number"),
        ("FROM a\nPARAMETER temperature 1e99", 2, "temperature must be a number"),
        ("FROM a\nPARAMETER top_k 1.5", 2, "top_k must be a whole number"),
        ("FROM a\nPARAMETER num_ctx 99999999999999999999", 2, "num_ctx must be a whole number"),
        ("FROM a\nPARAMETER use_mmap yes", 2, "use_mmap must be true or false"),
        ("FROM a\nPARAMETER stop \"\"", 2, "stop must be a text"),
        ("FROM a\nPARAMETER Temperature 1", 2, "is not a parameter"),
        ("FROM a\nPARAMETER top-k 1", 2, "\"top\" must be followed by a blank"),
        ("FROM a\nMESSAGE tool x", 2, "MESSAGE's role must be system, user or assistant, not \"tool\""),
        ("FROM a\nMESSAGE User x", 2, "MESSAGE's role"),
        ("FROM a\nMESSAGE", 2, "MESSAGE's role"),
        ("FROM a\nSYSTEM \"\"\"x\nPARAMETER nope 1\n", 2, "\"\"\" are never closed"),
        ("FROM a\nSYSTEM \"x", 2, "are never closed"),
        ("FROM a\nSYSTEM \"\"\"x\"\"\" y", 2, "are never closed"),
        ("FROM a\nREQUIRES soon", 2, "REQUIRES must be a version"),
        ("FROM a\nREQUIRES 01.2.3", 2, "REQUIRES must be a version"),
    ];
    for (text, line, sentence) in cases {
        let (refused_line, refused_sentence) = refused(text);
        assert!(refused_line == line && refused_sentence.contains(sentence), "{text:?} → line {refused_line}: {refused_sentence}");
    }
}

#[test]
fn a_mistake_never_repeats_a_value_or_more_than_a_little_of_a_word() {
    assert!(!refused("FROM a\nPARAMETER seed secret").1.contains("secret"));
    assert!(refused(&"X".repeat(100_000)).1.len() < 300);
}

#[test]
fn names_without_effect_are_accepted_and_marked() {
    let file = parsed("FROM a\nPARAMETER mirostat 1\nPARAMETER seed 1");
    assert_eq!(file.parameters.iter().map(Parameter::is_ignored).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn control_characters_are_dropped_and_joined_emoji_kept() {
    let file = parsed("FROM a\0b\nSYSTEM \u{1b}[31mred 👩\u{200d}🚀\ttab");
    assert_eq!(file.from.value, "ab");
    assert_eq!(file.system.unwrap().value, "[31mred 👩\u{200d}🚀\ttab");
    assert_eq!(refused("\0FROM a").0, 1);
    assert_eq!(refused("F\0R\0O\0M\0 \0a\0").0, 1);
}

#[test]
fn a_megabyte_takes_no_longer_than_its_length_asks() {
    let long = format!("FROM a\nSYSTEM \"\"\"{}", "x\n".repeat(500_000));
    let started = std::time::Instant::now();
    assert_eq!(refused(&long).0, 2);
    assert_eq!(parsed(&format!("{long}\"\"\"")).system.unwrap().value.len(), 1_000_000);
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "quadratic");
}

#[test]
fn debug_shows_no_system_prompt() {
    assert!(!format!("{:?}", parsed("FROM a\nSYSTEM canary")).contains("canary"));
}

/// The pieces of a grammar in random order find more than random bytes do. The seed is fixed: a failure repeats.
#[test]
fn any_text_is_parsed_or_refused_with_a_line_that_it_has() {
    const PIECES: &[&str] = &[
        "FROM",
        "from a",
        "PARAMETER",
        "SYSTEM",
        "MESSAGE",
        "user",
        "tool",
        "stop",
        "seed",
        "temperature",
        "1",
        "0.5",
        "\"",
        "\"\"\"",
        "'",
        " ",
        "  ",
        "\t",
        "\n",
        "\r",
        "\r\n",
        "#",
        "x",
        "é",
        "👩\u{200d}🚀",
        "\0",
        "\u{feff}",
        "\u{2028}",
        "LICENSE",
        "REQUIRES",
        "v1.2.3",
        "-",
        "{{ .Prompt }}",
        "\u{a0}",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    };
    let mut parsed = 0;
    for _ in 0..20_000 {
        let count = next() % 24;
        let mut text = if next() % 2 == 0 { "FROM a\n".to_owned() } else { String::new() };
        for _ in 0..count {
            text.push_str(PIECES[next() % PIECES.len()]);
        }
        match Modelfile::parse(&text) {
            Ok(file) => {
                parsed += 1;
                assert!(!file.from.value.is_empty(), "{text:?}");
            }
            Err(error) => {
                let lines = text.split(['\n', '\r']).count();
                assert!(error.line >= 1 && usize::try_from(error.line).unwrap() <= lines, "{text:?} → {error}");
                assert!(!error.sentence.is_empty() && !error.sentence.contains('\n'), "{text:?} → {error}");
            }
        }
    }
    assert!(parsed > 500, "{parsed}: the pieces no longer make Modelfiles");
}
