//! The generated client of auth-service, with the headers and the deadline of each call.

use std::time::Duration;

use shared::ErrorReason;
use shared::error::reason_of;
use shared::proto::auth as wire;
use shared::proto::auth::auth_client::AuthClient as GeneratedClient;
use shared::proto::auth::auth_server::AuthServer;
use shared::request_context::REQUEST_ID_HEADER;
use shared::secret::Secret;
use tokio::time::{Instant, timeout_at};
use tonic::metadata::errors::InvalidMetadataValue;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::server::NamedService;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::balancer::Balancer;
use super::connection::SentFlag;
use super::watch::WatchSeat;

/// The longest message that is taken, in bytes: auth-service's are some hundred.
const MAX_MESSAGE_BYTES: usize = 64 << 10;

/// Where gRPC has a call's deadline.
const TIMEOUT_HEADER: &str = "grpc-timeout";

/// Calls auth-service. Every failure that is not auth-service's own is UNAVAILABLE without a reason.
pub(super) struct Stub {
    client: GeneratedClient<Balancer>,
    health: HealthClient<Balancer>,
    /// The service credential; `None`: the connection's certificate stands for it.
    authorization: Option<MetadataValue<Ascii>>,
}

/// A Check that may be sent again: under the same attempt it has the effect of one.
pub(super) struct RetryableCheck {
    pub(super) message: wire::CheckRequest,
    /// For auth-service's log.
    pub(super) request_id: String,
    /// Whether one of its tries had no answer that says what became of it.
    pub(super) is_uncertain: bool,
    sent: SentFlag,
}

impl RetryableCheck {
    pub(super) fn new(message: wire::CheckRequest, request_id: &str) -> Self {
        Self { message, request_id: request_id.to_owned(), is_uncertain: false, sent: SentFlag::default() }
    }

    /// Whether one of its tries may have held credits that nobody knows of. What was never sent can't have.
    pub(super) fn may_have_held(&self) -> bool {
        self.was_sent() && self.is_uncertain
    }

    /// Whether it may have reached auth-service.
    pub(super) fn was_sent(&self) -> bool {
        self.sent.is_set()
    }
}

impl Stub {
    /// A stub that proves with this credential which service asks, or with its connections' certificate.
    pub(super) fn new(balancer: Balancer, credential: Option<&Secret>) -> Result<Self, InvalidMetadataValue> {
        let authorization = credential.map(|credential| MetadataValue::try_from(format!("Bearer {}", credential.to_hex())));
        let mut authorization: Option<MetadataValue<Ascii>> = authorization.transpose()?;
        if let Some(authorization) = &mut authorization {
            authorization.set_sensitive(true);
        }
        let health = HealthClient::new(balancer.clone());
        let client = GeneratedClient::new(balancer).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { client, health, authorization })
    }

    /// Asks a replica whether it takes our credential and can answer calls. It costs nothing, and leaves nothing there.
    pub(super) async fn probe(&self, deadline: Instant) -> Result<(), String> {
        // An Extend of no hold: whoever takes the credential answers that there is none in it, before it asks its store.
        let refused = self.extend(wire::ExtendRequest::default(), "", deadline).await.err();
        match refused.as_ref().and_then(reason_of) {
            Some(ErrorReason::InvalidArgument) => {}
            Some(ErrorReason::ServiceCredentialInvalid) => return Err(format!("it refuses this service: check {}", self.proof())),
            Some(ErrorReason::CredentialMissing) => {
                return Err(format!("it asks for a credential: set TOLLGATE_SERVICE_CREDENTIAL, or check {}", self.proof()));
            }
            _ => return Err(refused.map_or_else(|| "it answers as no auth-service does".to_owned(), |status| status.message().to_owned())),
        }
        let service = <AuthServer<()> as NamedService>::NAME.to_owned();
        let request = self.request(HealthCheckRequest { service }, "", deadline);
        let answer = timeout_at(deadline, self.health.clone().check(request)).await;
        match answer.map(|answer| answer.map(|answer| answer.into_inner().status())) {
            Ok(Ok(ServingStatus::Serving)) => Ok(()),
            Ok(Ok(_)) => Err("it says NOT_SERVING: its own log says what it lacks".to_owned()),
            Ok(Err(status)) => Err(format!("its health can't be asked: {}", status.message())),
            Err(_) => Err("its health was not answered in time".to_owned()),
        }
    }

    /// What this service proves itself with, as an operator knows it.
    pub(super) fn proof(&self) -> &'static str {
        match self.authorization {
            Some(_) => "TOLLGATE_SERVICE_CREDENTIAL",
            None => "TOLLGATE_AUTH_CLIENT_CERTIFICATE, and the names that auth-service lists in TOLLGATE_AUTH_CLIENT_NAMES",
        }
    }

    /// Sends a Check.
    pub(super) async fn check(&self, check: &RetryableCheck, deadline: Instant) -> Result<wire::CheckResponse, Status> {
        let mut request = self.request(check.message.clone(), &check.request_id, deadline);
        request.extensions_mut().insert(check.sent.clone());
        answer(self.client.clone().check(request), deadline).await
    }

    /// Sends an Extend.
    pub(super) async fn extend(
        &self,
        message: wire::ExtendRequest,
        request_id: &str,
        deadline: Instant,
    ) -> Result<wire::ExtendResponse, Status> {
        answer(self.client.clone().extend(self.request(message, request_id, deadline)), deadline).await
    }

    /// Sends a Settle.
    pub(super) async fn settle(
        &self,
        message: wire::SettleRequest,
        request_id: &str,
        deadline: Instant,
    ) -> Result<wire::SettleResponse, Status> {
        answer(self.client.clone().settle(self.request(message, request_id, deadline)), deadline).await
    }

    /// Sends a Release.
    pub(super) async fn release(
        &self,
        message: wire::ReleaseRequest,
        request_id: &str,
        deadline: Instant,
    ) -> Result<wire::ReleaseResponse, Status> {
        answer(self.client.clone().release(self.request(message, request_id, deadline)), deadline).await
    }

    /// Begins to watch what is revoked after this cursor, at a replica that this seat's other watch isn't at. `deadline`: for the
    /// beginning; the watch itself has none.
    pub(super) async fn watch(
        &self,
        after: &str,
        seat: WatchSeat,
        deadline: Instant,
    ) -> Result<Streaming<wire::WatchRevocationsResponse>, Status> {
        let mut request = self.request(wire::WatchRevocationsRequest { after: after.to_owned() }, "", deadline);
        request.metadata_mut().remove(TIMEOUT_HEADER);
        request.extensions_mut().insert(seat);
        answer(self.client.clone().watch_revocations(request), deadline).await
    }

    fn request<T>(&self, message: T, request_id: &str, deadline: Instant) -> Request<T> {
        let mut request = Request::new(message);
        // Whole milliseconds: most calls then have the same text, which the header tables of both ends keep.
        let remaining = deadline.saturating_duration_since(Instant::now()).as_millis().clamp(1, 99_999_999);
        request.set_timeout(Duration::from_millis(u64::try_from(remaining).unwrap_or(u64::MAX)));
        let metadata = request.metadata_mut();
        if let Some(authorization) = &self.authorization {
            metadata.insert("authorization", authorization.clone());
        }
        metadata.insert("user-agent", MetadataValue::from_static(concat!("tollgate-inference-service/", env!("CARGO_PKG_VERSION"))));
        if let Ok(mut id) = MetadataValue::try_from(request_id) {
            // Different each time: as a sensitive one it is kept out of the header tables.
            id.set_sensitive(true);
            metadata.insert(REQUEST_ID_HEADER, id);
        }
        request
    }
}

async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>, deadline: Instant) -> Result<T, Status> {
    match timeout_at(deadline, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) if is_from_auth_service(&status) => Err(status),
        Ok(Err(status)) if status.code() == Code::Unavailable => Err(status),
        // A proxy between, or something else that listens there: the codes vary.
        Ok(Err(status)) => Err(Status::unavailable(format!("auth-service's answer is of no use: {}", status.message()))),
        Err(_) => Err(Status::unavailable("auth-service did not answer in time")),
    }
}

/// Whether auth-service made this status. All of its errors have details; an answer that can't be decoded has some of our own decoder's.
fn is_from_auth_service(status: &Status) -> bool {
    !status.details().is_empty() && reason_of(status) != Some(ErrorReason::MessageMalformed)
}

#[cfg(test)]
mod tests {
    use super::super::test_server::{CREDENTIAL, client_of};
    use super::*;

    #[test]
    fn a_deadline_is_sent_in_whole_milliseconds_and_never_as_none() {
        let stub = client_of("http://127.0.0.1:1");
        for (patience, at_most) in [(0, 1), (1, 1), (999, 1), (4_000_500, 4_000), (365 * 86_400_000_000, 99_999_999)] {
            let request = stub.request((), "r-1", Instant::now() + Duration::from_micros(patience));
            let sent = shared::request_context::deadline(&request.into_parts().0.into_headers()).unwrap().unwrap();
            assert_eq!(sent.subsec_nanos() % 1_000_000, 0, "{sent:?}");
            assert!(sent >= Duration::from_millis(1) && sent <= Duration::from_millis(at_most), "{patience} µs: {sent:?}");
        }
    }

    #[test]
    fn the_service_credential_and_the_request_id_are_kept_out_of_logs_and_header_tables() {
        let request = client_of("http://127.0.0.1:1").request((), "r-1", Instant::now());
        for name in ["authorization", REQUEST_ID_HEADER] {
            assert!(request.metadata().get(name).unwrap().is_sensitive(), "{name}");
        }
        assert!(!format!("{:?}", request.metadata()).contains(CREDENTIAL), "{:?}", request.metadata());
    }
}
