//! The methods of the contract, and their messages, by their descriptors.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor, Value};
use prost_types::method_options::IdempotencyLevel;

use crate::proto;

/// A method as its descriptor says it.
#[derive(Debug, Clone)]
pub(super) struct RpcMethod {
    /// What it takes.
    pub(super) input: MessageDescriptor,
    /// What it gives.
    pub(super) output: MessageDescriptor,
    /// Whether its answer is a stream.
    pub(super) gives_many: bool,
    /// Whether it only reads: then it may be called by GET.
    pub(super) only_reads: bool,
}

/// The method of a path such as `/tollgate.auth.v1.Accounts/Login`. Whether this process serves it, admission knows. None that takes a
/// stream is here: of ours that is reflection alone, which speaks gRPC.
pub(super) fn method(path: &str) -> Option<&'static RpcMethod> {
    CONTRACT.methods.get(path)
}

/// A message of this type, by the name that it has in an `Any`.
pub(super) fn message_of_any(type_url: &str, bytes: &[u8]) -> Option<DynamicMessage> {
    let descriptor = CONTRACT.pool.get_message_by_name(message_name(type_url))?;
    DynamicMessage::decode(descriptor, bytes).ok()
}

/// The message's full name, which is the last part of a type's URL.
pub(super) fn message_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

struct Contract {
    pool: DescriptorPool,
    methods: HashMap<String, RpcMethod>,
}

static CONTRACT: LazyLock<Contract> = LazyLock::new(Contract::read);

impl Contract {
    /// Descriptors that can't be read leave nothing to be called: a test holds that they can.
    fn read() -> Self {
        let mut pool = DescriptorPool::new();
        for descriptors in [proto::CONTRACT_DESCRIPTOR_SET, tonic_types::pb::FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET] {
            if let Err(error) = pool.decode_file_descriptor_set(descriptors) {
                tracing::error!(%error, "descriptors of the contract can't be read");
            }
        }
        let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        let methods = methods.filter(|method| !method.is_client_streaming()).map(|method| (path(&method), RpcMethod::read(&method)));
        Self { methods: methods.collect(), pool: pool.clone() }
    }
}

impl RpcMethod {
    fn read(method: &MethodDescriptor) -> Self {
        let options = method.options();
        let idempotency = options.get_field_by_name("idempotency_level");
        let only_reads = idempotency.is_some_and(|level| *level == Value::EnumNumber(IdempotencyLevel::NoSideEffects as i32));
        Self { input: method.input(), output: method.output(), gives_many: method.is_server_streaming(), only_reads }
    }
}

fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_both_services_is_known_by_its_path() {
        for (service, methods) in [("auth.v1.Auth", 5), ("auth.v1.Admin", 12), ("inference.v1.Inference", 5), ("inference.v1.Models", 5)] {
            let prefix = format!("/tollgate.{service}/");
            assert_eq!(CONTRACT.methods.keys().filter(|path| path.starts_with(&prefix)).count(), methods, "{service}");
        }
        let chat = method("/tollgate.inference.v1.Inference/Chat").unwrap();
        assert_eq!((chat.gives_many, chat.only_reads), (true, false));
        assert_eq!((chat.input.name(), chat.output.name()), ("ChatRequest", "ChatEvent"));
        assert!(method("/grpc.health.v1.Health/Check").is_some(), "a load balancer may ask by HTTP");
        assert!(method("/tollgate.inference.v1.Inference/Nope").is_none());
    }

    #[test]
    fn what_changes_or_costs_nothing_and_nothing_else_may_be_called_by_get() {
        let mut reading: Vec<&str> = CONTRACT
            .methods
            .iter()
            .filter(|(path, method)| method.only_reads && path.starts_with("/tollgate."))
            .filter_map(|(path, _)| path.rsplit('/').next())
            .collect();
        reading.sort_unstable();
        let expected = [
            "GetBalance",
            "GetJwks",
            "GetMe",
            "GetReceipt",
            "GetSecondFactor",
            "GetUsage",
            "ListAllOrganizations",
            "ListApiKeys",
            "ListAuditEvents",
            "ListIdentities",
            "ListInvitations",
            "ListLedgerEntries",
            "ListMembers",
            "ListModels",
            "ListOrganizations",
            "ListServiceAccounts",
            "ListSessions",
            "ListSignInIssuers",
            "ListUsers",
            "ShowModel",
            "ShowModelfile",
            "VerifyLedger",
        ];
        assert_eq!(reading, expected);
    }

    #[test]
    fn the_details_of_errors_can_be_shown() {
        for name in ["google.rpc.ErrorInfo", "google.rpc.RetryInfo", "google.rpc.BadRequest", "tollgate.inference.v1.Receipt"] {
            assert!(message_of_any(&format!("type.googleapis.com/{name}"), &[]).is_some(), "{name}");
        }
        assert!(message_of_any("type.googleapis.com/nobody.Knows", &[]).is_none());
    }
}
