//! What the descriptors say of services and messages, with the comments of the protos.

use std::collections::{BTreeMap, HashMap, HashSet};

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto};

use crate::proto;

/// The contract's files, those of the errors' details and of health included, each after what it imports.
fn files() -> Vec<FileDescriptorProto> {
    let sets = [proto::FILE_DESCRIPTOR_SET, tonic_types::pb::FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];
    let mut seen = HashSet::new();
    let all = sets.into_iter().flat_map(|set| FileDescriptorSet::decode(set).unwrap_or_default().file);
    all.filter(|file| seen.insert(file.name().to_owned())).collect()
}

/// All of them as one `google.protobuf.FileDescriptorSet`, which needs no other file.
#[must_use]
pub fn descriptor_set() -> Vec<u8> {
    FileDescriptorSet { file: files() }.encode_to_vec()
}

/// Messages, enumerations and services by their full names, and the comment of each name.
#[derive(Debug)]
pub(super) struct Descriptors {
    pub(super) messages: BTreeMap<String, DescriptorProto>,
    pub(super) enums: BTreeMap<String, EnumDescriptorProto>,
    methods: BTreeMap<String, Vec<MethodDescriptorProto>>,
    comments: HashMap<String, String>,
}

impl Descriptors {
    pub(super) fn read() -> Self {
        let mut all = Self { messages: BTreeMap::new(), enums: BTreeMap::new(), methods: BTreeMap::new(), comments: HashMap::new() };
        for file in files() {
            all.add(file);
        }
        all
    }

    /// What the protos say of a name, in one paragraph: of a service, a method, a message, a field, an enumeration or a value of one.
    pub(super) fn comment(&self, full_name: &str) -> &str {
        self.comments.get(full_name).map_or("", String::as_str)
    }

    /// The methods of a service that are answered by one message.
    pub(super) fn unary_methods(&self, service: &str) -> impl Iterator<Item = &MethodDescriptorProto> {
        let methods = self.methods.get(service).into_iter().flatten();
        methods.filter(|method| !method.client_streaming() && !method.server_streaming())
    }

    fn add(&mut self, file: FileDescriptorProto) {
        let mut at = HashMap::new();
        for location in file.source_code_info.iter().flat_map(|info| &info.location) {
            if let Some(text) = &location.leading_comments {
                at.insert(location.path.as_slice(), paragraph(text));
            }
        }
        let package = file.package();
        for (place, message) in (0..).zip(&file.message_type) {
            self.add_message(&format!("{package}.{}", message.name()), message, &[4, place], &at);
        }
        for (place, each) in (0..).zip(&file.enum_type) {
            self.add_enum(&format!("{package}.{}", each.name()), each, &[5, place], &at);
        }
        for (place, service) in (0..).zip(&file.service) {
            let name = format!("{package}.{}", service.name());
            for (number, method) in (0..).zip(&service.method) {
                self.note(format!("{name}.{}", method.name()), &[6, place, 2, number], &at);
            }
            self.note(name.clone(), &[6, place], &at);
            self.methods.insert(name, service.method.clone());
        }
    }

    fn add_message(&mut self, name: &str, message: &DescriptorProto, path: &[i32], at: &HashMap<&[i32], String>) {
        self.note(name.to_owned(), path, at);
        for (place, field) in (0..).zip(&message.field) {
            self.note(format!("{name}.{}", field.name()), &[path, &[2, place][..]].concat(), at);
        }
        for (place, nested) in (0..).zip(&message.nested_type) {
            self.add_message(&format!("{name}.{}", nested.name()), nested, &[path, &[3, place][..]].concat(), at);
        }
        for (place, nested) in (0..).zip(&message.enum_type) {
            self.add_enum(&format!("{name}.{}", nested.name()), nested, &[path, &[4, place][..]].concat(), at);
        }
        self.messages.insert(name.to_owned(), message.clone());
    }

    fn add_enum(&mut self, name: &str, each: &EnumDescriptorProto, path: &[i32], at: &HashMap<&[i32], String>) {
        self.note(name.to_owned(), path, at);
        for (place, value) in (0..).zip(&each.value) {
            self.note(format!("{name}.{}", value.name()), &[path, &[2, place][..]].concat(), at);
        }
        self.enums.insert(name.to_owned(), each.clone());
    }

    fn note(&mut self, name: String, path: &[i32], at: &HashMap<&[i32], String>) {
        if let Some(text) = at.get(path) {
            self.comments.insert(name, text.clone());
        }
    }
}

/// A comment's lines as one paragraph.
fn paragraph(comment: &str) -> String {
    comment.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_is_whole_and_each_file_stands_after_what_it_imports() {
        let set = FileDescriptorSet::decode(descriptor_set().as_slice()).unwrap();
        let mut before = HashSet::new();
        for file in &set.file {
            for import in &file.dependency {
                assert!(before.contains(import), "{} needs {import}", file.name());
            }
            assert!(before.insert(file.name().to_owned()), "{} is there twice", file.name());
        }
        for needed in ["tollgate/auth/v1/accounts.proto", "tollgate/inference/v1/models.proto", "health.proto"] {
            assert!(before.contains(needed), "{needed}");
        }
    }

    #[test]
    fn every_method_and_every_field_of_ours_has_its_comment() {
        let all = Descriptors::read();
        let ours = |name: &String| name.starts_with("tollgate.");
        for (service, methods) in all.methods.iter().filter(|(name, _)| ours(name)) {
            for method in methods {
                assert!(!all.comment(&format!("{service}.{}", method.name())).is_empty(), "{service}.{}", method.name());
            }
        }
        for (message, descriptor) in all.messages.iter().filter(|(name, _)| ours(name)) {
            for field in &descriptor.field {
                assert!(!all.comment(&format!("{message}.{}", field.name())).is_empty(), "{message}.{}", field.name());
            }
        }
        assert_eq!(all.comment("tollgate.inference.v1.Inference.Generate"), "The same for a bare prompt.");
        assert!(all.unary_methods("tollgate.inference.v1.Inference").all(|method| method.name() != "Chat"));
    }
}
