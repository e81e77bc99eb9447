//! What a JSON schema may be before it goes to a model server, which makes a grammar of it.
//!
//! That conversion takes a frame of the stack for each level, the cube of an object's optional properties, and what is in a repetition
//! as often
//! as it may repeat; a text of a few bytes can keep it busy for ever or end its process. So all that costs there is bounded here, with
//! what a
//! `$ref` leads to counted each time it is led to. The bounds are far from what a schema for people's data needs.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde_json::{Map, Value};

use super::json_text::{self, JsonLimits};

mod pattern;
mod reference;

use pattern::PatternLimits;
pub(super) use pattern::SpecialGroups;

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
    format_bytes: 64,
    reference_bytes: 512,
    references: 256,
    nested: 64,
    followed: 10_000,
    parts: 100_000,
};

/// From here on, a bound alone on one side makes Ollama 0.24 write a repetition whose least is above its most, which never ends.
const LONGEST_OPEN_BOUND: f64 = 1e15;
/// What the converter holds as a whole number of 64 bits, with room for one more or less.
const LARGEST_BOUND: f64 = 1e18;

/// Where in a schema something is wrong, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// Such as `properties.a.pattern`; empty: the whole.
    pub(super) path: String,
    /// Such as `must be at most 1024 bytes; it has 20000`.
    pub(super) rule: String,
}

/// Checks a schema that is text.
pub(super) fn check(text: &str, groups: SpecialGroups) -> Result<(), Refused> {
    let whole = |rule: String| Refused { path: String::new(), rule };
    let root = json_text::object(text, &LIMITS.json).map_err(whole)?;
    let references = reference::different(&root);
    if references > LIMITS.references {
        return Err(whole(format!("must have at most {} different $ref; it has {references}", LIMITS.references)));
    }
    let mut walk = Walk { root: &root, groups, schemas: Vec::new(), by_place: HashMap::new(), properties: 0 };
    walk.collect()?;
    walk.follow()
}

/// A step from a schema to one within it.
#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Keyword(&'a str),
    Name(&'a str, &'a str),
    Index(&'a str, usize),
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keyword(keyword) => f.write_str(keyword),
            Self::Name(keyword, name) => write!(f, "{keyword}.{}", shown(name)),
            Self::Index(keyword, index) => write!(f, "{keyword}[{index}]"),
        }
    }
}

/// A name as it can stand in an error: short, and without what would break a line.
fn shown(name: &str) -> String {
    const LONGEST: usize = 40;
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '$');
    if !name.is_empty() && name.len() <= LONGEST && name.chars().all(plain) {
        return name.to_owned();
    }
    let cut: String = name.chars().take(LONGEST).collect();
    let dots = if cut.len() < name.len() { "…" } else { "" };
    format!("{:?}", format!("{cut}{dots}"))
}

/// A schema that was found, and what it leads to.
struct Schema<'a> {
    above: Option<(usize, Step<'a>)>,
    /// Bytes of the names that lead to it: the converter names each rule by all of them.
    name_bytes: usize,
    reference: Option<&'a str>,
    /// Schemas that it is made of; those that it only defines are none of them.
    within: Vec<(usize, Way)>,
    properties: u64,
    parts: u64,
    /// How often the converter looks at what is within: once for each of several types.
    times: u64,
}

/// How a schema is part of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Its properties become the other's: `allOf` and `$ref`.
    Merged,
    /// The same, where the other is in an `allOf` itself: `anyOf` and `oneOf`.
    Alternative,
    /// It is of a value within.
    Nested,
    /// It is only defined.
    Defined,
}

struct Walk<'a> {
    root: &'a Value,
    groups: SpecialGroups,
    schemas: Vec<Schema<'a>>,
    by_place: HashMap<*const Value, usize>,
    properties: u64,
}

/// A schema that is still to be looked at.
struct Found<'a> {
    value: &'a Value,
    above: Option<(usize, Step<'a>, Way)>,
}

impl<'a> Walk<'a> {
    /// Finds every schema and checks what it says for itself. It keeps a list instead of calling itself.
    fn collect(&mut self) -> Result<(), Refused> {
        let mut found = vec![Found { value: self.root, above: None }];
        while let Some(next) = found.pop() {
            let number = self.schemas.len();
            let name_bytes = next.above.map_or(0, |(above, step, _)| {
                let own = match step {
                    Step::Name(_, name) => name.len() + 1,
                    Step::Keyword(_) | Step::Index(..) => 8,
                };
                self.schemas[above].name_bytes + own
            });
            self.schemas.push(Schema {
                above: next.above.map(|(above, step, _)| (above, step)),
                name_bytes,
                reference: None,
                within: Vec::new(),
                properties: 0,
                parts: 0,
                times: 1,
            });
            self.by_place.insert(std::ptr::from_ref(next.value), number);
            if let Some((above, _, way)) = next.above
                && way != Way::Defined
            {
                self.schemas[above].within.push((number, way));
            }
            match next.value {
                Value::Object(schema) => self.look_at(number, schema, &mut found)?,
                Value::Bool(_) | Value::Null => {}
                _ => return Err(self.refused(number, None, "must be a schema: an object, true or false")),
            }
        }
        Ok(())
    }

    fn look_at(&mut self, number: usize, schema: &'a Map<String, Value>, found: &mut Vec<Found<'a>>) -> Result<(), Refused> {
        let mut parts = 1 + as_u64(self.schemas[number].name_bytes / 8);
        for (keyword, value) in schema.iter().filter(|(_, value)| !value.is_null()) {
            let refused = |rule: String| self.refused(number, Some(keyword), rule);
            let nested = |step, value, way| Found { value, above: Some((number, step, way)) };
            match keyword.as_str() {
                "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" | "dependencies" => {
                    let Value::Object(named) = value else { return Err(refused("must be an object".to_owned())) };
                    let way = if matches!(keyword.as_str(), "$defs" | "definitions") { Way::Defined } else { Way::Nested };
                    for (name, value) in named {
                        if name.len() > LIMITS.name_bytes {
                            return Err(refused(format!("must have names of at most {} bytes", LIMITS.name_bytes)));
                        }
                        if keyword == "patternProperties" {
                            parts += pattern::check(name, self.groups, &LIMITS.pattern).map_err(refused)?;
                        }
                        // A list here names properties that another depends on.
                        if !(keyword == "dependencies" && value.is_array()) {
                            found.push(nested(Step::Name(keyword, name), value, way));
                        }
                    }
                    if keyword == "properties" && as_u64(named.len()) > LIMITS.object_properties {
                        let (most, has) = (LIMITS.object_properties, named.len());
                        return Err(refused(format!("must be at most {most} properties; it has {has}")));
                    }
                    self.properties += as_u64(named.len());
                    if self.properties > LIMITS.properties {
                        let most = LIMITS.properties;
                        return Err(self.refused(number, Some(keyword), format!("must be at most {most} properties in the whole schema")));
                    }
                    if keyword == "properties" {
                        self.schemas[number].properties = as_u64(named.len());
                    }
                    parts += as_u64(named.len());
                }
                "allOf" | "anyOf" | "oneOf" | "prefixItems" | "items" if value.is_array() => {
                    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
                    if list.len() > LIMITS.alternatives {
                        return Err(refused(format!("must be at most {} schemas; it has {}", LIMITS.alternatives, list.len())));
                    }
                    let way = match keyword.as_str() {
                        "allOf" => Way::Merged,
                        "anyOf" | "oneOf" => Way::Alternative,
                        _ => Way::Nested,
                    };
                    found.extend(list.iter().enumerate().map(|(index, value)| nested(Step::Index(keyword, index), value, way)));
                    parts += as_u64(list.len());
                }
                "allOf" | "anyOf" | "oneOf" | "prefixItems" => return Err(refused("must be a list of schemas".to_owned())),
                "additionalProperties"
                | "items"
                | "additionalItems"
                | "contains"
                | "not"
                | "if"
                | "then"
                | "else"
                | "propertyNames"
                | "unevaluatedItems"
                | "unevaluatedProperties"
                | "contentSchema" => {
                    found.push(nested(Step::Keyword(keyword), value, Way::Nested));
                }
                "$ref" => {
                    let reference = reference::local(value, LIMITS.reference_bytes).map_err(refused)?;
                    self.schemas[number].reference = Some(reference);
                }
                "$dynamicRef" | "$recursiveRef" => return Err(refused("must not be there; use $ref".to_owned())),
                "pattern" => {
                    let Value::String(text) = value else { return Err(refused("must be text".to_owned())) };
                    parts += pattern::check(text, self.groups, &LIMITS.pattern).map_err(refused)?;
                }
                "format" => match value {
                    Value::String(format) if format.len() <= LIMITS.format_bytes => {}
                    _ => return Err(refused(format!("must be text of at most {} bytes", LIMITS.format_bytes))),
                },
                "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" | "minContains" | "maxContains" => {
                    parts += whole_number(value).map_err(refused)?;
                }
                "enum" => {
                    let Value::Array(values) = value else { return Err(refused("must be a list of values".to_owned())) };
                    if values.len() > LIMITS.enum_values {
                        return Err(refused(format!("must be at most {} values; it has {}", LIMITS.enum_values, values.len())));
                    }
                    for value in values {
                        parts += literal_bytes(value).map_err(refused)?;
                    }
                }
                "const" => parts += literal_bytes(value).map_err(refused)?,
                "type" => self.schemas[number].times = types(value).map_err(refused)?,
                _ => {}
            }
        }
        for (least, most) in
            [("minItems", "maxItems"), ("minLength", "maxLength"), ("minProperties", "maxProperties"), ("minContains", "maxContains")]
        {
            let count = |keyword| schema.get(keyword).and_then(Value::as_u64);
            if count(least).zip(count(most)).is_some_and(|(least, most)| least > most) {
                return Err(self.refused(number, Some(least), format!("must be at most {most}")));
            }
        }
        integer_bounds(schema).map_err(|(keyword, rule)| self.refused(number, Some(keyword), rule))?;
        self.schemas[number].parts = parts;
        Ok(())
    }

    /// Follows every `$ref`, and counts what is there as often as it is led to.
    fn follow(&mut self) -> Result<(), Refused> {
        for number in 0..self.schemas.len() {
            if let Some(reference) = self.schemas[number].reference {
                let target = reference::target(self.root, reference).and_then(|place| {
                    let known = self.by_place.get(&std::ptr::from_ref(place));
                    known.copied().ok_or_else(|| "must name a schema, such as #/$defs/Name".to_owned())
                });
                let target = target.map_err(|rule| self.refused(number, Some("$ref"), rule))?;
                self.schemas[number].within.push((target, Way::Merged));
            }
        }
        let mut sizes: Vec<Option<Size>> = vec![None; self.schemas.len()];
        let mut open = HashSet::new();
        for start in 0..self.schemas.len() {
            // Each with how many of those within it were looked at.
            let mut path = vec![(start, 0)];
            while let Some((number, looked_at)) = path.pop() {
                if sizes[number].is_some() {
                    continue;
                }
                open.insert(number);
                if let Some(&(within, _)) = self.schemas[number].within.get(looked_at) {
                    path.push((number, looked_at + 1));
                    if open.contains(&within) {
                        return Err(self.refused(number, Some("$ref"), "must not lead back to itself"));
                    }
                    path.push((within, 0));
                    continue;
                }
                open.remove(&number);
                let size = self.size(number, &sizes);
                sizes[number] = Some(size);
                self.check_size(number, &size)?;
            }
        }
        Ok(())
    }

    fn size(&self, number: usize, sizes: &[Option<Size>]) -> Size {
        let schema = &self.schemas[number];
        let mut size = Size { nested: 0, followed: 0, parts: schema.parts, merged: schema.properties, alternatives: 0 };
        for &(within, way) in &schema.within {
            let Some(inner) = sizes[within] else { continue };
            size.nested = size.nested.max(inner.nested);
            size.followed = size.followed.saturating_add(inner.followed);
            size.parts = size.parts.saturating_add(inner.parts);
            let all = inner.merged.saturating_add(inner.alternatives);
            match way {
                Way::Merged => size.merged = size.merged.saturating_add(all),
                Way::Alternative => size.alternatives = size.alternatives.saturating_add(all),
                Way::Nested | Way::Defined => {}
            }
        }
        Size {
            nested: size.nested + 1,
            followed: size.followed.saturating_mul(schema.times).saturating_add(schema.times),
            parts: size.parts.saturating_mul(schema.times),
            ..size
        }
    }

    fn check_size(&self, number: usize, size: &Size) -> Result<(), Refused> {
        let bounds = [
            (size.nested, LIMITS.nested, "levels of schemas"),
            (size.followed, LIMITS.followed, "schemas"),
            (size.parts, LIMITS.parts, "parts of repetitions, patterns, values and names"),
            (size.merged, LIMITS.object_properties, "properties of one object"),
        ];
        match bounds.into_iter().find(|(has, most, _)| has > most) {
            None => Ok(()),
            Some((_, most, what)) => Err(self.refused(
                number,
                None,
                format!("must be at most {most} {what}, each counted as often as a $ref or type leads to it"),
            )),
        }
    }

    fn refused(&self, number: usize, keyword: Option<&str>, rule: impl Into<String>) -> Refused {
        const LONGEST: usize = 200;
        let mut steps: Vec<String> = keyword.map(str::to_owned).into_iter().collect();
        let mut schema = &self.schemas[number];
        while let Some((above, step)) = &schema.above {
            steps.push(step.to_string());
            schema = &self.schemas[*above];
        }
        steps.reverse();
        let path = steps.join(".");
        let path = match path.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", &path[..end]),
            None => path,
        };
        Refused { path, rule: rule.into() }
    }
}

/// What a schema comes to, with all that it leads to.
#[derive(Debug, Clone, Copy)]
struct Size {
    nested: u64,
    followed: u64,
    parts: u64,
    merged: u64,
    /// Properties that become another's where this one is in its `allOf`.
    alternatives: u64,
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn whole_number(value: &Value) -> Result<u64, String> {
    value.as_u64().filter(|count| *count <= LIMITS.count).ok_or_else(|| format!("must be a whole number from 0 to {}", LIMITS.count))
}

fn literal_bytes(value: &Value) -> Result<u64, String> {
    let bytes = value.to_string().len();
    if bytes > LIMITS.value_bytes {
        return Err(format!("must have values of at most {} bytes as JSON; one has {bytes}", LIMITS.value_bytes));
    }
    Ok(as_u64(bytes))
}

/// How often the converter looks at what is within a schema of these types.
fn types(value: &Value) -> Result<u64, String> {
    let refused = || Err("must be a type or a list of different types".to_owned());
    match value {
        Value::String(_) => Ok(1),
        Value::Array(types) if types.len() <= 7 => {
            let different: HashSet<&str> = types.iter().filter_map(Value::as_str).collect();
            let looked_into = different.iter().filter(|name| matches!(**name, "object" | "array" | "string")).count();
            if different.len() == types.len() { Ok(as_u64(looked_into.max(1))) } else { refused() }
        }
        _ => refused(),
    }
}

/// Refuses the bounds of an integer that the converter can't hold or makes an endless repetition of.
fn integer_bounds(schema: &Map<String, Value>) -> Result<(), (&'static str, String)> {
    let is_integer = match schema.get("type") {
        Some(Value::Array(types)) => types.iter().any(|name| name == "integer"),
        Some(name) => name == "integer",
        None => false,
    };
    if !is_integer {
        return Ok(());
    }
    let bound = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, schema.get(name)?.as_f64()?)));
    let (lower, upper) = (bound(["minimum", "exclusiveMinimum"]), bound(["maximum", "exclusiveMaximum"]));
    for name in ["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"] {
        if schema.get(name).and_then(Value::as_f64).is_some_and(|value| value.abs() > LARGEST_BOUND) {
            return Err((name, format!("must be from -{LARGEST_BOUND} to {LARGEST_BOUND} for an integer")));
        }
    }
    match (lower, upper) {
        (Some((name, value)), None) if value >= LONGEST_OPEN_BOUND => {
            Err((name, format!("must be below {LONGEST_OPEN_BOUND}, or have a maximum beside it")))
        }
        (None, Some((name, value))) if value <= -LONGEST_OPEN_BOUND => {
            Err((name, format!("must be above -{LONGEST_OPEN_BOUND}, or have a minimum beside it")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
