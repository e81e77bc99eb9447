//! Models at work, and models as operators handle them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::{Stream, StreamExt};
use shared::request_id::new_request_id;
use tokio::time::Instant;
use tonic::Streaming;

use crate::answer::{Answer, Events};
use crate::client::Client;
use crate::connection::Connections;
use crate::error::Error;
use crate::proto::inference::{
    ChatRequest, CreateModelRequest, CreateModelResponse, DeleteModelRequest, EmbedRequest, EmbedResponse, GenerateRequest,
    ListModelsRequest, Model, ShowModelRequest, ShowModelResponse,
};

impl Client {
    /// Streams a model's answer to a conversation. An empty `request_id` is filled in here; see the crate's documentation for what it
    /// is good for.
    pub async fn chat(&self, mut request: ChatRequest) -> Result<Answer, Error> {
        let request_id = name(&mut request.request_id);
        let deadline = self.stream_deadline();
        let answer = self.inference().chat(self.stream_request(request)).await;
        let events = self.connections.inference.answer(answer, Some(&request_id))?;
        Ok(Answer::new(request_id, Events::Chat(events), Arc::clone(&self.connections), deadline))
    }

    /// Streams a model's continuation of a bare prompt. As [`Client::chat`] otherwise.
    pub async fn generate(&self, mut request: GenerateRequest) -> Result<Answer, Error> {
        let request_id = name(&mut request.request_id);
        let deadline = self.stream_deadline();
        let answer = self.inference().generate(self.stream_request(request)).await;
        let events = self.connections.inference.answer(answer, Some(&request_id))?;
        Ok(Answer::new(request_id, Events::Generate(events), Arc::clone(&self.connections), deadline))
    }

    /// Turns texts into vectors. An empty `request_id` is filled in here; a repetition is answered without vectors, with `replayed`.
    pub async fn embed(&self, mut request: EmbedRequest) -> Result<EmbedResponse, Error> {
        let request_id = name(&mut request.request_id);
        let answer = self.inference().embed(self.stream_request(request)).await;
        self.connections.inference.answer(answer, Some(&request_id))
    }

    /// The models there are. Costs nothing.
    pub async fn list_models(&self) -> Result<Vec<Model>, Error> {
        let answer = self.inference().list_models(self.account_request(ListModelsRequest {})).await;
        Ok(self.connections.inference.answer(answer, None)?.models)
    }

    /// A model's details and what it can do. Costs nothing.
    pub async fn show_model(&self, model: &str) -> Result<ShowModelResponse, Error> {
        let answer = self.inference().show_model(self.account_request(ShowModelRequest { model: model.to_owned() })).await;
        self.connections.inference.answer(answer, None)
    }

    /// Makes a model from a Modelfile's text, and streams the progress. Operators only.
    pub async fn create_model(&self, model: &str, modelfile: &str) -> Result<ModelProgress, Error> {
        let message = CreateModelRequest { model: model.to_owned(), modelfile: modelfile.to_owned() };
        let answer = self.models().create_model(self.stream_request(message)).await;
        let steps = self.connections.inference.answer(answer, None)?;
        Ok(ModelProgress { steps, connections: Arc::clone(&self.connections) })
    }

    /// Removes a model. Operators only.
    pub async fn delete_model(&self, model: &str) -> Result<(), Error> {
        let answer = self.models().delete_model(self.account_request(DeleteModelRequest { model: model.to_owned() })).await;
        self.connections.inference.answer(answer, None).map(|_| ())
    }

    fn stream_deadline(&self) -> Option<Instant> {
        self.stream_timeout.map(|timeout| Instant::now() + timeout)
    }
}

fn name(request_id: &mut String) -> String {
    if request_id.is_empty() {
        *request_id = new_request_id();
    }
    request_id.clone()
}

/// How the making of a model goes on: a stream whose last step's status is `success`. Dropping it cancels the call.
pub struct ModelProgress {
    steps: Streaming<CreateModelResponse>,
    connections: Arc<Connections>,
}

impl ModelProgress {
    /// The next step; `None` after the last one.
    pub async fn next(&mut self) -> Option<Result<CreateModelResponse, Error>> {
        StreamExt::next(self).await
    }
}

impl Stream for ModelProgress {
    type Item = Result<CreateModelResponse, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let step = ready!(self.steps.poll_next_unpin(cx));
        Poll::Ready(step.map(|step| step.map_err(|status| self.connections.inference.error(&status, None))))
    }
}

impl fmt::Debug for ModelProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelProgress").finish_non_exhaustive()
    }
}
