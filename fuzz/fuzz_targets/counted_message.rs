//! What is counted of a message before it is decoded is what is there once it is decoded.
#![no_main]

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use prost::Message;
use prost::encoding::decode_varint;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};
use shared::counted_message::{LIMITS, Uncountable, check};
use shared::proto::FILE_DESCRIPTOR_SET;

/// A request's name, and what a decoder makes of its bytes, encoded again; `None` when it refuses them.
type Request = (&'static str, fn(&[u8]) -> Option<Vec<u8>>);

macro_rules! requests {
    ($($module:ident: $($name:ident)*;)*) => {
        &[$($((
            concat!("tollgate.", stringify!($module), ".v1.", stringify!($name)),
            |bytes| shared::proto::$module::$name::decode(bytes).ok().map(|message| message.encode_to_vec()),
        )),*),*]
    };
}

const REQUESTS: &[Request] = requests! {
    auth:
        SignUpRequest LoginRequest RefreshRequest LogoutRequest GetMeRequest ChangePasswordRequest BeginSignInRequest
        ExchangeIdTokenRequest CreateApiKeyRequest ListApiKeysRequest RotateApiKeyRequest RevokeApiKeyRequest GetBalanceRequest
        GetReceiptRequest ListLedgerEntriesRequest GetUsageRequest CreateOrganizationRequest ListOrganizationsRequest AddMemberRequest
        ListMembersRequest RemoveMemberRequest CreateUserRequest ListUsersRequest DisableUserRequest EnableUserRequest
        ResetPasswordRequest GrantCreditsRequest VerifyLedgerRequest ListAuditEventsRequest CheckRequest ExtendRequest
        SettleRequest WatchRevocationsRequest;
    inference:
        ChatRequest GenerateRequest EmbedRequest ListModelsRequest ShowModelRequest CreateModelRequest PullModelRequest
        CopyModelRequest DeleteModelRequest ShowModelfileRequest;
    // At the end: seeds name a request by its place.
    auth:
        ReleaseRequest;
};

static MESSAGES: LazyLock<HashMap<String, DescriptorProto>> = LazyLock::new(|| {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("descriptors").file;
    let requests = files.iter().flat_map(|file| &file.service).map(|service| service.method.len()).sum::<usize>();
    assert_eq!(requests, REQUESTS.len(), "each method's request is in the list above");
    let named = files.into_iter().flat_map(|file| {
        let package = file.package().to_owned();
        file.message_type.into_iter().map(move |message| (format!("{package}.{}", message.name()), message))
    });
    named.collect()
});

type Elements = BTreeMap<String, usize>;

// The first byte says which request it is.
fuzz_target!(|data: &[u8]| {
    let Some((which, bytes)) = data.split_first() else { return };
    let (name, decode) = REQUESTS[usize::from(*which) % REQUESTS.len()];
    assert!(MESSAGES.contains_key(name), "{name} is in the contract");
    let checked = check(name, bytes);
    let Some(again) = decode(bytes) else { return };
    let mut sent = Elements::new();
    // What holds groups may be refused.
    if count(name, bytes, &mut sent) {
        match &checked {
            Ok(()) => assert!(!beyond(&sent), "{sent:?} is taken"),
            Err(Uncountable::TooMany { field, .. }) => assert!(beyond(&sent), "{field} of {sent:?}"),
            Err(Uncountable::Malformed) => panic!("{name} is decoded and can't be counted"),
        }
    }
    if checked.is_ok() {
        let mut decoded = Elements::new();
        assert!(count(name, &again, &mut decoded), "what we encode has no groups");
        assert!(!beyond(&decoded), "{decoded:?} are allocated");
    }
});

fn beyond(elements: &Elements) -> bool {
    LIMITS.iter().any(|(field, most)| elements.get(*field).is_some_and(|count| count > most))
}

/// Counts the elements of each repeated field of a message that can be decoded; `false` when it holds a group.
fn count(name: &str, mut bytes: &[u8], elements: &mut Elements) -> bool {
    let Some(message) = MESSAGES.get(name) else { return true };
    while !bytes.is_empty() {
        let key = decode_varint(&mut bytes).expect("a key");
        let value = match key & 7 {
            0 => {
                decode_varint(&mut bytes).expect("a number");
                &[][..]
            }
            1 => bytes.split_off(..8).expect("eight bytes"),
            2 => {
                let length = usize::try_from(decode_varint(&mut bytes).expect("a length")).expect("a length");
                bytes.split_off(..length).expect("as many bytes")
            }
            5 => bytes.split_off(..4).expect("four bytes"),
            _ => return false,
        };
        let Some(field) = message.field.iter().find(|field| u64::try_from(field.number()) == Ok(key >> 3)) else { continue };
        if field.label() == Label::Repeated {
            *elements.entry(format!("{name}.{}", field.name())).or_default() += 1;
        }
        if field.r#type() == Type::Message && !count(field.type_name().trim_start_matches('.'), value, elements) {
            return false;
        }
    }
    true
}
