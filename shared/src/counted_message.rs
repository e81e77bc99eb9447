//! Messages whose repeated elements are counted before one of them is allocated.
//!
//! An element takes two bytes on the wire and some hundred in memory. So a message of a few megabytes may need more memory than the process
//! has. [`LIMITS`] bounds the elements of each repeated field, counted over the whole message: ten thousand messages of ten thousand calls
//! each would be a hundred million calls. It has every repeated field that a request may have.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::{Message, Name};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};

use crate::error::CallError;
use crate::proto;

/// Turns of one conversation.
pub const MAX_MESSAGES: usize = 10_000;
/// Tools that a model may ask for.
pub const MAX_TOOLS: usize = 256;
/// Pictures of one request.
pub const MAX_IMAGES: usize = 64;
/// Texts of one request for embeddings.
pub const MAX_INPUTS: usize = 2_048;
/// Texts that end an answer.
pub const MAX_STOPS: usize = 16;
/// Patterns of the models that an API key may name.
pub const MAX_KEY_PATTERNS: usize = 32;
/// Networks that an API key may be used from.
pub const MAX_KEY_NETWORKS: usize = 32;

/// Models of which one Check may ask whether the caller may name them.
pub const MAX_CHECK_MODELS: usize = 1_000;

/// The most elements of each repeated field in one request.
pub const LIMITS: &[(&str, usize)] = &[
    ("tollgate.inference.v1.ChatRequest.messages", MAX_MESSAGES),
    ("tollgate.inference.v1.ChatRequest.tools", MAX_TOOLS),
    ("tollgate.inference.v1.Message.images", MAX_IMAGES),
    ("tollgate.inference.v1.Message.tool_calls", 10_000),
    ("tollgate.inference.v1.Options.stop", MAX_STOPS),
    ("tollgate.inference.v1.GenerateRequest.images", MAX_IMAGES),
    ("tollgate.inference.v1.EmbedRequest.inputs", MAX_INPUTS),
    ("tollgate.auth.v1.CreateApiKeyRequest.scopes", 16),
    ("tollgate.auth.v1.CreateApiKeyRequest.models", MAX_KEY_PATTERNS),
    ("tollgate.auth.v1.CreateApiKeyRequest.networks", MAX_KEY_NETWORKS),
    ("tollgate.auth.v1.BeginDeviceSignInRequest.scopes", 16),
    ("tollgate.auth.v1.CheckRequest.models", MAX_CHECK_MODELS),
];

/// Messages within messages that are looked into. Ours are five deep.
const MOST_DEPTH: u32 = 16;

/// Why a message is refused before it is decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Uncountable {
    /// A repeated field has more elements than it may.
    #[error("{field} has more than {limit} elements in all; send fewer")]
    TooMany {
        /// The field's path in the request, such as `messages[].images`.
        field: String,
        /// How many there may be.
        limit: usize,
    },
    /// The bytes are no protobuf message of this type.
    #[error("the bytes are no message of this method")]
    Malformed,
}

impl Uncountable {
    /// The same, of a message within this field.
    fn within(self, outer: &Field) -> Self {
        match self {
            Self::TooMany { field, limit } => {
                let element = if outer.repeated { "[]" } else { "" };
                Self::TooMany { field: format!("{}{element}.{field}", outer.name), limit }
            }
            Self::Malformed => Self::Malformed,
        }
    }
}

impl From<Uncountable> for CallError {
    fn from(error: Uncountable) -> Self {
        let sentence = error.to_string();
        match error {
            Uncountable::TooMany { field, .. } => {
                Self::invalid_argument(sentence.clone()).violations([(field.as_str(), sentence.as_str())]).metadata("field", field)
            }
            Uncountable::Malformed => Self::message_malformed(sentence),
        }
    }
}

/// Counts the elements of a message before it is decoded. `message_name` is its full name, such as `tollgate.inference.v1.ChatRequest`.
///
/// It takes as long as the message is long and allocates nothing that grows with it.
pub fn check(message_name: &str, bytes: &[u8]) -> Result<(), Uncountable> {
    check_if(|name| name == message_name, bytes)
}

/// The same of a message type, whose name is never put together.
pub fn check_type<M: Name>(bytes: &[u8]) -> Result<(), Uncountable> {
    check_if(|name| name.strip_prefix(M::PACKAGE).and_then(|rest| rest.strip_prefix('.')) == Some(M::NAME), bytes)
}

fn check_if(is_named: impl Fn(&str) -> bool, bytes: &[u8]) -> Result<(), Uncountable> {
    let Some((_, root)) = SCHEMA.with_limits.iter().find(|(name, _)| is_named(name)) else { return Ok(()) };
    let mut counts = [0; LIMITS.len()];
    count(*root, bytes, MOST_DEPTH, &mut counts)
}

/// What is counted of a message type.
struct Counted {
    fields: Vec<Field>,
    /// Whether it, or a message within it, has a field with a limit. What doesn't is not walked.
    leads_to_limit: bool,
}

struct Field {
    number: u32,
    name: String,
    repeated: bool,
    /// Index in [`LIMITS`].
    limit: Option<usize>,
    /// Index of the message type that it holds.
    message: Option<usize>,
}

struct Schema {
    messages: Vec<Counted>,
    /// Full names and indexes of the messages that lead to a limit: a few.
    with_limits: Vec<(String, usize)>,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::read(proto::CONTRACT_DESCRIPTOR_SET));

impl Schema {
    /// Descriptors that can't be read leave nothing that can be counted: a test holds that they can.
    fn read(descriptors: &[u8]) -> Self {
        let files = FileDescriptorSet::decode(descriptors).unwrap_or_default();
        let mut described: Vec<(String, DescriptorProto)> = Vec::new();
        for file in files.file {
            let package = file.package().to_owned();
            described.extend(file.message_type.into_iter().map(|message| (format!("{package}.{}", message.name()), message)));
        }
        let by_name: HashMap<String, usize> = described.iter().zip(0..).map(|((name, _), index)| (name.clone(), index)).collect();
        let field = |name: &str, field: &prost_types::FieldDescriptorProto| Field {
            number: u32::try_from(field.number()).unwrap_or_default(),
            name: field.name().to_owned(),
            repeated: field.label() == Label::Repeated,
            limit: LIMITS.iter().position(|(limited, _)| {
                field.label() == Label::Repeated && limited.strip_suffix(field.name()).and_then(|rest| rest.strip_suffix('.')) == Some(name)
            }),
            message: match field.r#type() {
                Type::Message => by_name.get(field.type_name().trim_start_matches('.')).copied(),
                _ => None,
            },
        };
        let mut messages: Vec<Counted> = described
            .iter()
            .map(|(name, message)| Counted { fields: message.field.iter().map(|one| field(name, one)).collect(), leads_to_limit: false })
            .collect();
        // As often as messages may lie within one another.
        for _ in 0..MOST_DEPTH {
            for index in 0..messages.len() {
                let leads = messages[index]
                    .fields
                    .iter()
                    .any(|field| field.limit.is_some() || field.message.is_some_and(|message| messages[message].leads_to_limit));
                messages[index].leads_to_limit = leads;
            }
        }
        let with_limits = by_name.into_iter().filter(|(_, index)| messages[*index].leads_to_limit).collect();
        Self { messages, with_limits }
    }
}

fn count(message: usize, mut bytes: &[u8], depth: u32, counts: &mut [usize; LIMITS.len()]) -> Result<(), Uncountable> {
    const VARINT: u64 = 0;
    const EIGHT_BYTES: u64 = 1;
    const LENGTH_DELIMITED: u64 = 2;
    const FOUR_BYTES: u64 = 5;
    if depth == 0 {
        return Err(Uncountable::Malformed);
    }
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0).ok_or(Uncountable::Malformed)?;
        let value = match key & 7 {
            VARINT => {
                varint(&mut bytes)?;
                &[][..]
            }
            EIGHT_BYTES => take(&mut bytes, 8)?,
            LENGTH_DELIMITED => {
                let length = varint(&mut bytes)?;
                take(&mut bytes, usize::try_from(length).map_err(|_| Uncountable::Malformed)?)?
            }
            FOUR_BYTES => take(&mut bytes, 4)?,
            // Groups, which proto3 doesn't have.
            _ => return Err(Uncountable::Malformed),
        };
        let Some(field) = SCHEMA.messages[message].fields.iter().find(|field| field.number == number) else { continue };
        if let Some(limit) = field.limit {
            counts[limit] += 1;
            let (_, most) = LIMITS[limit];
            if counts[limit] > most {
                return Err(Uncountable::TooMany { field: field.name.clone(), limit: most });
            }
        }
        if let Some(inner) = field.message.filter(|inner| key & 7 == LENGTH_DELIMITED && SCHEMA.messages[*inner].leads_to_limit) {
            count(inner, value, depth - 1, counts).map_err(|error| error.within(field))?;
        }
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Uncountable> {
    prost::encoding::decode_varint(bytes).map_err(|_| Uncountable::Malformed)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Uncountable> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or(Uncountable::Malformed)?;
    *bytes = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use crate::proto::auth::CreateApiKeyRequest;
    use crate::proto::inference::{ChatRequest, EmbedRequest, GenerateRequest, Message as Turn, Options, Tool, ToolCall};

    use super::*;

    fn too_many(field: &str, limit: usize) -> Result<(), Uncountable> {
        Err(Uncountable::TooMany { field: field.to_owned(), limit })
    }

    const CHAT: &str = "tollgate.inference.v1.ChatRequest";

    #[test]
    fn every_repeated_field_of_every_request_has_a_limit() {
        let files = FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
        let mut requests: Vec<String> = files
            .file
            .iter()
            .flat_map(|file| file.service.iter().flat_map(|service| &service.method))
            .map(|method| method.input_type().trim_start_matches('.').to_owned())
            .collect();
        let described: HashMap<String, &DescriptorProto> = files
            .file
            .iter()
            .flat_map(|file| file.message_type.iter().map(|message| (format!("{}.{}", file.package(), message.name()), message)))
            .collect();
        let (mut seen, mut repeated) = (Vec::new(), 0);
        while let Some(name) = requests.pop() {
            let Some(message) = described.get(&name).filter(|_| !seen.contains(&name)) else { continue };
            for field in &message.field {
                if field.label() == Label::Repeated {
                    let full = format!("{name}.{}", field.name());
                    assert!(LIMITS.iter().any(|(limited, _)| *limited == full), "{full} has no limit");
                    repeated += 1;
                }
                if field.r#type() == Type::Message {
                    requests.push(field.type_name().trim_start_matches('.').to_owned());
                }
            }
            seen.push(name);
        }
        assert_eq!(repeated, LIMITS.len(), "a limit that names no field of a request");
    }

    #[test]
    fn elements_of_repeated_fields_are_counted_before_they_are_allocated() {
        // Two bytes an element: 32 MiB are 16 million messages of 170 bytes.
        let bomb = [0x12, 0].repeat(16 << 20);
        assert_eq!(check(CHAT, &bomb), too_many("messages", 10_000));
        assert_eq!(check(CHAT, &[0x12, 0].repeat(10_000)), Ok(()));
        assert_eq!(check(CHAT, &[0x32, 0].repeat(1 << 20)), too_many("tools", 256));
    }

    #[test]
    fn a_message_type_is_counted_as_its_name_is() {
        let many = [0x32, 0].repeat(300);
        assert_eq!(check_type::<ChatRequest>(&many), check(CHAT, &many));
        assert_eq!(check(CHAT, &many), too_many("tools", 256));
        let (images, inputs) = (GenerateRequest { images: vec![Vec::new(); 65], ..Default::default() }, vec![String::new(); 2_049]);
        assert_eq!(check_type::<GenerateRequest>(&images.encode_to_vec()), too_many("images", 64));
        let inputs = EmbedRequest { inputs, ..Default::default() };
        assert_eq!(check_type::<EmbedRequest>(&inputs.encode_to_vec()), too_many("inputs", 2_048));
        assert_eq!(check_type::<crate::proto::auth::SettleRequest>(&[0xff]), Ok(()), "what has no limits is the decoder's");
    }

    #[test]
    fn elements_within_elements_are_counted_over_the_whole_message() {
        let turn = |calls: usize, images: usize| Turn {
            tool_calls: vec![ToolCall::default(); calls],
            images: vec![Vec::new(); images],
            ..Default::default()
        };
        let many = ChatRequest { messages: vec![turn(101, 0); 100], ..Default::default() };
        assert_eq!(check(CHAT, &many.encode_to_vec()), too_many("messages[].tool_calls", 10_000));
        let many = ChatRequest { messages: vec![turn(0, 1); 65], ..Default::default() };
        assert_eq!(check(CHAT, &many.encode_to_vec()), too_many("messages[].images", 64));
        let most = ChatRequest {
            messages: vec![turn(1, 0); 10_000],
            tools: vec![Tool::default(); 256],
            options: Some(Options { stop: vec![String::new(); 16], ..Default::default() }),
            ..Default::default()
        };
        assert_eq!(check(CHAT, &most.encode_to_vec()), Ok(()));
        // A message that comes in parts is merged: so are its elements.
        let options = |stop: usize| {
            let options = Some(Options { stop: vec!["x".to_owned(); stop], ..Default::default() });
            ChatRequest { options, ..Default::default() }.encode_to_vec()
        };
        assert_eq!(check(CHAT, &[options(9), options(9)].concat()), too_many("options.stop", 16));
    }

    #[test]
    fn every_limit_is_kept() {
        let kept = |name: &str, bytes: Vec<u8>| check(name, &bytes).is_err();
        let stop = Some(Options { stop: vec![String::new(); 17], ..Default::default() });
        assert!(kept("tollgate.inference.v1.GenerateRequest", GenerateRequest { options: stop, ..Default::default() }.encode_to_vec()));
        let images = GenerateRequest { images: vec![Vec::new(); 65], ..Default::default() };
        assert!(kept("tollgate.inference.v1.GenerateRequest", images.encode_to_vec()));
        let inputs = EmbedRequest { inputs: vec![String::new(); 2_049], ..Default::default() };
        assert!(kept("tollgate.inference.v1.EmbedRequest", inputs.encode_to_vec()));
        let (scopes, models) = (vec![String::new(); 17], vec![String::new(); 33]);
        assert!(kept("tollgate.auth.v1.CreateApiKeyRequest", CreateApiKeyRequest { scopes, ..Default::default() }.encode_to_vec()));
        assert!(kept("tollgate.auth.v1.CreateApiKeyRequest", CreateApiKeyRequest { models, ..Default::default() }.encode_to_vec()));
    }

    #[test]
    fn what_is_no_message_is_malformed_and_never_a_panic() {
        // A cut length, a group, the field 0, an endless varint, a length beyond all measure.
        let endless = [0x80; 12];
        for bytes in
            [&[0x12][..], &[0x12, 5, 1], &[0x13, 0x14], &[0x02, 0], &endless, &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]]
        {
            assert_eq!(check(CHAT, bytes), Err(Uncountable::Malformed), "{bytes:?}");
        }
        assert_eq!(check("of.another.Message", &[0xff]), Ok(()), "what has no limits is the decoder's");
    }

    proptest::proptest! {
        #[test]
        fn whatever_can_be_decoded_can_be_counted(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            if ChatRequest::decode(&bytes[..]).is_ok() && check(CHAT, &bytes).is_err() {
                // Only groups, which proto3 doesn't have, and elements beyond a limit.
                let groups = bytes.iter().any(|byte| matches!(byte & 7, 3 | 4));
                proptest::prop_assert!(groups || bytes.len() > 16);
            }
        }
    }
}
