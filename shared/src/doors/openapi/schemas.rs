//! The schemas of a door's types, each under a name of its own among those of all doors.

use std::collections::HashSet;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use schemars::transform::ReplaceBoolSchemas;
use serde_json::{Map, Value};

use crate::doors::{Door, SchemaOf};

const PREFIX: &str = "#/components/schemas/";

/// The types of one door. One that is both taken and given may have two forms, since what may be left out is always given.
pub(super) struct Schemas {
    tag: String,
    taken: SchemaGenerator,
    given: SchemaGenerator,
    /// Types that are taken and given, when some type has two forms: all of them, since one may be made of another.
    twice: HashSet<String>,
}

impl Schemas {
    /// `tag` begins the names of all of them.
    pub(super) fn of_door(door: &Door, tag: &str) -> Self {
        // Generators of clients don't know all that is a schema: `true` is written as `{}`.
        let mut replace = ReplaceBoolSchemas::default();
        replace.skip_additional_properties = true;
        let mut settings = SchemaSettings::draft2020_12().with_transform(replace);
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        let given = settings.clone().for_serialize().into_generator();
        let mut all = Self { tag: tag.to_owned(), taken: settings.into_generator(), given, twice: HashSet::new() };
        // All of them first: only then it is known which have two forms.
        for route in &door.routes {
            route.taking.map(|schema| schema(&mut all.taken));
            route.giving.map(|schema| schema(&mut all.given));
        }
        let (taken, given) = (all.taken.definitions(), all.given.definitions());
        if given.iter().any(|(name, schema)| taken.get(name).is_some_and(|other| other != schema)) {
            all.twice = given.keys().filter(|name| taken.contains_key(*name)).cloned().collect();
        }
        all
    }

    /// The schema of what a route takes.
    pub(super) fn taken(&mut self, schema: SchemaOf) -> Value {
        let schema = schema(&mut self.taken).to_value();
        renamed(schema, &|name| self.taken_name(name))
    }

    /// The schema of what a route gives.
    pub(super) fn given(&mut self, schema: SchemaOf) -> Value {
        let schema = schema(&mut self.given).to_value();
        renamed(schema, &|name| self.given_name(name))
    }

    /// Whether a type that is taken has a property of this name.
    pub(super) fn takes_property(&mut self, schema: SchemaOf, property: &str) -> bool {
        let schema = schema(&mut self.taken).to_value();
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix(PREFIX));
        let schema = name.and_then(|name| self.taken.definitions().get(name)).unwrap_or(&schema);
        schema.get("properties").is_some_and(|properties| properties.get(property).is_some())
    }

    /// Adds all of them to a document's.
    pub(super) fn finish(mut self, schemas: &mut Map<String, Value>) {
        for (name, schema) in self.taken.take_definitions(true) {
            schemas.insert(self.taken_name(&name), renamed(schema, &|name| self.taken_name(name)));
        }
        for (name, schema) in self.given.take_definitions(true) {
            schemas.insert(self.given_name(&name), renamed(schema, &|name| self.given_name(name)));
        }
    }

    fn taken_name(&self, name: &str) -> String {
        format!("{}.{name}", self.tag)
    }

    fn given_name(&self, name: &str) -> String {
        format!("{}.{name}{}", self.tag, if self.twice.contains(name) { "Given" } else { "" })
    }
}

/// A schema whose references have other names.
fn renamed(schema: Value, name: &dyn Fn(&str) -> String) -> Value {
    match schema {
        Value::Object(object) => {
            let entry =
                |(key, value): (String, Value)| match value.as_str().filter(|_| key == "$ref").and_then(|to| to.strip_prefix(PREFIX)) {
                    Some(target) => {
                        let target = format!("{PREFIX}{}", name(target));
                        (key, target.into())
                    }
                    None => (key, renamed(value, name)),
                };
            Value::Object(object.into_iter().map(entry).collect())
        }
        Value::Array(elements) => Value::Array(elements.into_iter().map(|element| renamed(element, name)).collect()),
        other => other,
    }
}
