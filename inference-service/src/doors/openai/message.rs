//! The messages of a conversation: OpenAI's, and what the contract makes of them.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Deserialize;
use shared::proto::inference as wire;

use super::chat_request::REFUSED;
use super::data_url::picture_bytes;
use super::refused::{refuse, refuse_given};
use super::string_or::{StringOr, Unread};
use crate::doors::field_names::Origin;
use crate::prompt::Violations;

/// One turn of a conversation. Fields of all roles are in it: which belong to which role, the prompt's own checks say.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChatMessage {
    /// system, developer, user, assistant or tool.
    role: String,
    /// A text, or parts.
    content: Option<StringOr<Vec<ContentPart>>>,
    /// What an assistant's turn asked to be called.
    tool_calls: Option<Vec<MessageToolCall>>,
    /// Which call's result this is, of a tool's turn.
    tool_call_id: Option<String>,
    /// Of a tool's turn: the tool's name.
    name: Option<String>,
    /// What the model thought, in Ollama's word.
    reasoning: Option<String>,
    /// The same, in the word of other servers.
    reasoning_content: Option<String>,
    /// What the model said when it refused: text like any other.
    refusal: Option<String>,
    /// Of an earlier answer. Taken, and not read.
    #[expect(dead_code, reason = "an answer that is sent back may have it")]
    annotations: Option<Unread>,
    /// Refused.
    audio: Option<Unread>,
    /// Refused.
    function_call: Option<Unread>,
}

/// A part of a message's content.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ContentPart {
    /// text, image_url or refusal.
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    image_url: Option<StringOr<ImageUrl>>,
    refusal: Option<String>,
    /// Refused.
    input_audio: Option<Unread>,
    /// Refused.
    file: Option<Unread>,
    /// Taken, and changes no answer.
    #[expect(dead_code, reason = "what is cached changes no answer")]
    prompt_cache_breakpoint: Option<Unread>,
}

/// Where a picture is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImageUrl {
    /// A data URL.
    url: String,
    /// Taken, and not read: the model sees the picture as it is.
    #[expect(dead_code, reason = "the model server has no such setting")]
    detail: Option<String>,
}

/// A call that an earlier answer asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageToolCall {
    id: Option<String>,
    /// function.
    #[serde(rename = "type")]
    kind: Option<String>,
    function: Option<FunctionCall>,
    /// Refused.
    custom: Option<Unread>,
    /// Taken, and not read.
    #[expect(dead_code, reason = "streams number their calls; their order says it")]
    index: Option<u32>,
}

/// Which function, with what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FunctionCall {
    name: String,
    /// A JSON object, as text.
    arguments: String,
}

/// A conversation as the contract has it, one message for each that was sent.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) messages: Vec<wire::Message>,
    pub(super) pictures: PicturePlaces,
}

/// Which part of which message each picture was: the contract numbers a message's pictures, and OpenAI its parts.
#[derive(Debug, Default)]
pub(super) struct PicturePlaces {
    /// A message's number, and its part's.
    places: Vec<(usize, usize)>,
    messages: usize,
}

impl PicturePlaces {
    /// Where each message came from: one was made of each.
    pub(super) fn origins(&self) -> Vec<Origin> {
        let mut origins: Vec<Origin> = (0..self.messages).map(|index| Origin { message: Some(index), ..Origin::default() }).collect();
        for (index, part) in &self.places {
            if let Some(origin) = origins.get_mut(*index) {
                origin.images.push(format!("messages[{index}].content[{part}].image_url.url"));
            }
        }
        origins
    }
}

impl Conversation {
    /// Reads the messages, and notes what is wrong with them.
    pub(super) fn read(sent: Vec<ChatMessage>, wrong: &mut Violations) -> Self {
        let mut conversation = Self::default();
        conversation.pictures.messages = sent.len();
        // A tool's result names its call. Templates want the tool's name, which only the call has.
        let mut called: HashMap<String, String> = HashMap::new();
        for (index, message) in sent.into_iter().enumerate() {
            let message = conversation.message(index, message, &called, wrong);
            let calls = message.tool_calls.iter().filter(|call| !call.id.is_empty());
            called.extend(calls.map(|call| (call.id.clone(), call.name.clone())));
            conversation.messages.push(message);
        }
        conversation
    }

    fn message(&mut self, index: usize, sent: ChatMessage, called: &HashMap<String, String>, wrong: &mut Violations) -> wire::Message {
        let field = format!("messages[{index}]");
        // `developer` is what newer models of OpenAI call the same instructions.
        let role = if sent.role == "developer" { "system".to_owned() } else { sent.role };
        let is_tool = role == "tool";
        refuse_given(
            REFUSED,
            &[
                (&format!("{field}.audio"), sent.audio.is_some()),
                (&format!("{field}.function_call"), sent.function_call.is_some()),
                (&format!("{field}.name"), !is_tool && sent.name.as_ref().is_some_and(|name| !name.is_empty())),
            ],
            wrong,
        );
        let mut message = wire::Message { role, ..wire::Message::default() };
        let calls = sent.tool_calls.unwrap_or_default().into_iter().enumerate();
        message.tool_calls = calls.filter_map(|(number, call)| tool_call(&format!("{field}.tool_calls[{number}]"), call, wrong)).collect();
        message.thinking = sent.reasoning.filter(|text| !text.is_empty()).or(sent.reasoning_content).unwrap_or_default();
        let says_nothing = message.tool_calls.is_empty() && message.thinking.is_empty() && sent.refusal.is_none();
        match sent.content {
            Some(StringOr::String(text)) => message.content = text,
            Some(StringOr::Other(parts)) => self.parts(index, parts, &mut message, wrong),
            None if says_nothing => wrong.add(format!("{field}.content"), "is required"),
            None => {}
        }
        add_text(&mut message.content, &sent.refusal.unwrap_or_default());
        message.tool_call_id = sent.tool_call_id.unwrap_or_default();
        if is_tool {
            if message.tool_call_id.is_empty() {
                wrong.add(format!("{field}.tool_call_id"), "is required of a tool's message");
            }
            let name = sent.name.filter(|name| !name.is_empty());
            message.tool_name = name.or_else(|| called.get(&message.tool_call_id).cloned()).unwrap_or_default();
        }
        message
    }

    /// Puts a message's parts together: texts with a line's end between them.
    fn parts(&mut self, index: usize, parts: Vec<ContentPart>, message: &mut wire::Message, wrong: &mut Violations) {
        for (number, part) in parts.into_iter().enumerate() {
            let field = format!("messages[{index}].content[{number}]");
            part.refuse_strays(&field, wrong);
            let text = match part.kind.as_str() {
                "text" => part.text.or_else(|| missing(&field, "text", wrong)),
                "refusal" => part.refusal.or_else(|| missing(&field, "refusal", wrong)),
                "image_url" => {
                    let url = match part.image_url {
                        Some(StringOr::String(url)) => Some(url),
                        Some(StringOr::Other(image)) => Some(image.url),
                        None => missing(&field, "image_url", wrong),
                    };
                    let picture = url.and_then(|url| wrong.take(&format!("{field}.image_url.url"), picture_bytes(&url)));
                    // A place is kept for each that is wrong as well, so that the numbers of the others are right.
                    self.pictures.places.push((index, number));
                    message.images.push(picture.unwrap_or_default());
                    None
                }
                "input_audio" | "file" => None,
                _ => {
                    wrong.add(format!("{field}.type"), "must be text, image_url or refusal");
                    None
                }
            };
            add_text(&mut message.content, &text.unwrap_or_default());
        }
    }
}

impl ContentPart {
    /// Notes what isn't taken, and what belongs to a part of another type.
    fn refuse_strays(&self, field: &str, wrong: &mut Violations) {
        refuse_given(
            REFUSED,
            &[
                (&format!("{field}.input_audio"), self.input_audio.is_some() || self.kind == "input_audio"),
                (&format!("{field}.file"), self.file.is_some() || self.kind == "file"),
            ],
            wrong,
        );
        let given = [("text", self.text.is_some()), ("image_url", self.image_url.is_some()), ("refusal", self.refusal.is_some())];
        for (name, _) in given.into_iter().filter(|(name, is_given)| *is_given && *name != self.kind) {
            wrong.add(format!("{field}.{name}"), format!("belongs to a part of type {name}"));
        }
    }
}

/// Adds a text as a line of its own.
fn add_text(content: &mut String, text: &str) {
    if !content.is_empty() && !text.is_empty() {
        content.push('\n');
    }
    content.push_str(text);
}

fn missing(field: &str, name: &str, wrong: &mut Violations) -> Option<String> {
    wrong.add(format!("{field}.{name}"), "is required");
    None
}

fn tool_call(field: &str, sent: MessageToolCall, wrong: &mut Violations) -> Option<wire::ToolCall> {
    if sent.custom.is_some() || sent.kind.is_some_and(|kind| kind != "function") {
        refuse(REFUSED, &format!("{field}.type"), wrong);
        return None;
    }
    let Some(function) = sent.function else {
        wrong.add(format!("{field}.function"), "is required");
        return None;
    };
    Some(wire::ToolCall { id: sent.id.unwrap_or_default(), name: function.name, arguments_json: function.arguments })
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::error::violations_of;
    use tonic::Status;

    fn read(json: &str) -> (Vec<wire::Message>, Vec<String>) {
        let mut wrong = Violations::default();
        let conversation = Conversation::read(serde_json::from_str(json).unwrap(), &mut wrong);
        let fields = if wrong.is_empty() { Vec::new() } else { violations_of(&Status::from(wrong.refuse())) };
        (conversation.messages, fields.into_iter().map(|(field, why)| format!("{field} {why}")).collect())
    }

    fn read_well(json: &str) -> Vec<wire::Message> {
        let (messages, wrong) = read(json);
        assert_eq!(wrong, Vec::<String>::new(), "{json}");
        messages
    }

    #[test]
    fn developer_is_system_and_parts_of_text_are_lines() {
        let messages = read_well(
            r#"[{"role":"developer","content":"Be brief."},
                {"role":"user","content":[{"type":"text","text":"one"},{"type":"text","text":"two"}]}]"#,
        );
        assert_eq!((messages[0].role.as_str(), messages[0].content.as_str()), ("system", "Be brief."));
        assert_eq!((messages[1].role.as_str(), messages[1].content.as_str()), ("user", "one\ntwo"));
    }

    #[test]
    fn an_answer_that_is_sent_back_as_it_came_is_taken() {
        let messages = read_well(
            r#"[{"role":"assistant","content":null,"refusal":null,"annotations":[],"audio":null,"function_call":null,
                 "reasoning":"hm","reasoning_content":"hm",
                 "tool_calls":[
                    {"index":0,"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\": \"Rome\"}"}}]},
                {"role":"tool","tool_call_id":"call_1","content":"sunny"}]"#,
        );
        assert_eq!(messages[0].thinking, "hm");
        let call = wire::ToolCall { id: "call_1".into(), name: "weather".into(), arguments_json: r#"{"city": "Rome"}"#.into() };
        assert_eq!(messages[0].tool_calls, [call]);
        assert_eq!((messages[1].tool_call_id.as_str(), messages[1].tool_name.as_str()), ("call_1", "weather"));
    }

    #[test]
    fn a_tools_result_has_the_name_of_the_last_call_with_its_id_or_its_own() {
        let call = |name: &str| {
            format!(
                r#"{{"role":"assistant","tool_calls":[{{"id":"c","type":"function","function":{{"name":"{name}","arguments":"{{}}"}}}}]}}"#
            )
        };
        let result = r#"{"role":"tool","tool_call_id":"c","content":"x"}"#;
        let messages = read_well(&format!("[{},{result},{},{result}]", call("first"), call("second")));
        assert_eq!((messages[1].tool_name.as_str(), messages[3].tool_name.as_str()), ("first", "second"));
        let named = read_well(r#"[{"role":"tool","tool_call_id":"c","name":"own","content":"x"}]"#);
        assert_eq!(named[0].tool_name, "own");
    }

    #[test]
    fn a_refusal_in_the_history_is_what_the_assistant_said() {
        let messages =
            read_well(r#"[{"role":"assistant","refusal":"I can't."},{"role":"assistant","content":[{"type":"refusal","refusal":"No."}]}]"#);
        assert_eq!((messages[0].content.as_str(), messages[1].content.as_str()), ("I can't.", "No."));
    }

    #[test]
    fn pictures_are_decoded_and_their_parts_are_remembered() {
        let json = r#"[{"role":"user","content":[
            {"type":"text","text":"what?"},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,AQI=","detail":"high"}},
            {"type":"image_url","image_url":"data:;base64,AwQ="}]}]"#;
        let mut wrong = Violations::default();
        let conversation = Conversation::read(serde_json::from_str(json).unwrap(), &mut wrong);
        assert!(wrong.is_empty());
        assert_eq!(conversation.messages[0].images, [[1, 2], [3, 4]]);
        let images = [1, 2].map(|part| format!("messages[0].content[{part}].image_url.url")).to_vec();
        assert_eq!(conversation.pictures.origins(), [Origin { message: Some(0), images, calls: Vec::new() }]);
    }

    #[test]
    fn what_a_message_can_not_hold_is_refused_by_its_path() {
        for (message, begins) in [
            (r#"{"role":"user","content":"hi","name":"ann"}"#, "messages[0].name "),
            (r#"{"role":"user"}"#, "messages[0].content is required"),
            (r#"{"role":"user","content":null}"#, "messages[0].content is required"),
            (r#"{"role":"assistant","audio":{"id":"a"},"content":"x"}"#, "messages[0].audio "),
            (r#"{"role":"assistant","function_call":{"name":"f","arguments":"{}"},"content":"x"}"#, "messages[0].function_call "),
            (r#"{"role":"tool","content":"x"}"#, "messages[0].tool_call_id is required"),
            (r#"{"role":"user","content":[{"type":"input_audio","input_audio":{}}]}"#, "messages[0].content[0].input_audio "),
            (r#"{"role":"user","content":[{"type":"file","file":{"file_id":"f"}}]}"#, "messages[0].content[0].file "),
            (r#"{"role":"user","content":[{"type":"video"}]}"#, "messages[0].content[0].type must be "),
            (r#"{"role":"user","content":[{"type":"text","text":"x","file":{}}]}"#, "messages[0].content[0].file "),
            (r#"{"role":"user","content":[{"type":"text","text":"x","refusal":"no"}]}"#, "messages[0].content[0].refusal belongs to "),
            (r#"{"role":"user","content":[{"type":"text"}]}"#, "messages[0].content[0].text is required"),
            (r#"{"role":"user","content":[{"type":"image_url"}]}"#, "messages[0].content[0].image_url is required"),
            (
                r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]}"#,
                "messages[0].content[0].image_url.url nothing is fetched",
            ),
            (
                r#"{"role":"assistant","tool_calls":[{"id":"c","type":"custom","custom":{}}],"content":""}"#,
                "messages[0].tool_calls[0].type ",
            ),
            (
                r#"{"role":"assistant","tool_calls":[{"id":"c","type":"function"}],"content":""}"#,
                "messages[0].tool_calls[0].function is required",
            ),
        ] {
            let (_, wrong) = read(&format!("[{message}]"));
            assert!(wrong.len() == 1 && wrong[0].starts_with(begins), "{message}: {wrong:?}");
        }
    }

    #[test]
    fn an_unknown_field_of_a_message_is_refused_as_openai_does() {
        let error = serde_json::from_str::<ChatMessage>(r#"{"role":"user","content":"hi","mood":"good"}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `mood`"), "{error}");
    }
}
