//! A JSON text is counted as a parser counts it, and what is no JSON ends no count wrongly: what passes has no more than it may have.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::doors::json_scan::{ScanError, scan_within};

fuzz_target!(|data: &[u8]| {
    let Some((&[values, depth], text)) = data.split_first_chunk() else { return };
    let (most_values, most_depth) = (usize::from(values % 64) + 1, usize::from(depth % 16));
    let scanned = scan_within(text, most_values, most_depth);
    let Ok(value) = serde_json::from_slice::<Unmerged>(text) else { return };
    let expected = (value.values > most_values, value.depth > most_depth);
    match scanned {
        Ok(()) => assert_eq!(expected, (false, false)),
        Err(ScanError::TooManyValues) => assert!(expected.0),
        Err(ScanError::TooDeep) => assert!(expected.1),
    }
});

/// The values of a text and their depth; keys that come twice count twice, as they are parsed.
struct Unmerged {
    values: usize,
    depth: usize,
}

impl<'de> serde::Deserialize<'de> for Unmerged {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Counter)
    }
}

struct Counter;

const SCALAR: Unmerged = Unmerged { values: 1, depth: 0 };

impl<'de> serde::de::Visitor<'de> for Counter {
    type Value = Unmerged;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unmerged, E> {
        Ok(SCALAR)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unmerged, E> {
        Ok(SCALAR)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unmerged, E> {
        Ok(SCALAR)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unmerged, E> {
        Ok(SCALAR)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unmerged, E> {
        Ok(SCALAR)
    }

    fn visit_unit<E>(self) -> Result<Unmerged, E> {
        Ok(SCALAR)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Unmerged, A::Error> {
        let mut all = Unmerged { values: 1, depth: 0 };
        while let Some(item) = items.next_element::<Unmerged>()? {
            all = Unmerged { values: all.values + item.values, depth: all.depth.max(item.depth) };
        }
        Ok(Unmerged { depth: all.depth + 1, ..all })
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut fields: A) -> Result<Unmerged, A::Error> {
        let mut all = Unmerged { values: 1, depth: 0 };
        while let Some((_, field)) = fields.next_entry::<String, Unmerged>()? {
            all = Unmerged { values: all.values + field.values, depth: all.depth.max(field.depth) };
        }
        Ok(Unmerged { depth: all.depth + 1, ..all })
    }
}
