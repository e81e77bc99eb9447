//! The schemas of a door's types, each under a name of its own among those of all doors.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::doors::{Door, SchemaOf};

const PREFIX: &str = "#/components/schemas/";

/// The types of one door. One that is both taken and given may have two forms, since what may be left out is always given.
pub(super) struct Schemas {
    tag: String,
    taken: SchemaGenerator,
    given: SchemaGenerator,
    /// Whether some type has two forms.
    differ: bool,
}

impl Schemas {
    /// `tag` begins the names of all of them.
    pub(super) fn of_door(door: &Door, tag: &str) -> Self {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        let given = settings.clone().for_serialize().into_generator();
        let mut all = Self { tag: tag.to_owned(), taken: settings.into_generator(), given, differ: false };
        // All of them first: only then it is known which have two forms.
        for route in &door.routes {
            route.taking.map(|schema| schema(&mut all.taken));
            route.giving.map(|schema| schema(&mut all.given));
        }
        all.differ =
            all.given.definitions().iter().any(|(name, schema)| all.taken.definitions().get(name).is_some_and(|other| other != schema));
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
    pub(super) fn finish(self, schemas: &mut Map<String, Value>) {
        for (name, schema) in self.taken.definitions() {
            schemas.insert(self.taken_name(name), renamed(schema.clone(), &|name| self.taken_name(name)));
        }
        for (name, schema) in self.given.definitions() {
            schemas.insert(self.given_name(name), renamed(schema.clone(), &|name| self.given_name(name)));
        }
    }

    fn taken_name(&self, name: &str) -> String {
        format!("{}.{name}", self.tag)
    }

    fn given_name(&self, name: &str) -> String {
        let is_other = self.differ && self.taken.definitions().contains_key(name);
        format!("{}.{name}{}", self.tag, if is_other { "Given" } else { "" })
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
