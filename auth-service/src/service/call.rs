//! What is known of a call beside its message.

use std::net::IpAddr;

use http::Extensions;
use http::header::USER_AGENT;
use shared::caller_address::CallerAddress;
use shared::credential_form::holds_credential;
use shared::request_id::REQUEST_ID_HEADER;
use tonic::Request;
use tonic::metadata::MetadataMap;

use crate::service::audit_trail::Known;
use crate::store::{AuditAction, AuditEvent};

/// Characters that are kept of a client's name for itself.
const MOST_CLIENT_CHARACTERS: usize = 200;

/// What is known of a call beside its message.
#[derive(Debug, Clone, Copy)]
pub struct Call<'c> {
    /// Its headers; the credential is among them.
    pub metadata: &'c MetadataMap,
    /// Where it comes from, an IPv4 address in IPv4's form; `None`: over no connection of ours.
    pub address: Option<IpAddr>,
    /// What becomes known of it, for the audit log; `None`: nobody records its failure.
    pub known: Option<&'c Known>,
}

impl<'c> Call<'c> {
    /// Of a gRPC request.
    #[must_use]
    pub fn of<T>(request: &'c Request<T>) -> Self {
        Self::new(request.metadata(), request.extensions())
    }

    /// Of whatever has metadata and extensions.
    #[must_use]
    pub fn new(metadata: &'c MetadataMap, extensions: &'c Extensions) -> Self {
        Self { metadata, address: CallerAddress::of(extensions).map(|caller| caller.ip.to_canonical()), known: extensions.get::<Known>() }
    }

    /// Adds what has become known of it, for the audit log should it fail.
    pub fn know(&self, add: impl FnOnce(AuditEvent) -> AuditEvent) {
        if let Some(known) = self.known {
            known.add(add);
        }
    }

    /// What the client calls itself, without what is invisible in it; nothing when that is a credential.
    #[must_use]
    pub fn client(&self) -> String {
        let name = self.metadata.get(USER_AGENT.as_str()).and_then(|name| name.to_str().ok()).unwrap_or_default();
        if holds_credential(name) {
            return String::new();
        }
        name.chars().filter(|character| !character.is_control()).take(MOST_CLIENT_CHARACTERS).collect()
    }

    /// For the audit log: an action by nobody yet, and what is known of the call.
    #[must_use]
    pub fn event(&self, action: AuditAction) -> AuditEvent {
        let request_id = self.metadata.get(REQUEST_ID_HEADER).and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        AuditEvent { address: self.address, request_id, client: self.client(), ..AuditEvent::new(action) }
    }
}
