//! The body of a call over Connect, as the gRPC body that its method reads: one message behind its prefix, in protobuf.
//!
//! It is read within the bounds that a gRPC message has, and by the code that gRPC's and the other doors' bodies are read by.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use prost_reflect::MessageDescriptor;
use tonic::Status;
use tonic::body::Body;

use super::framing::framed;
use super::json;
use crate::doors::plain_body::PlainBody;
use crate::error::CallError;
use crate::message_guard::{BodyRules, GuardedBody, PREFIX_BYTES};
use crate::runtime::work_through;

/// How a request's message came, where it didn't come as gRPC has it: in the extensions of a request, for admission.
#[derive(Debug, Clone)]
pub(crate) struct MessageForm {
    /// Whether the body is the message itself, without a prefix.
    pub(super) is_bare: bool,
    /// The message's type, where it is in JSON.
    pub(super) json: Option<MessageDescriptor>,
}

impl MessageForm {
    /// The body that the method reads, which keeps to these rules.
    pub(crate) fn body(self, inner: Body, rules: BodyRules) -> Body {
        match (self.is_bare, self.json) {
            (false, None) => Body::new(GuardedBody::new(inner, rules)),
            (false, Some(message)) => Body::new(OneMessage::new(async move {
                let gathered = gathered(GuardedBody::new(inner, rules)).await?;
                // The guard has followed the framing: what came is one message behind its prefix.
                in_protobuf(gathered.get(PREFIX_BYTES..).unwrap_or_default(), Some(&message))
            })),
            (true, message) => Body::new(OneMessage::new(async move {
                let read = PlainBody::new(inner, rules).read().await?;
                in_protobuf(&read.bytes, message.as_ref())
            })),
        }
    }
}

/// A message behind its prefix, from its JSON where it is of the type `json`.
fn in_protobuf(message: &[u8], json: Option<&MessageDescriptor>) -> Result<Bytes, Status> {
    let frame = match json {
        None => framed(0, message),
        Some(descriptor) => framed(0, &work_through(message.len(), || json::to_protobuf(descriptor, message))?),
    };
    frame.ok_or_else(|| CallError::internal().into())
}

async fn gathered(mut body: GuardedBody) -> Result<Bytes, Status> {
    let mut gathered = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            gathered.extend_from_slice(&data);
        }
    }
    Ok(gathered.freeze())
}

/// A body of one frame, which is made once it is asked for.
struct OneMessage(Option<Making>);

type Making = Pin<Box<dyn Future<Output = Result<Bytes, Status>> + Send>>;

impl OneMessage {
    fn new(message: impl Future<Output = Result<Bytes, Status>> + Send + 'static) -> Self {
        Self(Some(Box::pin(message)))
    }
}

impl HttpBody for OneMessage {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(message) = &mut self.0 else { return Poll::Ready(None) };
        let made = ready!(message.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(Some(made.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}
