//! The way to a service that puts a caller's credential on each call, and keeps a session beneath all of them.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::poll_fn;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request, Response, request};
use http_body_util::{BodyExt, Full};
use shared::ErrorReason;
use shared::error::reason_of;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Bytes, Service, StdError};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::credential::Credential;
use crate::error::Error;
use crate::kept_session::KeptSession;

/// Who calls: an extension of a request, which its [`Authorized`] takes out.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// By one credential, whatever becomes of it.
    Credential(Credential),
    /// By a session's access token of the time.
    Session(Arc<KeptSession>),
}

/// What proves a caller's second factor: an extension of a request, which its [`Authorized`] takes out.
#[derive(Clone)]
pub(crate) struct Prover(Arc<dyn Fn(Caller) -> BoxFuture<bool, Error> + Send + Sync>);

impl Prover {
    /// By this, which says whether it was proved.
    pub(crate) fn new<F, Proving>(prove: F) -> Self
    where
        F: Fn(Caller) -> Proving + Send + Sync + 'static,
        Proving: Future<Output = Result<bool, Error>> + Send + 'static,
    {
        Self(Arc::new(move |caller| Box::pin(prove(caller))))
    }
}

impl fmt::Debug for Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prover(…)")
    }
}

/// A channel whose calls carry their [`Caller`]'s credential.
#[derive(Debug, Clone)]
pub(crate) struct Authorized(Channel);

impl Authorized {
    pub(crate) fn new(channel: Channel) -> Self {
        Self(channel)
    }
}

impl Service<Request<Body>> for Authorized {
    type Response = Response<Body>;
    type Error = StdError;
    type Future = BoxFuture<Response<Body>, StdError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        // The channel is asked when the call is ready: a refresh may come first.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let channel = self.0.clone();
        let prover = request.extensions_mut().remove::<Prover>();
        match (request.extensions_mut().remove::<Caller>(), prover) {
            (None, _) => Box::pin(send(channel, request)),
            (Some(caller), None) => Box::pin(send_as(channel, request, caller)),
            (Some(caller), Some(prover)) => Box::pin(send_proved(channel, request, caller, prover)),
        }
    }
}

async fn send_as(channel: Channel, mut request: Request<Body>, caller: Caller) -> Result<Response<Body>, StdError> {
    match caller {
        Caller::Credential(credential) => {
            request.headers_mut().insert(AUTHORIZATION, credential.header());
            send(channel, request).await
        }
        Caller::Session(session) => send_in_session(channel, request, session).await,
    }
}

/// Sends a call, and once more when it asks for the second factor and that was proved. A refused call has done nothing.
async fn send_proved(channel: Channel, request: Request<Body>, caller: Caller, prover: Prover) -> Result<Response<Body>, StdError> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let again = || Request::from_parts(head.clone(), Body::new(Full::new(body.clone())));
    let response = send_as(channel.clone(), again(), caller.clone()).await?;
    if !asks_for_the_second_factor(response.headers()) || !(prover.0)(caller.clone()).await? {
        return Ok(response);
    }
    send_as(channel, again(), caller).await
}

async fn send(mut channel: Channel, request: Request<Body>) -> Result<Response<Body>, StdError> {
    poll_fn(|cx| channel.poll_ready(cx)).await?;
    Ok(channel.call(request).await?)
}

/// Sends a call with the session's token, and once more with a newer one when the token is refused. A refused call has done nothing.
async fn send_in_session(channel: Channel, request: Request<Body>, session: Arc<KeptSession>) -> Result<Response<Body>, StdError> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let token = session.token().await?;
    let response = send(channel.clone(), with_token(&head, &body, token.header)).await?;
    if !refuses_the_token(response.headers()) || !session.renewed(token.generation).await? {
        return Ok(response);
    }
    let token = session.token().await?;
    send(channel, with_token(&head, &body, token.header)).await
}

fn with_token(head: &request::Parts, body: &Bytes, token: HeaderValue) -> Request<Body> {
    let mut head = head.clone();
    head.headers.insert(AUTHORIZATION, token);
    Request::from_parts(head, Body::new(Full::new(body.clone())))
}

/// Whether a refresh can help. One that was revoked may be so with its session, or without it: that the refresh tells.
fn refuses_the_token(head: &HeaderMap) -> bool {
    let Some(status) = Status::from_header_map(head).filter(|status| status.code() == Code::Unauthenticated) else { return false };
    matches!(reason_of(&status), Some(ErrorReason::CredentialExpired | ErrorReason::CredentialRevoked | ErrorReason::CredentialInvalid))
}

fn asks_for_the_second_factor(head: &HeaderMap) -> bool {
    Status::from_header_map(head).is_some_and(|status| reason_of(&status) == Some(ErrorReason::StepUpRequired))
}

#[cfg(test)]
mod tests {
    use shared::error::CallError;

    use super::*;

    #[test]
    fn a_refresh_is_tried_for_a_token_that_is_refused_and_for_nothing_else() {
        let refused = |code, reason| {
            let status = Status::from(CallError::new(code, reason, "no"));
            refuses_the_token(status.into_http::<Body>().headers())
        };
        for reason in [ErrorReason::CredentialExpired, ErrorReason::CredentialRevoked, ErrorReason::CredentialInvalid] {
            assert!(refused(Code::Unauthenticated, reason), "{reason:?}");
            assert!(!refused(Code::PermissionDenied, reason), "{reason:?}");
        }
        assert!(!refused(Code::Unauthenticated, ErrorReason::CredentialMissing));
        assert!(!refused(Code::PermissionDenied, ErrorReason::UserDisabled));
        assert!(!refuses_the_token(Status::unauthenticated("a proxy's own").into_http::<Body>().headers()));
        assert!(!refuses_the_token(&HeaderMap::new()));
    }
}
