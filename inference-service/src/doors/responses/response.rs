//! What `/v1/responses` gives.

use schemars::JsonSchema;
use serde::Serialize;
use shared::doors::Refusal;
use shared::proto::inference as wire;

use super::echo::Echo;
use super::output::OutputItem;

/// An answer, whole or as far as it has come.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ResponseObject<'a> {
    /// `resp_` and the request's id in the ledger.
    pub(super) id: &'a str,
    /// `response`.
    pub(super) object: &'static str,
    /// Seconds since the epoch.
    pub(super) created_at: u64,
    /// Seconds since the epoch; of an answer that is whole.
    pub(super) completed_at: Option<u64>,
    /// in_progress, completed, incomplete or failed.
    pub(super) status: &'static str,
    /// False.
    pub(super) background: bool,
    /// Of an answer that failed.
    pub(super) error: Option<ResponseError<'a>>,
    /// Of an answer that is incomplete.
    pub(super) incomplete_details: Option<IncompleteDetails>,
    /// As requested.
    pub(super) model: &'a str,
    /// What the model thought, said and asks for.
    pub(super) output: &'a [OutputItem],
    /// What it used, and what was charged. Null while it is in progress.
    pub(super) usage: Option<Usage>,
    #[serde(flatten)]
    pub(super) echo: &'a Echo,
}

/// How far an answer has come.
pub(super) enum Progress<'a> {
    Begun,
    Ended(&'a wire::Finished),
    Failed(&'a Refusal),
}

/// What stays the same from an answer's first event to its last.
pub(super) struct Head {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) created_at: u64,
    pub(super) echo: Echo,
}

impl Head {
    pub(super) fn new(started: &wire::Started, echo: Echo) -> Self {
        Self { id: format!("resp_{}", started.request_id), model: started.model.clone(), created_at: now(), echo }
    }

    pub(super) fn response<'a>(&'a self, progress: Progress<'a>, output: &'a [OutputItem]) -> ResponseObject<'a> {
        let mut response = ResponseObject {
            id: &self.id,
            object: "response",
            created_at: self.created_at,
            completed_at: None,
            status: "in_progress",
            background: false,
            error: None,
            incomplete_details: None,
            model: &self.model,
            output,
            usage: None,
            echo: &self.echo,
        };
        match progress {
            Progress::Begun => {}
            Progress::Ended(finished) => {
                response.usage = Some(finished.into());
                if finished.reason() == wire::FinishReason::Length {
                    response.status = "incomplete";
                    response.incomplete_details = Some(IncompleteDetails { reason: "max_output_tokens" });
                } else {
                    response.status = "completed";
                    response.completed_at = Some(now());
                }
            }
            Progress::Failed(refusal) => {
                response.status = "failed";
                response.error = Some(ResponseError { code: refusal.code(), message: &refusal.message });
            }
        }
        response
    }
}

fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map(|elapsed| elapsed.as_secs()).unwrap_or_default()
}

/// Why an answer failed.
#[derive(Serialize, JsonSchema)]
pub(super) struct ResponseError<'a> {
    /// Our reason.
    code: &'static str,
    /// What to do.
    message: &'a str,
}

/// Why an answer is incomplete.
#[derive(Serialize, JsonSchema)]
pub(super) struct IncompleteDetails {
    /// `max_output_tokens`.
    reason: &'static str,
}

/// What an answer used, and what was charged.
#[derive(Serialize, JsonSchema)]
pub(super) struct Usage {
    /// Tokens of the prompt.
    input_tokens: u32,
    input_tokens_details: InputTokensDetails,
    /// Tokens generated, thinking included.
    output_tokens: u32,
    output_tokens_details: OutputTokensDetails,
    total_tokens: u64,
    /// Credits charged. Absent where the charge could not be recorded in time: the ledger has it later.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<i64>,
    /// True where the model server gave no counts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    estimated: bool,
}

/// The model server doesn't tell.
#[derive(Serialize, JsonSchema, Default)]
struct InputTokensDetails {
    cached_tokens: u32,
    cache_write_tokens: u32,
}

/// The model server doesn't tell.
#[derive(Serialize, JsonSchema, Default)]
struct OutputTokensDetails {
    reasoning_tokens: u32,
}

impl From<&wire::Finished> for Usage {
    fn from(finished: &wire::Finished) -> Self {
        let usage = finished.usage.unwrap_or_default();
        let (input_tokens, output_tokens) = (usage.input_tokens.unwrap_or_default(), usage.output_tokens.unwrap_or_default());
        Self {
            input_tokens,
            input_tokens_details: InputTokensDetails::default(),
            output_tokens,
            output_tokens_details: OutputTokensDetails::default(),
            total_tokens: u64::from(input_tokens) + u64::from(output_tokens),
            cost: finished.receipt.as_ref().and_then(|receipt| receipt.charged_credits),
            estimated: usage.estimated,
        }
    }
}
