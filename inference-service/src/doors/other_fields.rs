//! The fields of a request that its door doesn't take: each is refused by name.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::prompt::Violations;

/// A field's path, such as `tools[].strict`, and why it is refused. The sentence goes on from the field's name.
pub(super) type RefusedField = (&'static str, &'static str);

/// Why a field is refused.
pub(super) fn why(refused: &[RefusedField], path: &str) -> &'static str {
    refused.iter().find(|(known, _)| *known == path).map_or("is not a field of this request", |(_, why)| why)
}

/// The names of an object's other fields: those that aren't fields of the struct which this is flattened into. A null counts as none.
#[derive(Default)]
pub(super) struct OtherFields(Vec<String>);

impl OtherFields {
    /// Names that are kept, at most.
    const MAX_NAMES: usize = 32;
    /// Characters of a name that are kept, at most.
    const MAX_NAME_CHARACTERS: usize = 64;

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a violation for each. `prefix` stands before the name of each, for example `tools[0].`; `pattern` before its path among those
    /// that are refused, for example `tools[].`.
    pub(super) fn refuse(&self, prefix: &str, pattern: &str, refused: &[RefusedField], wrong: &mut Violations) {
        for name in &self.0 {
            wrong.add(format!("{prefix}{name}"), why(refused, &format!("{pattern}{name}")));
        }
    }
}

impl<'de> Deserialize<'de> for OtherFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = OtherFields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<OtherFields, A::Error> {
        let mut others = OtherFields::default();
        while let Some(name) = entries.next_key::<String>()? {
            let is_set = entries.next_value::<Option<IgnoredAny>>()?.is_some();
            if is_set && others.0.len() < OtherFields::MAX_NAMES {
                others.0.push(name.chars().take(OtherFields::MAX_NAME_CHARACTERS).collect());
            }
        }
        Ok(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Taken {
        known: u8,
        #[serde(flatten)]
        others: OtherFields,
    }

    #[test]
    fn what_is_not_taken_is_refused_by_its_name_with_its_reason_and_a_null_is_none() {
        let taken: Taken = serde_json::from_str(r#"{"known":1,"box":{"a":[1]},"nothing":null,"odd":0}"#).unwrap();
        assert_eq!(taken.known, 1);
        let mut wrong = Violations::default();
        taken.others.refuse("things[3].", "things[].", &[("things[].box", "can't be opened")], &mut wrong);
        let error = wrong.refuse();
        assert_eq!(error.message(), "things[3].box can't be opened (wrong as well: things[3].odd)");
    }

    #[test]
    fn many_and_long_names_are_kept_within_bounds() {
        let names: Vec<String> = (0..100).map(|index| format!("\"{}{index}\":1", "x".repeat(1000))).collect();
        let others: OtherFields = serde_json::from_str(&format!("{{{}}}", names.join(","))).unwrap();
        assert_eq!(others.0.len(), 32);
        assert!(others.0.iter().all(|name| name.len() == 64));
    }
}
