//! What `/v1/responses` doesn't do, and what it takes for nothing.

use crate::doors::other_fields::RefusedField;

/// The fields of OpenAI's Responses API that are refused by name, and why. A field that isn't part of that API is refused as well.
pub const REFUSED: &[RefusedField] = &[
    ("access_programs", "can't be had: there are none"),
    ("background: true", "must be false, or absent: an answer is given to who waits for it"),
    ("background_options", "can't be had: an answer is given to who waits for it"),
    ("context_management", "can't be had: the conversation goes to the model as it is sent"),
    ("conversation", "can't be had: nothing is stored; send the conversation as input"),
    ("image", "can't be had: pictures go to the model as they are"),
    ("include", "must be message.output_text.logprobs or reasoning.encrypted_content: the others belong to tools that OpenAI runs"),
    ("moderation", "can't be had: nothing is moderated"),
    ("previous_response_id", "can't be had: nothing is stored; send the conversation as input"),
    ("prompt", "can't be had: no prompts are stored; send the text as instructions and input"),
    ("store: true", "must be false, or absent: nothing is stored"),
    (
        "input[].type",
        "must be message, function_call, function_call_output or reasoning: others are stored (send the items themselves, as SDKs do with \
         store: false), or belong to tools that OpenAI runs",
    ),
    ("input[].async", "can't be had: a call's output comes after the call"),
    ("input[].caller", "can't be had: no code runs on this server"),
    ("input[].namespace", "can't be had: tools are functions alone"),
    ("input[].content[].type", "must be a type of text, or input_image: a model here reads nothing else"),
    ("input[].content[].file_id", "can't be had: no files are stored; send the picture as a data URL in image_url"),
    ("reasoning.context", "can't be had: the model reads the reasoning that is in input"),
    ("reasoning.mode", "can't be had: effort is the one measure"),
    ("text.verbosity", "must be medium, or absent: ask for a short or a long answer in words"),
    ("text.format.type", "must be text, json_object or json_schema"),
    ("tool_choice", "must be auto, none, a function among tools, or required where there is one: a model can't be made to choose"),
    ("tools[].type", "must be function: tools that OpenAI runs are not here"),
    ("tools[].async", "can't be had: a call's output comes after the call"),
    ("tools[].output_schema", "can't be had: the model isn't told of it"),
    ("tools[].defer_loading: true", "must be false, or absent: the model is told of every tool"),
    ("tools[].allowed_callers", "must be direct alone, or absent: no code runs on this server"),
];

/// What is taken and changes no answer; some of it comes back with the answer.
pub const TAKEN: &[&str] = &[
    "input[].content[].annotations",
    "input[].content[].detail",
    "input[].content[].logprobs",
    "input[].content[].prompt_cache_breakpoint",
    "input[].encrypted_content",
    "input[].id",
    "input[].phase",
    "input[].status",
    "max_tool_calls",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning.generate_summary",
    "reasoning.summary",
    "safety_identifier",
    "service_tier",
    "stream_options.include_obfuscation",
    "text.format.description",
    "text.format.name",
    "text.format.strict",
    "tools[].strict",
    "user",
];
