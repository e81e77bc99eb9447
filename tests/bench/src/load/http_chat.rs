//! A chat over HTTP: what the OpenAI SDKs send, and a reader of what comes back.

use std::borrow::Cow;

use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::json;
use shared::credential_form::to_bearer;

/// A chat that is asked for over HTTP.
#[derive(Debug)]
pub(super) struct HttpChat<'a> {
    pub(super) url: &'a str,
    pub(super) credential: &'a str,
    pub(super) model: &'a str,
    pub(super) tokens: u32,
    /// Whether the answer comes at once when it is done.
    pub(super) whole: bool,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
    usage: Option<Usage>,
}

/// Of a chunk it has a delta, of a whole answer a message.
#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, alias = "message")]
    delta: Message<'a>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Usage {
    completion_tokens: u32,
    cost: i64,
}

impl HttpChat<'_> {
    /// Reads an answer to its end, which has a receipt. `token` is called for each token of a stream, and for each of a whole answer once
    /// that is there.
    pub(super) async fn read(&self, http: &reqwest::Client, mut token: impl FnMut()) {
        let mut body = json!({
            "model": self.model, "messages": [{ "role": "user", "content": "hi" }], "max_tokens": self.tokens, "stream": !self.whole,
        });
        if !self.whole {
            body["stream_options"] = json!({ "include_usage": true });
        }
        let request = http.post(format!("{}/v1/chat/completions", self.url)).header("authorization", to_bearer(self.credential));
        let answer = request.header("content-type", "application/json").body(body.to_string()).send().await;
        let answer = answer.expect("inference-service answers");
        let status = answer.status();
        if self.whole || !status.is_success() {
            let text = answer.bytes().await.expect("a body");
            assert!(status.is_success(), "a chat was refused: {status} {}", String::from_utf8_lossy(&text));
            let answer: Answer<'_> = serde_json::from_slice(&text).expect("an answer in JSON");
            assert!(answer.choices.iter().any(|choice| choice.delta.content.is_some()), "an answer has a text");
            (0..self.paid(answer.usage)).for_each(|_| token());
            return;
        }
        let (mut pieces, mut partial, mut usage): (_, Vec<u8>, _) = (answer.bytes_stream(), Vec::new(), None);
        let mut said = |line: &[u8]| {
            let Some(data) = line.strip_prefix(b"data: ").filter(|data| data.starts_with(b"{")) else { return };
            let chunk: Answer<'_> = serde_json::from_slice(data).expect("a chunk in JSON");
            if chunk.choices.iter().any(|choice| choice.delta.content.as_ref().is_some_and(|content| !content.is_empty())) {
                token();
            }
            usage = chunk.usage.or(usage.take());
        };
        while let Some(piece) = pieces.next().await {
            let piece = piece.expect("an answer doesn't break off");
            let mut rest = &piece[..];
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                partial.extend_from_slice(&rest[..end]);
                said(&partial);
                partial.clear();
                rest = &rest[end + 1..];
            }
            partial.extend_from_slice(rest);
        }
        self.paid(usage);
    }

    /// The tokens of an answer that was paid for.
    fn paid(&self, usage: Option<Usage>) -> u32 {
        let usage = usage.expect("an answer ends with its usage");
        assert_eq!((usage.cost, usage.completion_tokens), (1, self.tokens), "an answer is as long as asked for, and costs a credit");
        usage.completion_tokens
    }
}
