//! The client: two connections, and what every call carries.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use shared::codec::MAX_MESSAGE_BYTES;
use shared::credential_form::ACCOUNT_HEADER;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use crate::account_header::parse_account;
use crate::connection::Connection;
use crate::credential::Credential;
use crate::error::Error;
use crate::proto::auth::accounts_client::AccountsClient;
use crate::proto::auth::admin_client::AdminClient;
use crate::proto::inference::inference_client::InferenceClient;
use crate::proto::inference::models_client::ModelsClient;

/// A client of both services. Cloning is cheap, and clones share the connections.
///
/// A connection is made at the first call and belongs to the runtime of that call; when it breaks, the next call makes a new one.
#[derive(Clone)]
pub struct Client {
    pub(crate) connections: Arc<Connections>,
    pub(crate) credential: Option<Credential>,
    pub(crate) account: Option<MetadataValue<Ascii>>,
    pub(crate) call_timeout: Duration,
    pub(crate) stream_timeout: Option<Duration>,
}

pub(crate) struct Connections {
    pub(crate) auth: Connection,
    pub(crate) inference: Connection,
}

impl Client {
    /// The same client with another credential, over the same connections.
    #[must_use]
    pub fn with_credential(&self, credential: Credential) -> Self {
        Self { credential: Some(credential), ..self.clone() }
    }

    /// The same client paying from another account.
    pub fn with_account(&self, account: &str) -> Result<Self, Error> {
        Ok(Self { account: Some(parse_account(account)?), ..self.clone() })
    }

    /// The same client with another limit on how long a stream may take; `None`: no limit.
    #[must_use]
    pub fn with_stream_timeout(&self, timeout: Option<Duration>) -> Self {
        Self { stream_timeout: timeout, ..self.clone() }
    }

    pub(crate) fn accounts(&self) -> AccountsClient<Channel> {
        AccountsClient::new(self.connections.auth.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.connections.auth.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn inference(&self) -> InferenceClient<Channel> {
        InferenceClient::new(self.connections.inference.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn models(&self) -> ModelsClient<Channel> {
        ModelsClient::new(self.connections.inference.channel())
    }

    /// A call with a single answer.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.authorized(message);
        request.set_timeout(self.call_timeout);
        request
    }

    /// A call with a single answer by somebody who has no credential yet. One that is stale must not stand in the way.
    pub(crate) fn anonymous_request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.call_timeout);
        request
    }

    /// A call that answers with a stream.
    pub(crate) fn stream_request<T>(&self, message: T) -> Request<T> {
        let mut request = self.authorized(message);
        if let Some(timeout) = self.stream_timeout {
            request.set_timeout(timeout);
        }
        request
    }

    fn authorized<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(credential) = &self.credential {
            request.metadata_mut().insert(AUTHORIZATION.as_str(), credential.header());
        }
        if let Some(account) = &self.account {
            request.metadata_mut().insert(ACCOUNT_HEADER, account.clone());
        }
        request
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("auth_url", &self.connections.auth.url())
            .field("inference_url", &self.connections.inference.url())
            .field("credential", &self.credential)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}
