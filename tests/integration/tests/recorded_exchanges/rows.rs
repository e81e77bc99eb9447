//! What each recorded exchange must become.

use shared::ErrorReason as Reason;
use shared::proto::inference::FinishReason;
use tonic::Code;

/// What becomes of the recorded request when it is made through our contract.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Replay {
    /// It goes upstream as it was recorded.
    AsRecorded,
    /// Tollgate refuses it before anything goes upstream, free of charge, with a sentence that has this in it.
    Refused(Code, Reason, &'static str),
    /// Our contract can't say it; or only its beginning was recorded.
    Unsayable,
    /// No method of ours leads there, for this reason.
    Never(&'static str),
}

/// What a caller gets when upstream answers as recorded: to the recorded request, or to a plain one where that doesn't go upstream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Becomes {
    /// All of the answer, and its counts: of the prompt, and generated. Charged by them.
    Answer(FinishReason, u32, u32),
    /// What there was, then a failure. Charged by estimate when there was anything, else free.
    BreaksOff(Code, Reason),
    /// So many deltas, and then the caller goes. Charged by estimate.
    Left(usize),
    /// A failure, free of charge.
    Fails(Code, Reason),
    /// So many vectors, and the prompt's tokens. Charged by them.
    Embeds(usize, u32),
    /// So many models.
    Models(usize),
    /// These capabilities.
    Facts(&'static [&'static str]),
    /// So many steps, the last one `success`.
    Made(usize),
    /// So many steps, and then a failure.
    MakingFails(usize, Code, Reason),
    /// An empty answer.
    Deleted,
    /// It is not met.
    Nothing,
}

/// A row of a table.
pub(crate) type Row = (&'static str, (Replay, Becomes));

use Becomes::{Answer as Answers, BreaksOff, Deleted, Embeds, Facts, Fails, Left, Made, MakingFails, Models, Nothing};
use FinishReason::{Length, Stop, ToolCalls};
use Replay::{AsRecorded, Never, Refused, Unsayable};

const fn invalid(says: &'static str) -> Replay {
    Refused(Code::InvalidArgument, Reason::InvalidArgument, says)
}
const fn incapable(says: &'static str) -> Replay {
    Refused(Code::FailedPrecondition, Reason::ModelIncapable, says)
}
const REJECTED: Becomes = Fails(Code::InvalidArgument, Reason::UpstreamRejected);
/// By the list of models, without a call for it.
const MISSING: Replay = Refused(Code::NotFound, Reason::ModelNotFound, "no such model");
const NOT_FOUND: Becomes = Fails(Code::NotFound, Reason::ModelNotFound);
/// The runner of 0.32 was started without embeddings.
const BROKEN: Becomes = Fails(Code::FailedPrecondition, Reason::ModelBroken);
const INCAPABLE: Becomes = Fails(Code::FailedPrecondition, Reason::ModelIncapable);
const UNAVAILABLE: Becomes = Fails(Code::Unavailable, Reason::UpstreamUnavailable);
const BROKEN_OFF: Becomes = BreaksOff(Code::Unavailable, Reason::UpstreamUnavailable);
const PROTOCOL: Becomes = BreaksOff(Code::Internal, Reason::UpstreamProtocol);

const NO_BLOBS: Replay = Never("blobs are not pushed yet");
const NO_COPY: Replay = Never("models are not copied yet");
const NO_PULL: Replay = Never("models are not pulled yet");
const NO_CALL: Replay = Never("the engine never calls this");

/// One row for each file of either release.
pub(crate) const ROWS: &[Row] = &[
    ("blob-head-bad-digest", (NO_BLOBS, Nothing)),
    ("blob-head-missing", (NO_BLOBS, Nothing)),
    ("blob-head-there", (NO_BLOBS, Nothing)),
    ("blob-push", (NO_BLOBS, Nothing)),
    ("blob-push-wrong-digest", (NO_BLOBS, Nothing)),
    ("chat-after-delete", (AsRecorded, NOT_FOUND)),
    ("chat-after-runner-killed", (AsRecorded, Answers(Length, 14, 3))),
    ("chat-bad-json", (Unsayable, REJECTED)),
    ("chat-client-stops-after-3", (AsRecorded, Left(3))),
    ("chat-cloud-model", (Refused(Code::PermissionDenied, Reason::CloudModelNotAllowed, "not allowed"), UNAVAILABLE)),
    ("chat-cold", (AsRecorded, Answers(Length, 14, 6))),
    ("chat-context-fills-while-generating", (AsRecorded, Answers(Length, 18, 160))),
    ("chat-empty-body", (Unsayable, REJECTED)),
    ("chat-empty-content", (AsRecorded, Answers(Length, 9, 4))),
    ("chat-empty-messages-loads", (invalid("messages"), PROTOCOL)),
    ("chat-empty-messages-unloads", (invalid("messages"), PROTOCOL)),
    ("chat-field-unknown", (Unsayable, Answers(Length, 10, 2))),
    ("chat-format-bad-schema", (AsRecorded, REJECTED)),
    ("chat-format-bad-word", (invalid("format.json_schema"), REJECTED)),
    ("chat-format-json", (AsRecorded, Answers(Length, 17, 40))),
    ("chat-format-schema", (AsRecorded, Answers(Stop, 15, 11))),
    ("chat-history-and-system", (AsRecorded, Answers(Length, 42, 8))),
    ("chat-images-not-base64", (Unsayable, REJECTED)),
    ("chat-images-unsupported", (incapable("vision"), Answers(Length, 17, 2))),
    ("chat-keep-alive-bad", (Unsayable, REJECTED)),
    ("chat-keep-alive-seconds", (AsRecorded, Answers(Length, 14, 2))),
    ("chat-logprobs", (AsRecorded, Answers(Length, 14, 3))),
    ("chat-long-prompt-truncate-false", (Unsayable, Fails(Code::InvalidArgument, Reason::InvalidArgument))),
    ("chat-long-prompt-truncated", (Unsayable, Answers(Length, 256, 3))),
    ("chat-mario", (AsRecorded, Answers(Length, 55, 10))),
    ("chat-model-bad-name", (invalid("model"), REJECTED)),
    ("chat-model-empty", (invalid("model is required"), REJECTED)),
    ("chat-model-missing", (MISSING, NOT_FOUND)),
    ("chat-no-messages-field", (invalid("messages"), PROTOCOL)),
    ("chat-num-predict-0", (invalid("max_output_tokens"), Answers(Stop, 17, 24))),
    ("chat-num-predict-1", (AsRecorded, Answers(Length, 17, 1))),
    ("chat-num-predict-minus-1", (Unsayable, Answers(Stop, 17, 24))),
    ("chat-num-predict-minus-2", (Unsayable, Answers(Stop, 17, 24))),
    ("chat-one-reply", (AsRecorded, Answers(Stop, 14, 10))),
    ("chat-option-unknown", (Unsayable, Answers(Length, 10, 2))),
    ("chat-option-wrong-type", (Unsayable, REJECTED)),
    ("chat-queue-full", (AsRecorded, Fails(Code::Unavailable, Reason::UpstreamBusy))),
    ("chat-repeats-itself", (AsRecorded, BROKEN_OFF)),
    ("chat-role-missing", (invalid("messages[0].role"), Answers(Length, 9, 4))),
    ("chat-role-unknown", (invalid("messages[0].role"), Answers(Length, 11, 4))),
    ("chat-runner-killed-at-3", (AsRecorded, BROKEN_OFF)),
    ("chat-server-killed-at-3", (AsRecorded, BROKEN_OFF)),
    ("chat-shift-false", (Unsayable, Answers(Length, 18, 47))),
    ("chat-stop-reason-stop", (AsRecorded, Answers(Length, 17, 64))),
    ("chat-stop-sequence", (AsRecorded, Answers(Length, 17, 40))),
    ("chat-stream", (AsRecorded, Answers(Stop, 14, 10))),
    ("chat-think-bad", (invalid("think"), REJECTED)),
    ("chat-think-false", (AsRecorded, Answers(Length, 14, 2))),
    ("chat-think-level-unsupported", (incapable("thinking"), INCAPABLE)),
    ("chat-think-unsupported", (incapable("thinking"), INCAPABLE)),
    ("chat-thinking", (AsRecorded, Answers(Length, 20, 24))),
    ("chat-thinking-deltas", (AsRecorded, Answers(Length, 17, 8))),
    ("chat-thinking-deltas-with-format", (AsRecorded, Answers(Length, 17, 8))),
    ("chat-thinking-not-asked", (AsRecorded, Answers(Length, 17, 8))),
    ("chat-tool-call", (AsRecorded, Answers(ToolCalls, 71, 28))),
    ("chat-tool-call-one-reply", (AsRecorded, Answers(ToolCalls, 71, 28))),
    ("chat-tool-result", (AsRecorded, Answers(Length, 104, 10))),
    ("chat-tools", (AsRecorded, Answers(Length, 91, 48))),
    ("chat-tools-unsupported", (incapable("tools"), INCAPABLE)),
    ("chat-top-logprobs", (AsRecorded, Answers(Length, 14, 2))),
    ("chat-top-logprobs-21", (invalid("top_logprobs"), REJECTED)),
    ("chat-top-logprobs-without-logprobs", (AsRecorded, Answers(Length, 14, 2))),
    ("chat-unicode", (AsRecorded, Answers(Length, 21, 16))),
    ("chat-weights-gone", (AsRecorded, Fails(Code::FailedPrecondition, Reason::ModelBroken))),
    ("chat-wrong-type", (Unsayable, REJECTED)),
    ("copy", (NO_COPY, Nothing)),
    ("copy-missing", (NO_COPY, Nothing)),
    ("create-bad-name", (invalid("model"), REJECTED)),
    ("create-bad-parameter", (invalid("line 2"), Made(5))),
    ("create-bad-parameter-type", (invalid("line 2"), Made(5))),
    ("create-bad-role", (invalid("line 2"), Made(6))),
    ("create-bad-template", (AsRecorded, Fails(Code::InvalidArgument, Reason::InvalidArgument))),
    ("create-blob-missing", (Unsayable, MakingFails(1, Code::Unavailable, Reason::UpstreamUnavailable))),
    ("create-from-bad-gguf", (Unsayable, MakingFails(1, Code::Unavailable, Reason::UpstreamUnavailable))),
    ("create-from-missing", (invalid("line 1"), MakingFails(1, Code::Unavailable, Reason::UpstreamUnavailable))),
    ("create-from-truncated-gguf", (Unsayable, MakingFails(1, Code::Unavailable, Reason::UpstreamUnavailable))),
    ("create-mario", (AsRecorded, Made(7))),
    ("create-nothing", (invalid("FROM"), REJECTED)),
    ("create-one-reply", (AsRecorded, Made(1))),
    ("create-quantize-already", (Unsayable, UNAVAILABLE)),
    ("create-thinking-template", (AsRecorded, Made(5))),
    ("create-thinks-at-once", (AsRecorded, Made(5))),
    ("create-tools-template", (AsRecorded, Made(5))),
    ("delete", (AsRecorded, Deleted)),
    ("delete-missing", (AsRecorded, NOT_FOUND)),
    ("delete-while-loaded", (AsRecorded, Deleted)),
    ("embed-batch", (AsRecorded, Embeds(2, 2))),
    ("embed-empty", (invalid("inputs"), Fails(Code::Internal, Reason::UpstreamProtocol))),
    ("embed-model-missing", (MISSING, NOT_FOUND)),
    ("embed-none", (invalid("inputs"), Fails(Code::Internal, Reason::UpstreamProtocol))),
    ("embed-one", (AsRecorded, Embeds(1, 1))),
    ("embed-too-long-truncate-false", (Unsayable, Fails(Code::InvalidArgument, Reason::InvalidArgument))),
    ("embed-wrong-type", (Unsayable, REJECTED)),
    ("generate-bad-template", (Unsayable, REJECTED)),
    ("generate-empty-prompt-loads", (invalid("prompt is required"), PROTOCOL)),
    ("generate-empty-prompt-unloads", (invalid("prompt is required"), PROTOCOL)),
    ("generate-model-missing", (MISSING, NOT_FOUND)),
    ("generate-one-reply", (AsRecorded, Answers(Length, 15, 6))),
    ("generate-raw", (AsRecorded, Answers(Length, 4, 6))),
    ("generate-raw-with-system", (invalid("system"), REJECTED)),
    ("generate-stream", (AsRecorded, Answers(Length, 15, 6))),
    ("generate-suffix-unsupported", (incapable("insert"), INCAPABLE)),
    ("generate-system", (AsRecorded, Answers(Length, 23, 6))),
    ("get-on-chat", (Unsayable, PROTOCOL)),
    ("host-foreign", (AsRecorded, UNAVAILABLE)),
    ("no-such-path", (NO_CALL, Nothing)),
    ("origin-foreign", (AsRecorded, UNAVAILABLE)),
    ("ps-loaded", (NO_CALL, Nothing)),
    ("ps-nothing-loaded", (NO_CALL, Nothing)),
    ("pull-bad-name", (NO_PULL, Nothing)),
    ("pull-without-network", (NO_PULL, Nothing)),
    ("root", (NO_CALL, Nothing)),
    ("root-head", (NO_CALL, Nothing)),
    ("show", (AsRecorded, Facts(&["completion"]))),
    ("show-empty", (invalid("model is required"), REJECTED)),
    ("show-mario", (AsRecorded, Facts(&["completion"]))),
    ("show-missing", (AsRecorded, NOT_FOUND)),
    ("show-tools", (AsRecorded, Facts(&["completion", "tools"]))),
    ("tags", (AsRecorded, Models(1))),
    ("tags-with-mario", (AsRecorded, Models(3))),
    ("version", (Never("only the start asks for it, when no engine is named"), Nothing)),
];

/// The same questions, where 0.32 answers differently.
pub(crate) const ROWS_0_32: &[Row] = &[
    ("chat-history-and-system", (AsRecorded, Answers(Stop, 42, 6))),
    ("chat-images-unsupported", (incapable("vision"), INCAPABLE)),
    ("chat-long-prompt-truncated", (Unsayable, Answers(Length, 130, 3))),
    ("chat-num-predict-0", (invalid("max_output_tokens"), Answers(Stop, 17, 9))),
    ("chat-num-predict-minus-1", (Unsayable, Answers(Stop, 17, 9))),
    ("chat-num-predict-minus-2", (Unsayable, Answers(Stop, 17, 9))),
    ("chat-one-reply", (AsRecorded, Answers(Length, 14, 12))),
    ("chat-shift-false", (Unsayable, Answers(Length, 18, 160))),
    ("chat-stop-reason-stop", (AsRecorded, Answers(Stop, 17, 10))),
    ("chat-stream", (AsRecorded, Answers(Length, 14, 12))),
    ("chat-tool-call", (AsRecorded, Answers(ToolCalls, 71, 18))),
    ("chat-tool-call-one-reply", (AsRecorded, Answers(ToolCalls, 71, 18))),
    ("embed-batch", (AsRecorded, BROKEN)),
    ("embed-one", (AsRecorded, BROKEN)),
];
