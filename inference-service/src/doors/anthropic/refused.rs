//! What `/v1/messages` doesn't do, and what it takes for nothing.

use crate::doors::other_fields::RefusedField;

/// The fields of Anthropic's API that are refused by name, and why. A field that isn't part of that API is refused as well.
pub const REFUSED: &[RefusedField] = &[
    ("billing_policy", "can't be had: who pays is who the key belongs to"),
    ("compaction", "can't be had: ask the model for a summary, and send it in place of what it summarizes"),
    ("container", "can't be had: no code runs on this server"),
    ("context_management.edits", "must keep all: the conversation goes to the model as it is sent"),
    ("diagnostics", "can't be had: there is no prompt cache to tell about"),
    ("fallback_credit_token", "can't be had: the model that is named answers, or none"),
    ("fallbacks", "can't be had: the model that is named answers, or none"),
    ("inference_geo", "can't be had: the models run where this server's operator has them"),
    ("mcp_servers", "can't be had: this server connects to no MCP server; call its tools yourself, and send them as tools"),
    ("output_format", "is not the field's name any more: send output_config.format"),
    ("speed", "must be standard, or absent: there is one speed"),
    ("thread", "can't be had: no conversation is kept; send all of it as messages"),
    ("user_profile_id", "can't be had: who pays is who the key belongs to"),
    ("max_tokens: 0", "must be 1 or more: no prompt cache is filled ahead"),
    ("messages[].content[].type", "must be a type of block that a model here can read: others need a service of Anthropic's"),
    ("messages[].content[].citations", "can't be had: no model here cites"),
    ("messages[].content[].transformations", "can't be had: pictures go to the model as they are"),
    ("messages[].content[].source.type", "must be base64: this server fetches nothing, and keeps no files"),
    ("output_config.format.type", "must be json_schema"),
    ("output_config.task_budget", "can't be had: max_tokens is the one bound"),
    ("thinking.type", "must be enabled, disabled or adaptive"),
    ("tool_choice.type", "must be auto, none, tool, or any where there is one tool: a model can't be made to choose"),
    ("tools[].type", "must be custom, or absent: tools that Anthropic runs or made for its models are not here"),
    ("tools[].strict: true", "must be false where tool_choice names no tool: arguments are as the model writes them"),
    ("tools[].defer_loading: true", "must be false, or absent: the model is told of every tool"),
    ("tools[].allowed_callers", "must be direct alone, or absent: no code runs on this server"),
    ("tools[].input_examples", "can't be had: put the examples into the description"),
];

/// What is taken and changes no answer.
pub const TAKEN: &[&str] = &[
    "cache_control",
    "messages[].content[].cache_control",
    "messages[].content[].caller",
    "messages[].content[].data",
    "messages[].content[].signature",
    "messages[].content[].source.media_type",
    "metadata",
    "service_tier",
    "thinking.budget_tokens",
    "tools[].cache_control",
    "tools[].eager_input_streaming",
];
