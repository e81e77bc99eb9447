//! What the fuzz targets call.

use serde_json::Value;

use super::schema_guard::SchemaUse;
use super::{json_text, schema_guard};

/// Checks the schema of a format or of a tool. The error is the place and what must be there.
pub fn schema(text: &str, of_tool: bool) -> Result<(), (String, String)> {
    let schema_use = if of_tool { SchemaUse::Tool } else { SchemaUse::Format };
    schema_guard::check(text, schema_use).map_err(|refused| (refused.path, refused.rule))
}

/// Reads the arguments of a tool call.
pub fn arguments(text: &str) -> Result<Value, String> {
    json_text::object(text, &json_text::ARGUMENTS)
}

/// Checks a picture by its head.
pub fn picture(bytes: &[u8]) -> Result<(), String> {
    super::picture::check(bytes)
}
