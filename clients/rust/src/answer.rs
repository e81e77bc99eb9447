//! A model's answer, as it is generated.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio::time::Sleep;
use tonic::{Status, Streaming};

use crate::connection::{Connection, Connections};
use crate::error::Error;
use crate::proto::inference::{ChatEvent, Delta, Finished, GenerateEvent, Started, ToolCall, chat_event, generate_event};

/// The server ends a stream at its deadline and says what it cost. This is how much longer we wait for that word.
const DEADLINE_GRACE: Duration = Duration::from_millis(500);

/// A step of an answer: one `Started`, any number of `Delta`, one last `Finished`. `Debug` doesn't show what the model said.
#[derive(Clone, PartialEq)]
pub enum Event {
    /// The call is authenticated, and its worst case is held.
    Started(Started),
    /// A piece of the answer; not always one token.
    Delta(Delta),
    /// Why it ended, what it used, and what it cost.
    Finished(Finished),
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started(started) => f.debug_tuple("Started").field(started).finish(),
            Self::Delta(_) => f.write_str("Delta(…)"),
            Self::Finished(finished) => f.debug_tuple("Finished").field(finished).finish(),
        }
    }
}

/// A stream of [`Event`]s. Dropping it cancels the call.
///
/// It ends after `Finished`, or after an error; a connection that ends before either is an error.
pub struct Answer {
    request_id: String,
    events: Events,
    connections: Arc<Connections>,
    deadline: Option<Pin<Box<Sleep>>>,
    finished: bool,
    over: bool,
}

pub(crate) enum Events {
    Chat(Streaming<ChatEvent>),
    Generate(Streaming<GenerateEvent>),
}

impl Events {
    /// The next event; the inner `None` is an event that is newer than this library.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Option<Event>, Status>>> {
        Poll::Ready(match self {
            Self::Chat(events) => ready!(events.poll_next_unpin(cx)).map(|event| {
                event.map(|event| {
                    event.event.map(|event| match event {
                        chat_event::Event::Started(started) => Event::Started(started),
                        chat_event::Event::Delta(delta) => Event::Delta(delta),
                        chat_event::Event::Finished(finished) => Event::Finished(finished),
                    })
                })
            }),
            Self::Generate(events) => ready!(events.poll_next_unpin(cx)).map(|event| {
                event.map(|event| {
                    event.event.map(|event| match event {
                        generate_event::Event::Started(started) => Event::Started(started),
                        generate_event::Event::Delta(delta) => Event::Delta(delta),
                        generate_event::Event::Finished(finished) => Event::Finished(finished),
                    })
                })
            }),
        })
    }
}

impl Answer {
    pub(crate) fn new(request_id: String, events: Events, connections: Arc<Connections>, deadline: Option<tokio::time::Instant>) -> Self {
        let deadline = deadline.map(|at| Box::pin(tokio::time::sleep_until(at + DEADLINE_GRACE)));
        Self { request_id, events, connections, deadline, finished: false, over: false }
    }

    /// The request's id: the caller's, or the one that this library made. For [`crate::Client::receipt`], and for repeating the call.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The next event; `None` after the last one.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        StreamExt::next(self).await
    }

    /// Waits for all of the answer.
    pub async fn complete(mut self) -> Result<Completion, Error> {
        let mut completion = Completion { request_id: self.request_id.clone(), ..Completion::default() };
        while let Some(event) = self.next().await {
            match event? {
                Event::Started(started) => completion.started = started,
                Event::Delta(delta) => {
                    completion.content.push_str(&delta.content);
                    completion.thinking.push_str(&delta.thinking);
                    completion.tool_calls.extend(delta.tool_calls);
                }
                Event::Finished(finished) => completion.finished = finished,
            }
        }
        Ok(completion)
    }

    fn connection(&self) -> &Connection {
        &self.connections.inference
    }
}

impl Stream for Answer {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.over {
                return Poll::Ready(None);
            }
            let polled = match this.events.poll(cx) {
                Poll::Ready(polled) => polled,
                Poll::Pending => {
                    let Some(deadline) = &mut this.deadline else { return Poll::Pending };
                    ready!(deadline.as_mut().poll(cx));
                    this.over = true;
                    let error = Error::TimedOut { service: this.connection().service(), request_id: Some(this.request_id.clone()) };
                    return Poll::Ready((!this.finished).then_some(Err(error)));
                }
            };
            match polled {
                Some(Ok(None)) => {}
                Some(Ok(Some(event))) => {
                    this.finished |= matches!(event, Event::Finished(_));
                    return Poll::Ready(Some(Ok(event)));
                }
                // With Finished all has been said: how the stream closes after it changes nothing.
                _ if this.finished => this.over = true,
                Some(Err(status)) => {
                    this.over = true;
                    return Poll::Ready(Some(Err(this.connection().error(&status, Some(&this.request_id)))));
                }
                None => {
                    this.over = true;
                    let cause = "the answer ended without its last event".to_owned();
                    let service = this.connection().service();
                    return Poll::Ready(Some(Err(Error::Interrupted { service, cause, request_id: Some(this.request_id.clone()) })));
                }
            }
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("request_id", &self.request_id).field("finished", &self.finished).finish_non_exhaustive()
    }
}

/// All of an answer. `Debug` doesn't show what the model said.
#[derive(Clone, Default, PartialEq)]
pub struct Completion {
    /// The request's id.
    pub request_id: String,
    /// The text. Empty for a replay: see `finished.replayed`.
    pub content: String,
    /// What the model thought, when it shows it.
    pub thinking: String,
    /// The tools that the model asks to be called.
    pub tool_calls: Vec<ToolCall>,
    /// What was held.
    pub started: Started,
    /// Why it ended, what it used, and what it cost.
    pub finished: Finished,
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").field("request_id", &self.request_id).field("finished", &self.finished).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_model_said_is_not_shown() {
        let delta = Event::Delta(Delta { content: "canary".to_owned(), thinking: "canary".to_owned(), ..Delta::default() });
        let completion = Completion { content: "canary".to_owned(), ..Completion::default() };
        assert!(!format!("{delta:?}{completion:?}").contains("canary"));
    }
}
