//! `tollgate.inference.v1.Models`: models as operators handle them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::{Stream, stream};
use shared::error::CallError;
use shared::proto::auth::Operation;
use shared::proto::inference as wire;
use shared::proto::inference::models_server::Models;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::audit::{AuditEntry, AuditOutcome};
use super::{Authorizer, parse_model};
use crate::call_failure::{CallFailure, Limit};
use crate::caller::Caller;
use crate::engine::{Engine, Progress, ProgressStream};
use crate::modelfile::Modelfile;
use crate::prompt::{ModelName, Violations};

/// The service.
#[derive(Debug, Clone)]
pub struct ModelsService {
    /// Who may call.
    pub authorizer: Authorizer,
    /// What has the models.
    pub engine: Arc<dyn Engine>,
    /// Whether models may be made that run elsewhere, on the operator's account.
    pub allow_cloud_models: bool,
    /// Cancelled when streams that still run must end.
    pub cut_off: CancellationToken,
}

/// The status of the last event.
const SUCCESS: &str = "success";

impl ModelsService {
    /// Refuses a caller that may not handle models, before what it sends is looked at.
    pub async fn admit_operator(&self, caller: Result<Caller, CallError>) -> Result<(), CallError> {
        self.authorizer.authorize(caller, Operation::ManageModels, "").await.map(|_| ())
    }

    /// Refuses a model that the caller's key isn't good for.
    async fn may_manage(&self, caller: &Caller, model: &ModelName) -> Result<(), CallError> {
        self.authorizer.auth.authorize(caller, Operation::ManageModels, model.as_str()).await.map(|_| ())
    }

    async fn start_create(&self, caller: &Caller, sent: &wire::CreateModelRequest) -> Result<ProgressStream, CallError> {
        let mut wrong = Violations::default();
        let model = wrong.take("model", ModelName::parse(&sent.model));
        let modelfile = Modelfile::parse(&sent.modelfile);
        let (Some(model), Ok(modelfile)) = (model, &modelfile) else {
            let Err(mistake) = modelfile else { return Err(wrong.refuse()) };
            wrong.add("modelfile", mistake.to_string());
            return Err(wrong.refuse().metadata("line", mistake.line.to_string()));
        };
        model.refuse_cloud(self.allow_cloud_models)?;
        self.may_manage(caller, &model).await?;
        // What is no name is the engine's to refuse, by its line.
        if let Ok(from) = ModelName::parse(&modelfile.from.value) {
            self.may_manage(caller, &from).await?;
        }
        self.engine.create_model(&model, modelfile).await.map_err(|error| CallError::from(&error))
    }

    async fn remove(&self, caller: &Caller, model: &str) -> Result<(), CallError> {
        let model = parse_model(model)?;
        self.may_manage(caller, &model).await?;
        self.engine.delete_model(&model).await.map_err(|error| CallError::from(&error))
    }
}

type ProgressEvents<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Ready when the making of a model must end.
async fn limit(deadline: Option<Instant>, cut_off: CancellationToken) -> Limit {
    let deadline = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = deadline => Limit::Deadline,
        () = cut_off.cancelled_owned() => Limit::Drain,
    }
}

#[tonic::async_trait]
impl Models for ModelsService {
    type CreateModelStream = ProgressEvents<wire::CreateModelResponse>;
    type PullModelStream = ProgressEvents<wire::PullModelResponse>;

    async fn create_model(&self, request: Request<wire::CreateModelRequest>) -> Result<Response<Self::CreateModelStream>, Status> {
        // A caller that may not make models learns nothing of the Modelfile's mistakes, and its Modelfile isn't parsed.
        let (caller, principal) = self.authorizer.authorize(Caller::from_request(&request), Operation::ManageModels, "").await?;
        let sent = request.into_inner();
        let mut audit = AuditEntry::begin("create_model", principal, &sent.model);
        let progress = audit.record_failure(self.start_create(&caller, &sent).await)?;
        // The last event of a success is the same whatever the engine calls its own last step.
        let mut limit = Box::pin(limit(caller.deadline(), self.cut_off.clone()));
        let (mut progress, mut is_over) = (progress, false);
        let stream = stream::poll_fn(move |cx| {
            if is_over {
                return Poll::Ready(None);
            }
            if let Poll::Ready(limit) = limit.as_mut().poll(cx) {
                is_over = true;
                audit.end(AuditOutcome::CutOff);
                return Poll::Ready(Some(Err(CallError::from(&CallFailure::Limit(limit)).into())));
            }
            progress.as_mut().poll_next(cx).map(|step| {
                let event = match step {
                    Some(Ok(Progress { status, completed_bytes, total_bytes })) => {
                        Ok(wire::CreateModelResponse { status, completed_bytes, total_bytes })
                    }
                    Some(Err(error)) => Err(CallError::from(&error)),
                    None => Ok(wire::CreateModelResponse { status: SUCCESS.to_owned(), ..wire::CreateModelResponse::default() }),
                };
                is_over = event.as_ref().map_or(true, |event| event.status == SUCCESS);
                let event = audit.record_failure(event);
                if is_over {
                    // After a failure this counts for nothing.
                    audit.end(AuditOutcome::Success);
                }
                Some(event.map_err(Status::from))
            })
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn delete_model(&self, request: Request<wire::DeleteModelRequest>) -> Result<Response<wire::DeleteModelResponse>, Status> {
        let (caller, principal) = self.authorizer.authorize(Caller::from_request(&request), Operation::ManageModels, "").await?;
        let model = &request.get_ref().model;
        let mut audit = AuditEntry::begin("delete_model", principal, model);
        audit.record_failure(self.remove(&caller, model).await)?;
        audit.end(AuditOutcome::Success);
        Ok(Response::new(wire::DeleteModelResponse {}))
    }

    async fn pull_model(&self, _: Request<wire::PullModelRequest>) -> Result<Response<Self::PullModelStream>, Status> {
        Err(CallError::not_implemented("Models.PullModel").into())
    }

    async fn copy_model(&self, _: Request<wire::CopyModelRequest>) -> Result<Response<wire::CopyModelResponse>, Status> {
        Err(CallError::not_implemented("Models.CopyModel").into())
    }

    async fn show_modelfile(&self, _: Request<wire::ShowModelfileRequest>) -> Result<Response<wire::ShowModelfileResponse>, Status> {
        Err(CallError::not_implemented("Models.ShowModelfile").into())
    }
}
