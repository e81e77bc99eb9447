use proptest::prelude::*;
use shared::model_name::folded;

use super::*;

fn allows(pattern: &str, name: &str) -> bool {
    let parsed = ModelPattern::parse(pattern).unwrap_or_else(|invalid| panic!("{pattern} {invalid}"));
    let name = folded(name).unwrap_or_else(|invalid| panic!("{name} {invalid}"));
    parsed.matches(&FullName::of(&name))
}

#[test]
fn a_pattern_matches_full_names_part_by_part_with_the_defaults_filled_in() {
    for (pattern, matched, others) in [
        // Without a slash: Ollama's own library.
        ("llama3", &["llama3", "LLAMA3:latest", "library/llama3:local"][..], &["llama3:8b", "x/llama3", "llama3x", "hf.co/x/llama3"][..]),
        ("llama3:8b", &["llama3:8b", "registry.ollama.ai/library/Llama3:8B"], &["llama3", "llama3:8b-q4", "x/llama3:8b"]),
        ("llama3*", &["llama3", "llama3:70b", "llama3.2:3b"], &["llama2", "llama3x/evil", "llama3/evil:latest", "hf.co/llama3/x"]),
        ("llama3*:latest", &["llama3", "llama3.2:local"], &["llama3:70b", "llama3:latest-q4"]),
        ("llama3*:local", &["llama3", "llama3.2"], &["llama3:70b", "llama3:70b-cloud"]),
        ("llama3*:8b:local", &["llama3.1:8b"], &["llama3.1", "llama3.1:8b-cloud"]),
        ("*:70b", &["llama3:70b", "qwen:70b:local"], &["llama3", "x/llama3:70b", "hf.co/x/llama3:70b", "llama3:70b-q4"]),
        ("gpt-oss*:cloud", &["gpt-oss:cloud"], &["gpt-oss", "gpt-oss:20b-cloud"]),
        ("gpt-oss*:20b:Cloud", &["gpt-oss:20b-cloud", "gpt-oss-safe:20b:cloud"], &["gpt-oss:20b"]),
        ("*:*-cloud", &["gpt-oss:20b:cloud"], &["gpt-oss:cloud", "x/y:z-cloud", "x-cloud"]),
        // With one: a namespace of Ollama's registry.
        ("library/*", &["llama3", "llama3:70b", "registry.ollama.ai/library/x"], &["hf.co/evil/big", "evil/big", "hf.co/library/x"]),
        ("someone/*", &["someone/x", "SOMEONE/x:1b"], &["x", "someone-else/x", "hf.co/someone/x"]),
        ("some*/x", &["some/x", "someone/x:latest"], &["someone/x:1b", "x", "someone/xy"]),
        ("*/x", &["x", "someone/x"], &["x:1b", "hf.co/someone/x"]),
        // All of a registry.
        ("hf.co/*", &["hf.co/a/b", "HF.co/a/b:q4_k_m"], &["b", "huggingface.co/a/b", "hf.co.evil.com/a/b", "xhf.co/a/b"]),
        ("localhost:5000/*", &["localhost:5000/a/b:c"], &["localhost/a/b", "localhost:5001/a/b", "a/b"]),
        ("registry.ollama.ai/*", &["b", "a/b:c"], &["hf.co/a/b"]),
        // With two: everything is said but the tag.
        ("Hf.co/A/B*", &["hf.co/a/b", "hf.co/a/b:q4", "HF.CO/A/Bx:LATEST"], &["hf.co/a/c", "hf.co/ab/b", "hf.co/a/ab"]),
        ("hf.co/a/b", &["hf.co/a/b", "hf.co/A/B:latest"], &["hf.co/a/b:q4", "a/b"]),
        ("hf.co/*/b:*", &["hf.co/a/b", "hf.co/x/b:q4"], &["hf.co/a/bb", "x/b"]),
        ("*/*/*:q4", &["hf.co/a/b:q4", "b:q4"], &["hf.co/a/b"]),
        ("registry.ollama.ai/library/*:latest", &["x"], &["x:1b", "y/x"]),
        // Everything.
        ("*", &["x", "x:1b", "a/b", "hf.co/a/b:c", "localhost:1/a/b:20b-cloud"], &[]),
        ("*/*/*", &["x", "x:1b", "a/b", "hf.co/a/b:c"], &[]),
    ] {
        for name in matched {
            assert!(allows(pattern, name), "{pattern} doesn't match {name}");
        }
        for name in others {
            assert!(!allows(pattern, name), "{pattern} matches {name}");
        }
    }
}

#[test]
fn what_could_be_meant_in_two_ways_is_refused_with_what_to_write() {
    for (wrong, say) in [
        ("*-cloud", "write *-cloud:*, or name:tag"),
        ("llama*b", "write llama*b:*, or name:tag"),
        ("hf.co/A/l*a", "write hf.co/a/l*a:*, or"),
        ("hf.co/b*", "write hf.co/*/b*, or hf.co/* for all"),
        ("hf.co/*:q4", "write hf.co/*/*:q4, or hf.co/* for all"),
        ("localhost:5000/x*", "write localhost:5000/*/x*"),
        ("x*:*:local", "leave it out"),
        ("x:*b:local", "leave it out"),
    ] {
        let said = ModelPattern::parse(wrong).map(|pattern| pattern.to_string()).unwrap_err().to_string();
        assert!(said.starts_with("must ") && said.contains(say), "{wrong}: {said}");
    }
    for wrong in [
        "",
        " ",
        "a b",
        "a *",
        "*\0",
        "*\u{7}",
        "é*",
        "\u{212a}*",
        "https://*",
        "http://hf.co/a/*",
        "/*",
        "*/",
        "*//x",
        "/",
        "a/b/c/*",
        "*/*/*/*",
        "x*:",
        "x*:a:b",
        "x*:a:b:c",
        ":*",
        "-*",
        ".*",
        "*.",
        "x*.",
        "*@sha256:00",
        "x*@sha256*",
        "foo:cloud:local",
        "foo*:cloud:local",
        "foo*:latest:cloud",
        "foo*:latest-cloud",
        "foo*:local:local",
        "foo*:*-cloud-cloud",
        "hf.co/a.b/*",
        "C:\\*",
        "*,*",
        "a*=1",
        "hf.co:/*",
        "hf.co./*",
        "x?",
        "[ab]*",
        "x%2f*",
        &format!("{}*", "x".repeat(80)),
        &format!("{0}*/{0}*:{0}*", "x".repeat(60)),
    ] {
        assert!(ModelPattern::parse(wrong).is_err(), "{wrong:?} is {:?}", ModelPattern::parse(wrong));
    }
}

#[test]
fn a_pattern_is_shown_short_and_read_again_as_what_it_is() {
    for (pattern, shown) in [
        ("registry.ollama.ai/library/TINY:local", "tiny"),
        ("a:latest", "a"),
        ("Library/LLAMA3*", "llama3*"),
        ("llama3*:*", "llama3*"),
        ("llama3*:latest", "llama3*:latest"),
        ("llama3*:local", "llama3*:latest"),
        ("library/*", "library/*"),
        ("registry.ollama.ai/library/*", "library/*"),
        ("library/*:latest", "*:latest"),
        ("registry.ollama.ai/*", "*/*"),
        ("hf.co/*/*", "hf.co/*"),
        ("Hf.co/A/B*", "hf.co/a/b*"),
        ("gpt-oss*:20b:cloud", "gpt-oss*:20b-cloud"),
        ("*/*/*:*", "*"),
        ("h/*/*", "h/*/*"),
        ("*.co/*", "*.co/*"),
    ] {
        let parsed = ModelPattern::parse(pattern).unwrap();
        assert_eq!(parsed.to_string(), shown, "{pattern}");
        assert_eq!(ModelPattern::read(shown), parsed, "{pattern}");
    }
}

#[test]
fn a_pattern_kept_before_allows_no_more_than_it_did() {
    let read = |pattern: &str, name: &str| ModelPattern::read_whole(pattern).matches(&FullName::of(name));
    for (pattern, name) in
        [("Llama3*", "llama3:70b"), ("llama3", "llama3"), ("hf.co/*", "hf.co/a/b:c"), ("*", "hf.co/a/b"), ("*:1b", "x:1b")]
    {
        assert!(read(pattern, name), "{pattern} {name}");
    }
    for (pattern, name) in [
        // It did, and by its parts it doesn't.
        ("*:1b", "hf.co/evil/x:1b"),
        ("llama3*", "llama3x/evil"),
        // It didn't, and by its parts it would.
        ("llama3:*", "llama3"),
        ("*/llama3", "llama3"),
        ("*/*/*", "llama3"),
        ("llama3*:latest", "llama3"),
    ] {
        assert!(!read(pattern, name), "{pattern} {name}");
    }
}

/// A name's parts, and two of its spellings.
fn spelled() -> impl Strategy<Value = (String, String)> {
    let part = "[a-bA-B_][a-bA-B0-9_-]{0,3}";
    let tag = prop_oneof![Just("latest".to_owned()), "[a-bA-B][a-bA-B0-9_.]{0,2}[0-9]"];
    let host = prop_oneof![Just("registry.ollama.ai".to_owned()), Just("hf.co".to_owned()), Just("localhost:5000".to_owned())];
    let namespace = prop_oneof![Just("library".to_owned()), part.prop_map(|part| part)];
    let spelling = (any::<bool>(), any::<bool>(), any::<bool>(), any::<u64>());
    (host, namespace, part, tag, spelling, spelling).prop_map(|(host, namespace, model, tag, one, another)| {
        let spell = |(without_defaults, without_tag, local, upper): (bool, bool, bool, u64)| {
            let path = match (host.as_str(), namespace.as_str()) {
                ("registry.ollama.ai", "library") if without_defaults => String::new(),
                ("registry.ollama.ai", namespace) if without_defaults => format!("{namespace}/"),
                (host, namespace) => format!("{host}/{namespace}/"),
            };
            let tag = if tag == "latest" && without_tag { String::new() } else { format!(":{tag}") };
            let local = if local { ":local" } else { "" };
            let letters = format!("{path}{model}{tag}{local}");
            let turn = |(at, letter): (usize, char)| if upper >> (at % 64) & 1 == 1 { letter.to_ascii_uppercase() } else { letter };
            letters.chars().enumerate().map(turn).collect::<String>()
        };
        (spell(one), spell(another))
    })
}

/// Tries every run of characters that a star may stand for.
fn tries(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => (0..=text.len()).any(|taken| tries(&pattern[1..], &text[taken..])),
        Some(one) => text.strip_prefix(one).is_some_and(|rest| tries(&pattern[1..], rest)),
    }
}

/// A pattern of four parts, written out.
fn full_pattern() -> impl Strategy<Value = [String; 4]> {
    let part = || prop_oneof![Just("*".to_owned()), "[ab*][ab0*-]{0,3}"];
    let host = prop_oneof![Just("registry.ollama.ai".to_owned()), Just("hf.co".to_owned()), Just("*".to_owned()), Just("*.*".to_owned())];
    let namespace = prop_oneof![Just("library".to_owned()), Just("l*".to_owned()), part()];
    (host, namespace, part(), prop_oneof![Just("latest".to_owned()), part()]).prop_map(|(a, b, c, d)| [a, b, c, d])
}

/// What may be a pattern, with every separator and place.
const ANY_TEXT: &str = "[a*]{0,2}(\\.c|:1)?/?[ab*]{0,3}/?[ab*]{0,3}(:[a*]{0,2})?(:local|:cloud|-cloud)?";

proptest! {
    #[test]
    fn two_spellings_of_one_model_match_the_same_patterns((one, another) in spelled(), pattern in full_pattern()) {
        let (one, another) = (folded(&one).unwrap(), folded(&another).unwrap());
        prop_assert_eq!(FullName::of(&one), FullName::of(&another));
        let pattern = ModelPattern::read(&format!("{}/{}/{}:{}", pattern[0], pattern[1], pattern[2], pattern[3]));
        prop_assert_eq!(pattern.matches(&FullName::of(&one)), pattern.matches(&FullName::of(&another)));
    }

    #[test]
    fn a_spelling_of_a_model_as_a_pattern_matches_that_model_alone((one, another) in spelled(), (other, _) in spelled()) {
        let (name, other) = (folded(&another).unwrap(), folded(&other).unwrap());
        let pattern = ModelPattern::parse(&one).unwrap();
        prop_assert!(pattern.matches(&FullName::of(&name)));
        prop_assert_eq!(pattern.matches(&FullName::of(&other)), name == other);
    }

    #[test]
    fn a_written_out_pattern_matches_as_its_parts_do_and_is_read_again_as_it_is_shown(parts in full_pattern(), (name, _) in spelled()) {
        let text = format!("{}/{}/{}:{}", parts[0], parts[1], parts[2], parts[3]);
        let name = folded(&name).unwrap();
        let full = FullName::of(&name);
        let expected = parts.iter().zip(full.parts).all(|(pattern, part)| tries(pattern, part));
        let read = ModelPattern::read(&text);
        prop_assert_eq!(read.matches(&full), expected);
        prop_assert_eq!(&ModelPattern::read(&read.to_string()), &read);
        if let Ok(parsed) = ModelPattern::parse(&text) {
            prop_assert_eq!(parsed, read);
        }
    }

    #[test]
    fn what_is_parsed_is_shown_as_what_is_parsed_again_to_the_same(text in ANY_TEXT) {
        if let Ok(parsed) = ModelPattern::parse(&text) {
            let shown = parsed.to_string();
            prop_assert_eq!(&ModelPattern::read(&shown), &parsed, "{}", &shown);
            prop_assert_eq!(ModelPattern::parse(&shown), Ok(parsed), "{}", shown);
        }
    }

    #[test]
    fn matching_agrees_with_trying_every_run_of_characters(pattern in "[ab*]{0,8}", name in "[ab]{0,8}") {
        prop_assert_eq!(matches(&pattern, &name), tries(&pattern, &name));
    }
}
