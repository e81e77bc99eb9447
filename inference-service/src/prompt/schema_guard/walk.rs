//! A walk over all schemas of a text. It keeps lists in place of calling itself.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde_json::{Map, Value};

use super::keywords::{as_u64, integer_bounds, literal_bytes, repetitions, types};
use super::{LIMITS, SchemaUse, SchemaViolation, pattern, reference};

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
            Self::Name(keyword, name) => write!(f, "{keyword}.{}", quoted(name)),
            Self::Index(keyword, index) => write!(f, "{keyword}[{index}]"),
        }
    }
}

/// A name as it can stand in an error: short, and without what would break a line.
fn quoted(name: &str) -> String {
    const MAX_BYTES: usize = 40;
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '$');
    if !name.is_empty() && name.len() <= MAX_BYTES && name.chars().all(plain) {
        return name.to_owned();
    }
    let cut: String = name.chars().take(MAX_BYTES).collect();
    let dots = if cut.len() < name.len() { "…" } else { "" };
    format!("{:?}", format!("{cut}{dots}"))
}

/// A schema, and what it leads to.
struct Schema<'a> {
    above: Option<(usize, Step<'a>)>,
    /// Bytes of the names that lead to it: the converter names each rule by all of them.
    name_bytes: usize,
    reference: Option<&'a str>,
    /// Schemas that it is made of; those that it only defines are none of them.
    within: Vec<(usize, Relation)>,
    properties: u64,
    parts: u64,
    /// How often the converter looks at what is within: once for each of several types.
    times: u64,
}

/// How a schema is part of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    /// Its properties become the other's: `allOf` and `$ref`.
    Merged,
    /// The same, where the other is in an `allOf` itself: `anyOf` and `oneOf`.
    Alternative,
    /// It is of a value within.
    Nested,
    /// It is only defined.
    Defined,
}

pub(super) struct Walk<'a> {
    root: &'a Value,
    schema_use: SchemaUse,
    schemas: Vec<Schema<'a>>,
    by_place: HashMap<*const Value, usize>,
    properties: u64,
}

/// A schema that is still to be checked.
struct Pending<'a> {
    value: &'a Value,
    above: Option<(usize, Step<'a>, Relation)>,
}

impl<'a> Walk<'a> {
    /// Checks all schemas of a text.
    pub(super) fn check(root: &'a Value, schema_use: SchemaUse) -> Result<(), SchemaViolation> {
        let mut walk = Self { root, schema_use, schemas: Vec::new(), by_place: HashMap::new(), properties: 0 };
        walk.collect()?;
        walk.resolve_references()
    }

    /// Finds every schema and checks its own keywords. It keeps a list instead of calling itself.
    fn collect(&mut self) -> Result<(), SchemaViolation> {
        let mut pending = vec![Pending { value: self.root, above: None }];
        while let Some(next) = pending.pop() {
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
            if let Some((above, _, relation)) = next.above
                && relation != Relation::Defined
            {
                self.schemas[above].within.push((number, relation));
            }
            match next.value {
                Value::Object(schema) => self.check_keywords(number, schema, &mut pending)?,
                Value::Bool(_) | Value::Null => {}
                _ => return Err(self.violation(number, None, "must be a schema: an object, true or false")),
            }
        }
        Ok(())
    }

    fn check_keywords(
        &mut self,
        number: usize,
        schema: &'a Map<String, Value>,
        pending: &mut Vec<Pending<'a>>,
    ) -> Result<(), SchemaViolation> {
        let mut parts = 1 + as_u64(self.schemas[number].name_bytes / 8);
        for (keyword, value) in schema.iter().filter(|(_, value)| !value.is_null()) {
            let refused = |rule: String| self.violation(number, Some(keyword), rule);
            let nested = |step, value, relation| Pending { value, above: Some((number, step, relation)) };
            match keyword.as_str() {
                "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" | "dependencies" => {
                    let Value::Object(named) = value else { return Err(refused("must be an object".to_owned())) };
                    let relation = if matches!(keyword.as_str(), "$defs" | "definitions") { Relation::Defined } else { Relation::Nested };
                    for (name, value) in named {
                        if name.len() > LIMITS.name_bytes {
                            return Err(refused(format!("must have names of at most {} bytes", LIMITS.name_bytes)));
                        }
                        if keyword == "patternProperties" {
                            parts += pattern::check(name, self.schema_use, &LIMITS.pattern).map_err(refused)?;
                        }
                        // A list here names properties that another depends on.
                        if !(keyword == "dependencies" && value.is_array()) {
                            pending.push(nested(Step::Name(keyword, name), value, relation));
                        }
                    }
                    if keyword == "properties" && as_u64(named.len()) > LIMITS.object_properties {
                        let (most, has) = (LIMITS.object_properties, named.len());
                        return Err(refused(format!("must be at most {most} properties; it has {has}")));
                    }
                    self.properties += as_u64(named.len());
                    if self.properties > LIMITS.properties {
                        let most = LIMITS.properties;
                        return Err(self.violation(
                            number,
                            Some(keyword),
                            format!("must be at most {most} properties in the whole schema"),
                        ));
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
                    let relation = match keyword.as_str() {
                        "allOf" => Relation::Merged,
                        "anyOf" | "oneOf" => Relation::Alternative,
                        _ => Relation::Nested,
                    };
                    pending.extend(list.iter().enumerate().map(|(index, value)| nested(Step::Index(keyword, index), value, relation)));
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
                    pending.push(nested(Step::Keyword(keyword), value, Relation::Nested));
                }
                "$ref" => {
                    let reference = reference::local(value, LIMITS.reference_bytes).map_err(refused)?;
                    self.schemas[number].reference = Some(reference);
                }
                "$dynamicRef" | "$recursiveRef" => return Err(refused("must not be there; use $ref".to_owned())),
                "pattern" => {
                    let Value::String(text) = value else { return Err(refused("must be text".to_owned())) };
                    parts += pattern::check(text, self.schema_use, &LIMITS.pattern).map_err(refused)?;
                }
                "format" => match value {
                    Value::String(format) if format.len() <= LIMITS.format_bytes => {}
                    _ => return Err(refused(format!("must be text of at most {} bytes", LIMITS.format_bytes))),
                },
                "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" | "minContains" | "maxContains" => {
                    parts += repetitions(value, self.schema_use).map_err(refused)?;
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
                return Err(self.violation(number, Some(least), format!("must be at most {most}")));
            }
        }
        integer_bounds(schema).map_err(|(keyword, rule)| self.violation(number, Some(keyword), rule))?;
        self.schemas[number].parts = parts;
        Ok(())
    }

    /// Follows every `$ref`, and counts what is there as often as it is led to.
    fn resolve_references(&mut self) -> Result<(), SchemaViolation> {
        for number in 0..self.schemas.len() {
            if let Some(reference) = self.schemas[number].reference {
                let target = reference::target(self.root, reference).and_then(|place| {
                    let known = self.by_place.get(&std::ptr::from_ref(place));
                    known.copied().ok_or_else(|| "must name a schema, such as #/$defs/Name".to_owned())
                });
                let target = target.map_err(|rule| self.violation(number, Some("$ref"), rule))?;
                self.schemas[number].within.push((target, Relation::Merged));
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
                        return Err(self.violation(number, Some("$ref"), "must not lead back to itself"));
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
        for &(within, relation) in &schema.within {
            let Some(inner) = sizes[within] else { continue };
            size.nested = size.nested.max(inner.nested);
            size.followed = size.followed.saturating_add(inner.followed);
            size.parts = size.parts.saturating_add(inner.parts);
            let all = inner.merged.saturating_add(inner.alternatives);
            match relation {
                Relation::Merged => size.merged = size.merged.saturating_add(all),
                Relation::Alternative => size.alternatives = size.alternatives.saturating_add(all),
                Relation::Nested | Relation::Defined => {}
            }
        }
        Size {
            nested: size.nested + 1,
            followed: size.followed.saturating_mul(schema.times).saturating_add(schema.times),
            parts: size.parts.saturating_mul(schema.times),
            ..size
        }
    }

    fn check_size(&self, number: usize, size: &Size) -> Result<(), SchemaViolation> {
        let bounds = [
            (size.nested, LIMITS.nested, "levels of schemas"),
            (size.followed, LIMITS.followed, "schemas"),
            (size.parts, LIMITS.parts, "parts of repetitions, patterns, values and names"),
            (size.merged, LIMITS.object_properties, "properties of one object"),
        ];
        match bounds.into_iter().find(|(has, most, _)| has > most) {
            None => Ok(()),
            Some((_, most, what)) => Err(self.violation(
                number,
                None,
                format!("must be at most {most} {what}, each counted as often as a $ref or type leads to it"),
            )),
        }
    }

    fn violation(&self, number: usize, keyword: Option<&str>, rule: impl Into<String>) -> SchemaViolation {
        const MAX_CHARS: usize = 200;
        let mut steps: Vec<String> = keyword.map(str::to_owned).into_iter().collect();
        let mut schema = &self.schemas[number];
        while let Some((above, step)) = &schema.above {
            steps.push(step.to_string());
            schema = &self.schemas[*above];
        }
        steps.reverse();
        let path = steps.join(".");
        let path = match path.char_indices().nth(MAX_CHARS) {
            Some((end, _)) => format!("{}…", &path[..end]),
            None => path,
        };
        SchemaViolation { path, rule: rule.into() }
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
