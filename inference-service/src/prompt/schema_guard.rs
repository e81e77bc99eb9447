//! What a JSON schema may be before it goes to a model server, which makes a grammar of it.
//!
//! That conversion takes a frame of the stack for each level, the cube of an object's optional properties, and what is in a repetition as
//! often as it may repeat. A text of a few bytes can keep it busy for ever or end its process. So all that costs there is bounded here, and
//! what a `$ref` leads to counts each time it is led to. The bounds are far from what a schema for people's data needs.

use super::json_text::{self, JsonLimits};

mod keywords;
mod pattern;
mod reference;
mod walk;

use pattern::PatternLimits;
pub(super) use pattern::SchemaUse;
use walk::Walk;

/// The bounds on a schema.
#[derive(Debug, Clone, Copy)]
struct SchemaLimits {
    json: JsonLimits,
    pattern: PatternLimits,
    /// Properties of all objects together, definitions among them.
    properties: u64,
    /// Properties of one object, with those that `allOf` adds.
    object_properties: u64,
    /// Bytes of a property's or a definition's name.
    name_bytes: usize,
    /// Schemas in one `anyOf`, `oneOf`, `allOf`, `prefixItems` or list of `items`.
    alternatives: usize,
    /// Values of one `enum`.
    enum_values: usize,
    /// Bytes of one value of an `enum`, or of a `const`, as JSON.
    value_bytes: usize,
    /// What `minItems` and the like may count to. Ollama's own is the same, and it says less.
    count: u64,
    /// The same for a tool's parameters, of which no grammar is made.
    tool_count: u64,
    /// Bytes of a `format`.
    format_bytes: usize,
    /// Bytes of a `$ref`.
    reference_bytes: usize,
    /// Different `$ref`s: each is a copy of the whole schema to the converter.
    references: usize,
    /// Schemas within each other, `$ref`s followed.
    nested: u64,
    /// Schemas, each as often as `$ref`s and lists of types lead to it.
    followed: u64,
    /// Parts of the grammar, each as often.
    parts: u64,
}

const LIMITS: SchemaLimits = SchemaLimits {
    json: JsonLimits { bytes: 64 * 1024, depth: 64, values: 20_000 },
    pattern: PatternLimits { bytes: 1024, groups: 8, nested_repetitions: 4, count: 2000, written_out: 2000, ways: 128 },
    properties: 1000,
    object_properties: 256,
    name_bytes: 256,
    alternatives: 100,
    enum_values: 500,
    value_bytes: 1024,
    count: 2000,
    tool_count: 1 << 32,
    format_bytes: 64,
    reference_bytes: 512,
    references: 256,
    nested: 64,
    followed: 10_000,
    parts: 100_000,
};

/// Where in a schema something is wrong, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SchemaViolation {
    /// Such as `properties.a.pattern`; empty: the whole.
    pub(super) path: String,
    /// Such as `must be at most 1024 bytes; it has 20000`.
    pub(super) rule: String,
}

/// Checks a schema that is text.
pub(super) fn check(text: &str, schema_use: SchemaUse) -> Result<(), SchemaViolation> {
    let whole = |rule: String| SchemaViolation { path: String::new(), rule };
    let root = json_text::object(text, &LIMITS.json).map_err(whole)?;
    let references = reference::different(&root);
    if references > LIMITS.references {
        return Err(whole(format!("must have at most {} different $ref; it has {references}", LIMITS.references)));
    }
    Walk::check(&root, schema_use)
}

#[cfg(test)]
mod tests;
