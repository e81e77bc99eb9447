//! `grpc.health.v1`: what a process says of itself, and the end of those who watch it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::Health as HealthMethods;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthReporter, HealthService};

/// What `grpc.health.v1` answers for a process: the empty name, and each of its services.
#[derive(Debug, Clone)]
pub struct Health {
    pub(super) reporter: HealthReporter,
    pub(super) names: Arc<[String]>,
}

impl Health {
    /// All of them serve, until something else is said.
    pub async fn new(services: &[&str]) -> Self {
        let names = std::iter::once("").chain(services.iter().copied()).map(str::to_owned).collect();
        let health = Self { reporter: HealthReporter::new(), names };
        health.set_serving(true).await;
        health
    }

    /// Whether all of them serve, from now on.
    pub async fn set_serving(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
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
