//! A gRPC answer as Connect has it: a message with an HTTP status, or a stream of envelopes of which the last says how it ended.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use prost_reflect::MessageDescriptor;
use tonic::body::Body;
use tonic::{Code, Status};

use super::call::{AnswerForm, Codec, NoCall};
use super::failure::{self, EndOfStream};
use super::framing::{Deframer, END_OF_STREAM, framed};
use super::metadata::Metadata;
use super::{full_body, json};
use crate::error::CallError;
use crate::runtime::work_through;

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const STREAM_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("connect-accept-encoding");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");
/// Shorter ones gain nothing from gzip.
const LEAST_COMPRESSED_BYTES: usize = 1024;

/// The answer over Connect. `output` is the type of its messages.
pub(super) async fn translate(response: Response<Body>, form: AnswerForm, output: &MessageDescriptor) -> Response<Body> {
    let refused = form.refused;
    let mut answer = if form.is_stream { stream(response, form, output) } else { unary(response, form, output).await };
    match refused {
        Some(NoCall::WrongMethod { get_allowed }) => {
            let allowed = if get_allowed { "GET, POST" } else { "POST" };
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        }
        Some(NoCall::WrongType { accepted }) => {
            answer.headers_mut().insert(ACCEPT_POST, HeaderValue::from_static(accepted));
        }
        None => {}
    }
    answer
}

async fn unary(response: Response<Body>, form: AnswerForm, output: &MessageDescriptor) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let mut headers = Metadata::of(&parts.headers).into_headers();
    let (message, status) = match Status::from_header_map(&parts.headers) {
        Some(status) => (None, status),
        None => {
            let read = OneAnswer::read(body).await;
            headers.extend(Metadata::of(&read.trailers).into_trailer_headers());
            (read.message, read.status)
        }
    };
    let told = match (status.code(), message) {
        (Code::Ok, Some(message)) => in_codec(form.codec, output, message).map_err(Status::from),
        (Code::Ok, None) => Err(CallError::internal().into()),
        _ => Err(status),
    };
    let mut answer = match told {
        Ok(message) => whole(message, &form, headers),
        Err(status) => failure::refused(&status, form.refused.map(NoCall::status), &headers),
    };
    answer.headers_mut().insert(ACCEPT_ENCODING, GZIP);
    if form.is_get {
        answer.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
        // What an account has is for its caller alone, and changes by the second.
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    answer
}

fn whole(message: Bytes, form: &AnswerForm, headers: HeaderMap) -> Response<Body> {
    let compressed =
        (form.takes_gzip && message.len() >= LEAST_COMPRESSED_BYTES).then(|| work_through(message.len(), || gzipped(&message)));
    let compressed = compressed.flatten();
    let is_compressed = compressed.is_some();
    let mut answer = Response::new(full_body(compressed.map_or(message, Bytes::from)));
    *answer.headers_mut() = headers;
    let kind = match form.codec {
        Codec::Json => "application/json",
        Codec::Proto => "application/proto",
    };
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if is_compressed {
        answer.headers_mut().insert(CONTENT_ENCODING, GZIP);
    }
    answer
}

/// `None`, where it can't be compressed: then it goes out as it is.
fn gzipped(message: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(message).ok()?;
    encoder.finish().ok()
}

fn in_codec(codec: Codec, output: &MessageDescriptor, message: Bytes) -> Result<Bytes, CallError> {
    match codec {
        Codec::Proto => Ok(message),
        Codec::Json => work_through(message.len(), || json::from_protobuf(output, &message)).map(Bytes::from),
    }
}

/// A gRPC answer of one message.
struct OneAnswer {
    message: Option<Bytes>,
    status: Status,
    trailers: HeaderMap,
}

impl OneAnswer {
    /// A method has made all of its one message when its answer begins.
    async fn read(mut body: Body) -> Self {
        let mut read = Self { message: None, status: Status::ok(""), trailers: HeaderMap::new() };
        let mut deframer = Deframer::default();
        while let Some(frame) = body.frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => deframer.push(&data),
                Ok(Err(frame)) => read.trailers = frame.into_trailers().unwrap_or_default(),
                Err(status) => {
                    read.status = status;
                    return read;
                }
            }
        }
        read.status = Status::from_header_map(&read.trailers).unwrap_or_else(|| CallError::internal().into());
        read.message = deframer.next();
        read
    }
}

fn stream(response: Response<Body>, form: AnswerForm, output: &MessageDescriptor) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let end = Status::from_header_map(&parts.headers).map(|status| EndOfStream::of(&status, &HeaderMap::new()));
    let envelopes = Envelopes {
        inner: body,
        json: (form.codec == Codec::Json).then(|| output.clone()),
        deframer: Deframer::default(),
        end,
        is_over: false,
    };
    let mut answer = Response::new(Body::new(envelopes));
    *answer.headers_mut() = Metadata::of(&parts.headers).into_headers();
    let kind = match form.codec {
        Codec::Json => "application/connect+json",
        Codec::Proto => "application/connect+proto",
    };
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(STREAM_ACCEPT_ENCODING, GZIP);
    answer
}

/// A gRPC body as envelopes. Each piece goes out when it comes.
struct Envelopes {
    inner: Body,
    /// The type of its messages, where they become JSON.
    json: Option<MessageDescriptor>,
    deframer: Deframer,
    /// The end, when it is known.
    end: Option<EndOfStream>,
    is_over: bool,
}

impl Envelopes {
    /// The envelopes of what was read; empty when it holds no whole message.
    fn envelopes(&mut self, data: Bytes) -> Result<Bytes, CallError> {
        // An envelope is what gRPC has, byte by byte.
        let Some(descriptor) = &self.json else { return Ok(data) };
        self.deframer.push(&data);
        let mut envelopes = BytesMut::new();
        while let Some(message) = self.deframer.next() {
            let told = work_through(message.len(), || json::from_protobuf(descriptor, &message))?;
            envelopes.extend_from_slice(&framed(0, &told).ok_or_else(CallError::internal)?);
        }
        Ok(envelopes.freeze())
    }

    fn end_with(&mut self, status: &Status, trailers: &HeaderMap) {
        self.end = Some(EndOfStream::of(status, trailers));
    }
}

impl HttpBody for Envelopes {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        loop {
            if this.is_over {
                return Poll::Ready(None);
            }
            if let Some(end) = this.end.take() {
                this.is_over = true;
                return Poll::Ready(framed(END_OF_STREAM, &end.to_json()).map(|envelope| Ok(Frame::data(envelope))));
            }
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => match this.envelopes(data) {
                    Ok(envelopes) if envelopes.is_empty() => {}
                    Ok(envelopes) => return Poll::Ready(Some(Ok(Frame::data(envelopes)))),
                    Err(error) => this.end_with(&error.into(), &HeaderMap::new()),
                },
                Some(Ok(Err(frame))) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let status = Status::from_header_map(&trailers).unwrap_or_else(|| CallError::internal().into());
                    this.end_with(&status, &trailers);
                }
                Some(Err(status)) => this.end_with(&status, &HeaderMap::new()),
                None => this.end_with(&CallError::internal().into(), &HeaderMap::new()),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}
