//! `grpc.health.v1`: what a process says of itself, and the end of those who watch it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::{Stream, StreamExt};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::Health as HealthMethods;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthReporter, HealthService};

/// What `grpc.health.v1` answers for a process. For the empty name: whether the process lives and does not drain. For each of its
/// services: whether a call of that service can be answered. Clones are one.
#[derive(Debug, Clone)]
pub struct Health {
    pub(super) reporter: HealthReporter,
    /// The services.
    pub(super) names: Arc<[String]>,
    said: Arc<Mutex<Said>>,
}

/// What was said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    NotReady,
    Ready,
    /// For good.
    Draining,
}

impl Health {
    /// The process lives. Its services are not ready until something else is said.
    pub async fn new(services: &[&str]) -> Self {
        let names = services.iter().copied().map(str::to_owned).collect();
        let health = Self { reporter: HealthReporter::new(), names, said: Arc::new(Mutex::new(Said::NotReady)) };
        health.reporter.set_service_status("", ServingStatus::Serving).await;
        health.say(ServingStatus::NotServing).await;
        health
    }

    /// Whether the services can answer calls, from now on. Whoever watches is told of changes alone. A process that drains is not ready
    /// any more.
    pub async fn set_ready(&self, is_ready: bool) {
        let next = if is_ready { Said::Ready } else { Said::NotReady };
        // Held until it is said: what is said later comes later.
        let mut said = self.said.lock().await;
        if *said == Said::Draining || *said == next {
            return;
        }
        *said = next;
        self.say(if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
    }

    /// The process drains: nothing here serves, for good.
    pub(super) async fn drain(&self) {
        let mut said = self.said.lock().await;
        *said = Said::Draining;
        self.reporter.set_service_status("", ServingStatus::NotServing).await;
        self.say(ServingStatus::NotServing).await;
    }

    async fn say(&self, status: ServingStatus) {
        for name in self.names.iter() {
            self.reporter.set_service_status(name, status).await;
        }
    }
}

/// Health whose watches end with the process's drain, after they have said NOT_SERVING: a watch never ends by itself.
pub(super) struct EndingHealth {
    pub(super) service: HealthService,
    pub(super) ended: CancellationToken,
}

type Statuses = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl HealthMethods for EndingHealth {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.service.check(request).await
    }

    type WatchStream = Statuses;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Statuses>, Status> {
        let mut statuses = Box::pin(self.service.watch(request).await?.into_inner());
        let mut ended = Box::pin(self.ended.clone().cancelled_owned());
        // What is there to be said comes before the end.
        let stream = futures_util::stream::poll_fn(move |cx| match statuses.poll_next_unpin(cx) {
            Poll::Pending => ended.as_mut().poll(cx).map(|()| None),
            said => said,
        });
        Ok(Response::new(Box::pin(stream)))
    }
}
