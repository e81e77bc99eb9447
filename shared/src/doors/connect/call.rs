//! What a request over Connect asks for: the same call over gRPC, and the form that its answer has.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, ORIGIN, TE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use tonic::Code;
use tonic::body::Body;

use super::contract::RpcMethod;
use super::metadata;
use super::request_body::MessageForm;
use crate::ErrorReason;
use crate::admission::method_unknown;
use crate::error::CallError;
use crate::request_context::EarlyRefusal;

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");
const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");
const STREAM_ENCODING: HeaderName = HeaderName::from_static("connect-content-encoding");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Base64 as URLs have it, with its padding or without.
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// How the caller writes messages, and how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Json,
    Proto,
}

/// How the answer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AnswerForm {
    pub(super) codec: Codec,
    /// Whether it is a stream, in envelopes.
    pub(super) is_stream: bool,
    /// Whether a message may be compressed with gzip.
    pub(super) takes_gzip: bool,
    /// Whether it answers a GET.
    pub(super) is_get: bool,
    /// The HTTP status of a request that is no call.
    pub(super) refused: Option<NoCall>,
}

/// Why a request is no call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoCall {
    /// Another HTTP method.
    WrongMethod {
        /// Whether GET would be right.
        get_allowed: bool,
    },
    /// Another content type.
    WrongType {
        /// Those that are right.
        accepted: &'static str,
    },
}

impl NoCall {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::WrongType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }
}

/// The content types of methods that answer once, and of those that stream.
const UNARY_TYPES: &str = "application/json, application/proto";
const STREAM_TYPES: &str = "application/connect+json, application/connect+proto";

/// The same call over gRPC, and how its answer is told.
///
/// What is wrong before the call's metadata is judged goes along with the request: admission refuses it, so that it leaves the line in the
/// log, the request id and the reason that every refusal has.
pub(super) fn translate(method: &RpcMethod, request: Request<Body>) -> (Request<Body>, AnswerForm) {
    let (mut parts, body) = request.into_parts();
    let mut form = AnswerForm {
        codec: Codec::Json,
        is_stream: false,
        takes_gzip: takes_gzip(&parts.headers),
        is_get: parts.method == Method::GET,
        refused: None,
    };
    let read = read(method, &mut form, &parts);
    metadata::strip_request(&mut parts.headers);
    parts.method = Method::POST;
    // A query has a message of its own kind, and belongs into no log.
    parts.uri = without_query(&parts.uri);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    parts.headers.insert(TE, HeaderValue::from_static("trailers"));
    let body = match read {
        Ok(Call { query_message, gzip, timeout }) => {
            if gzip {
                parts.headers.insert(GRPC_ENCODING, HeaderValue::from_static("gzip"));
            }
            if let Some(timeout) = timeout {
                parts.headers.insert(GRPC_TIMEOUT, timeout);
            }
            let json = (form.codec == Codec::Json).then(|| method.input.clone());
            parts.extensions.insert(MessageForm { is_bare: !form.is_stream, json });
            query_message.map_or(body, |message| Body::new(Full::new(message)))
        }
        Err(refused) => {
            parts.extensions.insert(EarlyRefusal(refused));
            Body::empty()
        }
    };
    (Request::from_parts(parts, body), form)
}

/// A request to a method that isn't here, as admission refuses it.
pub(super) fn unknown(request: Request<Body>) -> Request<Body> {
    let (mut parts, _) = request.into_parts();
    metadata::strip_request(&mut parts.headers);
    parts.extensions.insert(EarlyRefusal(method_unknown(parts.uri.path())));
    Request::from_parts(parts, Body::empty())
}

/// What a request says, beside its message, of the call that it is.
struct Call {
    /// The message of a GET.
    query_message: Option<Bytes>,
    gzip: bool,
    /// As gRPC has it.
    timeout: Option<HeaderValue>,
}

fn read(method: &RpcMethod, form: &mut AnswerForm, parts: &Parts) -> Result<Call, CallError> {
    let headers = &parts.headers;
    match parts.method {
        Method::POST => {
            form.codec = content_type(method, headers).inspect_err(|_| {
                let accepted = if method.gives_many { STREAM_TYPES } else { UNARY_TYPES };
                form.refused = Some(NoCall::WrongType { accepted });
            })?;
            form.is_stream = method.gives_many;
            refuse_other_version(headers.get(PROTOCOL_VERSION).map(HeaderValue::as_bytes), "1", "connect-protocol-version")?;
            let gzip = is_gzip(method, headers)?;
            Ok(Call { query_message: None, gzip, timeout: timeout(headers)? })
        }
        Method::GET if method.only_reads && !method.gives_many => {
            let query = Query::read(parts.uri.query().unwrap_or_default())?;
            form.codec = match query.encoding.as_deref() {
                Some("json") => Codec::Json,
                Some("proto") => Codec::Proto,
                other => {
                    form.refused = other.is_some().then_some(NoCall::WrongType { accepted: UNARY_TYPES });
                    return Err(CallError::invalid_argument(
                        "the query must have encoding=json or encoding=proto, and message: ?encoding=json&message=%7B%7D is {}",
                    ));
                }
            };
            refuse_other_version(query.version.as_deref().map(str::as_bytes), "v1", "connect in the query")?;
            let gzip = match query.compression.as_deref() {
                None | Some("" | "identity") => false,
                Some("gzip") => true,
                Some(_) => return Err(compression_unknown("compression in the query")),
            };
            Ok(Call { query_message: Some(query.message()?), gzip, timeout: timeout(headers)? })
        }
        _ => {
            let get_allowed = method.only_reads && !method.gives_many;
            form.refused = Some(NoCall::WrongMethod { get_allowed });
            let methods = if get_allowed { "GET or POST" } else { "POST" };
            Err(CallError::invalid_argument(format!("call this method with {methods}")))
        }
    }
}

/// How the message is written.
///
/// `curl -d` says `application/x-www-form-urlencoded` unless it is told otherwise, and what it sends so is taken as JSON. That is safe for
/// whoever isn't a browser, and browsers are kept out of it: with this type a page of another origin may send a request without asking
/// first. No credential of ours goes along by itself, as a cookie would, but a place in the network does: on loopback anybody on the host
/// may sign up, and a page that somebody there looks at is on the host, too. Browsers say where such a request comes from, by `Origin` (for
/// each POST) and by `Sec-Fetch-Site` (a header that no page can set or leave out). With either the request is refused, and
/// `application/json`, for which a browser asks first, is required.
fn content_type(method: &RpcMethod, headers: &HeaderMap) -> Result<Codec, CallError> {
    let mut sent = headers.get_all(CONTENT_TYPE).iter();
    let kind = sent.next().and_then(|value| value.to_str().ok()).filter(|_| sent.next().is_none()).unwrap_or_default();
    let (kind, parameters) = kind.split_once(';').unwrap_or((kind, ""));
    let kind = kind.trim().to_ascii_lowercase();
    let from_browser = headers.contains_key(ORIGIN) || headers.contains_key(FETCH_SITE);
    let codec = match (method.gives_many, kind.as_str()) {
        (false, "application/json") | (true, "application/connect+json") => Some(Codec::Json),
        (false, "application/proto") | (true, "application/connect+proto") => Some(Codec::Proto),
        (false, "application/x-www-form-urlencoded") if !from_browser => Some(Codec::Json),
        _ => None,
    };
    let message = match codec {
        Some(codec) if is_utf8(parameters) => return Ok(codec),
        Some(_) => "JSON is taken in UTF-8 only: leave the charset out of content-type".to_owned(),
        None if method.gives_many => format!(
            "this method's answer is a stream: send content-type {}, and the message behind five bytes of its length, as Connect's clients \
             do",
            STREAM_TYPES.replace(", ", " or ")
        ),
        None => "send the header content-type: application/json, and the message in JSON (or application/proto)".to_owned(),
    };
    Err(CallError::invalid_argument(message))
}

/// Whether a content type's parameters name no other charset.
fn is_utf8(parameters: &str) -> bool {
    let charset = |parameter: &str| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    };
    parameters.split(';').filter_map(charset).all(|charset| charset == "utf-8")
}

fn refuse_other_version(sent: Option<&[u8]>, known: &str, name: &str) -> Result<(), CallError> {
    match sent {
        Some(version) if version != known.as_bytes() => Err(CallError::invalid_argument(format!("{name} must be {known}"))),
        _ => Ok(()),
    }
}

/// Whether the message is compressed with gzip.
fn is_gzip(method: &RpcMethod, headers: &HeaderMap) -> Result<bool, CallError> {
    let gzip = |name: HeaderName| {
        let mut sent = headers.get_all(&name).iter();
        match (sent.next().map(HeaderValue::as_bytes), sent.next()) {
            (None | Some(b"" | b"identity"), None) => Ok(false),
            (Some(b"gzip"), None) => Ok(true),
            _ => Err(compression_unknown(name.as_str())),
        }
    };
    if !method.gives_many {
        return gzip(CONTENT_ENCODING);
    }
    // Each message of a stream is compressed by itself, never the whole.
    match gzip(CONTENT_ENCODING)? {
        true => Err(compression_unknown("content-encoding of a stream")),
        false => gzip(STREAM_ENCODING),
    }
}

fn compression_unknown(where_it_said: &str) -> CallError {
    let message = format!("{where_it_said} names a compression that this server can't read; it reads gzip and identity");
    CallError::new(Code::Unimplemented, ErrorReason::CompressionUnknown, message)
}

/// Whether an answer may be compressed with gzip.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    codings.map(|coding| coding.split_once(';').unwrap_or((coding, ""))).any(|(coding, quality)| {
        let is_refused = quality.split_once('=').is_some_and(|(_, quality)| quality.trim().parse() == Ok(0.0));
        coding.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
}

/// The caller's deadline as gRPC has it, which has fewer digits and more units.
fn timeout(headers: &HeaderMap) -> Result<Option<HeaderValue>, CallError> {
    let Some(sent) = headers.get(TIMEOUT) else { return Ok(None) };
    let is_number = |text: &&str| (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let milliseconds: Option<u64> = sent.to_str().ok().filter(is_number).and_then(|digits| digits.parse().ok());
    let malformed = || CallError::invalid_argument("connect-timeout-ms must be 1 to 10 digits");
    let milliseconds = milliseconds.ok_or_else(malformed)?;
    let timeout = if milliseconds < 100_000_000 { format!("{milliseconds}m") } else { format!("{}S", milliseconds / 1000) };
    HeaderValue::try_from(timeout).map(Some).map_err(|_| malformed())
}

fn without_query(uri: &Uri) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(uri.path()).ok();
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

/// A call in a query.
#[derive(Debug, Default)]
struct Query {
    encoding: Option<String>,
    message: Option<String>,
    base64: bool,
    compression: Option<String>,
    version: Option<String>,
}

impl Query {
    /// The first of each name counts; unknown names are passed over.
    fn read(query: &str) -> Result<Self, CallError> {
        let mut read = Self::default();
        for (name, value) in query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
            let field = match name {
                "encoding" => &mut read.encoding,
                "message" => &mut read.message,
                "compression" => &mut read.compression,
                "connect" => &mut read.version,
                "base64" => {
                    read.base64 |= value == "1";
                    continue;
                }
                _ => continue,
            };
            if field.is_none() {
                *field = Some(decoded(name, value)?);
            }
        }
        Ok(read)
    }

    fn message(self) -> Result<Bytes, CallError> {
        let message = self.message.ok_or_else(|| CallError::invalid_argument("the query must have message=, which may be empty"))?;
        if !self.base64 {
            return Ok(message.into());
        }
        let decoded = BASE64_URL.decode(message);
        Ok(decoded.map_err(|_| CallError::message_malformed("message in the query must be base64 as URLs have it"))?.into())
    }
}

/// A value of a query. Bytes that are no text would come out as others.
fn decoded(name: &str, value: &str) -> Result<String, CallError> {
    let spaced = value.replace('+', " ");
    let text = percent_decode_str(&spaced).decode_utf8();
    let malformed = |_| CallError::message_malformed(format!("{name} in the query is no UTF-8; send bytes as base64, with base64=1"));
    Ok(text.map_err(malformed)?.into_owned())
}

#[cfg(test)]
mod tests;
