//! A price table says what each model costs: the price of the first entry that its name matches, within what the store can count.
#![no_main]

use auth_service::model_pattern::ModelPattern;
use auth_service::price::{MAX_PRICE, MAX_TOKENS, Price, WorstCase};
use auth_service::price_table::PriceTable;
use libfuzzer_sys::fuzz_target;
use shared::model_name::{canonical, folded};

// The first line is a model's name, the rest is the table.
fuzz_target!(|text: &str| {
    let (name, text) = text.split_once('\n').unwrap_or(("llama3.2", text));
    let Ok(table) = PriceTable::parse(text) else { return };
    let entries: Vec<([String; 4], Price)> = text.split(',').map(|entry| read(entry.trim())).collect();
    let mut names: Vec<String> = text.split(',').filter_map(|entry| folded(entry.trim().rsplit_once('=')?.0).ok()).collect();
    names.extend(folded(name));
    for name in names {
        let full = parts(&name, "latest");
        let fits = |pattern: &[String; 4]| pattern.iter().zip(&full).all(|(pattern, part)| matches(pattern.as_bytes(), part.as_bytes()));
        let expected = entries.iter().find(|(pattern, _)| fits(pattern));
        let price = table.price_of(&name);
        assert_eq!(price, expected.map_or_else(Price::default, |(_, price)| *price), "{name}");
        assert!([price.per_call, price.per_1k_input_tokens, price.per_1k_output_tokens].iter().all(|part| (0..=MAX_PRICE).contains(part)));
        let most = price.of(MAX_TOKENS, MAX_TOKENS);
        assert!((0..1 << 53).contains(&most), "{most} is more than Lua counts exactly");
        let worst_case = WorstCase { input_tokens: 0, output_tokens: MAX_TOKENS, require_full: false };
        for available in [0, most / 3, most] {
            match price.held_of(&worst_case, available) {
                Ok(held) => assert!(held.credits <= available && held.credits == price.of(0, held.output_tokens)),
                Err(needed) => assert!(needed > available),
            }
        }
        // A canonical name is its own.
        assert_eq!(canonical(&name).as_deref(), Ok(name.as_str()));
        assert_eq!(folded(&name.to_ascii_uppercase()).as_deref(), Ok(name.as_str()));
    }
});

fn read(entry: &str) -> ([String; 4], Price) {
    let (pattern, prices) = entry.rsplit_once('=').expect("an entry has a price");
    let mut figures = prices.split('/').map(|figure| figure.parse().expect("a whole number"));
    let mut next = || figures.next().unwrap_or(0);
    let price = Price { per_call: next(), per_1k_input_tokens: next(), per_1k_output_tokens: next() };
    let pattern = ModelPattern::parse(pattern).expect("a pattern");
    let shown = pattern.to_string();
    assert_eq!(ModelPattern::read(&shown), pattern, "{shown}");
    assert_eq!(ModelPattern::parse(&shown).as_ref(), Ok(&pattern), "{shown}");
    // The short forms, and what a pattern leaves out.
    let full = match shown.strip_suffix("/*").filter(|registry| !registry.contains('/') && registry.contains(['.', ':'])) {
        _ if shown == "*" => ["*"; 4].map(str::to_owned),
        Some(registry) => [registry, "*", "*", "*"].map(str::to_owned),
        None => parts(&shown, if shown.ends_with('*') { "*" } else { "latest" }),
    };
    (full, price)
}

/// Registry, namespace, model and tag of a name or a pattern.
fn parts(text: &str, default_tag: &str) -> [String; 4] {
    let mut path: Vec<&str> = text.split('/').collect();
    let last = path.pop().expect("a model");
    let (model, tag) = last.split_once(':').unwrap_or((last, default_tag));
    let namespace = path.pop().unwrap_or("library");
    let registry = path.pop().unwrap_or("registry.ollama.ai");
    [registry, namespace, model, tag].map(str::to_owned)
}

/// Tries every run of characters, by a table of what is matched so far.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for &wanted in pattern {
        if wanted == b'*' {
            let first = reached.iter().position(|reached| *reached).unwrap_or(reached.len());
            reached[first..].fill(true);
        } else {
            for at in (1..reached.len()).rev() {
                reached[at] = reached[at - 1] && name[at - 1] == wanted;
            }
            reached[0] = false;
        }
    }
    reached[name.len()]
}
