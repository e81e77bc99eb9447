//! The client: two connections, and what every call carries.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use shared::codec::MAX_MESSAGE_BYTES;
use shared::credential_form::ACCOUNT_HEADER;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};

use crate::account_header::parse_account;
use crate::authorized::{Authorized, Caller, Prover};
use crate::connection::Connections;
use crate::credential::Credential;
use crate::error::Error;
use crate::kept_session::KeptSession;
use crate::proto::auth::accounts_client::AccountsClient;
use crate::proto::auth::admin_client::AdminClient;
use crate::proto::inference::inference_client::InferenceClient;
use crate::proto::inference::models_client::ModelsClient;
use crate::session::{Session, SessionStore};

/// A client of both services. Cloning is cheap, and clones share the connections.
///
/// A connection is made at the first call and belongs to the runtime of that call; when it breaks, the next call makes a new one.
#[derive(Clone)]
pub struct Client {
    pub(crate) connections: Arc<Connections>,
    pub(crate) caller: Option<Caller>,
    pub(crate) account: Option<MetadataValue<Ascii>>,
    pub(crate) call_timeout: Duration,
    pub(crate) stream_timeout: Option<Duration>,
    /// What proves the second factor when a call asks for it.
    pub(crate) step_up: Option<Prover>,
}

impl Client {
    /// The same client with another credential, over the same connections.
    #[must_use]
    pub fn with_credential(&self, credential: Credential) -> Self {
        Self { caller: Some(Caller::Credential(credential)), ..self.clone() }
    }

    /// The same client in a session, over the same connections. It refreshes the session by itself: after four fifths of the access token's
    /// life, and when the service refuses the token as expired. Clones share the session, and refresh it once. What runs goes on.
    ///
    /// What a refresh gave is known to this client and its clones alone: [`Client::session`] shows it, and
    /// [`Client::with_stored_session`] keeps it.
    #[must_use]
    pub fn with_session(&self, session: Session) -> Self {
        self.in_session(session, None)
    }

    /// The same, with the place where the session is kept beside this client. What is there now is the caller's to write.
    #[must_use]
    pub fn with_stored_session(&self, session: Session, store: impl SessionStore) -> Self {
        self.in_session(session, Some(Arc::new(store)))
    }

    fn in_session(&self, session: Session, store: Option<Arc<dyn SessionStore>>) -> Self {
        let session = KeptSession::new(session, store, Arc::clone(&self.connections), self.call_timeout);
        Self { caller: Some(Caller::Session(Arc::new(session))), ..self.clone() }
    }

    /// The session as it is now; `None` when the client has none.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        self.kept_session().map(|session| session.session())
    }

    pub(crate) fn kept_session(&self) -> Option<&Arc<KeptSession>> {
        if let Some(Caller::Session(session)) = &self.caller { Some(session) } else { None }
    }

    /// The same client paying from another account, such as an organization's, by its id. It is also whose balance, keys, ledger and usage
    /// are meant; other calls don't say it.
    pub fn with_account(&self, account: &str) -> Result<Self, Error> {
        Ok(Self { account: Some(parse_account(account)?), ..self.clone() })
    }

    /// The same client with another limit on how long a stream may take; `None`: no limit.
    #[must_use]
    pub fn with_stream_timeout(&self, timeout: Option<Duration>) -> Self {
        Self { stream_timeout: timeout, ..self.clone() }
    }

    pub(crate) fn accounts(&self) -> AccountsClient<Authorized> {
        AccountsClient::new(Authorized::new(self.connections.auth.channel())).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn admin(&self) -> AdminClient<Authorized> {
        AdminClient::new(Authorized::new(self.connections.auth.channel())).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn inference(&self) -> InferenceClient<Authorized> {
        InferenceClient::new(Authorized::new(self.connections.inference.channel())).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn models(&self) -> ModelsClient<Authorized> {
        ModelsClient::new(Authorized::new(self.connections.inference.channel()))
    }

    /// A call with a single answer.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.authorized(message);
        request.set_timeout(self.call_timeout);
        request
    }

    /// The same, about the account that the client names.
    pub(crate) fn account_request<T>(&self, message: T) -> Request<T> {
        self.with_account_header(self.request(message))
    }

    /// A call with a single answer by somebody who has no credential yet. One that is stale must not stand in the way.
    pub(crate) fn anonymous_request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.call_timeout);
        request
    }

    /// A call that answers with a stream.
    pub(crate) fn stream_request<T>(&self, message: T) -> Request<T> {
        let mut request = self.with_account_header(self.authorized(message));
        if let Some(timeout) = self.stream_timeout {
            request.set_timeout(timeout);
        }
        request
    }

    fn authorized<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(caller) = &self.caller {
            request.extensions_mut().insert(caller.clone());
        }
        if let Some(prover) = &self.step_up {
            request.extensions_mut().insert(prover.clone());
        }
        request
    }

    fn with_account_header<T>(&self, mut request: Request<T>) -> Request<T> {
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
            .field("caller", &self.caller)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}
