//! What goes wrong in the middle: the session says why and goes on, or ends as its kind of failure does.

use integration::scripted_upstream::{Gate, Script};
use integration::shell::Shell;

use crate::{Stage, png};
use integration::terminal::Terminal;

const GOES_ON: &str = "The conversation goes on without this question; Up brings it back to ask again.";

#[tokio::test]
async fn a_turn_that_failed_is_asked_again_without_being_there_twice() {
    let stage = Stage::start().await;
    stage.upstream.script_once("/api/chat", Script::chat(&["One."]));
    stage.upstream.script_once("/api/chat", Script::stream().token("half").error_line("unexpected EOF"));
    stage.upstream.script_once("/api/chat", Script::error(503, "server busy, please try again.  maximum pending requests exceeded"));
    stage.upstream.script_once("/api/chat", Script::chat(&["Two."]));
    let terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.does("First.", "9 left").await;
    let screen = terminal.does("Second.", "(UPSTREAM_UNAVAILABLE)").await;
    assert!(screen.contains("half\ntollgate: ") && screen.contains("1 credit charged, 8 left") && screen.contains(GOES_ON), "{screen}");
    let screen = terminal.does("\u{1b}[A", "(UPSTREAM_BUSY)").await;
    assert!(screen.contains("0 credits charged, 8 left"), "{screen}");
    terminal.does("\u{1b}[A", "7 left").await;
    assert_eq!(stage.sent(3).await, ["user: First.", "assistant: One.", "user: Second."]);
}

#[tokio::test]
async fn credits_that_run_out_are_said_and_after_a_grant_it_goes_on() {
    let stage = Stage::with_credits(1).await;
    stage.upstream.script("/api/chat", Script::chat(&["Yes."]));
    let operator = Shell::at(&stage.stack).operator(&stage.stack).await;
    let terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.does("First.", "1 credit charged, 0 left").await;
    let screen = terminal.does("Second.", "(INSUFFICIENT_CREDITS); tollgate balance shows what there is").await;
    assert!(screen.contains(GOES_ON), "{screen}");
    operator.says(&["admin", "grant", "ada", "5"], "").await;
    terminal.does("\u{1b}[A", "1 credit charged, 4 left").await;
    assert_eq!(stage.sent(1).await, ["user: First.", "assistant: Yes.", "user: Second."]);
}

#[tokio::test]
async fn a_key_that_is_revoked_in_the_middle_of_an_answer_ends_the_session_with_77() {
    let stage = Stage::start().await;
    let gate = Gate::new();
    stage.upstream.script("/api/chat", Script::stream().token("One,").gate(&gate).token(" two").done("stop", 5, 2));
    let mut terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.types("Count.\r");
    terminal.until("One,").await;
    let (list, _) = stage.logged_in.says(&["keys", "list"], "").await;
    let key = list.lines().nth(1).unwrap().split_whitespace().next().unwrap();
    stage.logged_in.says(&["keys", "revoke", key], "").await;
    assert_eq!(terminal.ends().await, 77);
    let screen = terminal.until("(CREDENTIAL_REVOKED)").await;
    assert!(screen.contains("One,\ntollgate: ") && screen.contains("1 credit charged"), "{screen}");
}

#[tokio::test]
async fn a_service_that_is_away_is_said_and_once_it_is_back_the_conversation_goes_on() {
    let mut stage = Stage::start().await;
    stage.upstream.script("/api/chat", Script::chat(&["Yes."]));
    let terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.does("First.", "9 left").await;
    let port = stage.stack.stop_auth().await;
    let screen = terminal.does("Second.", "(AUTH_UNAVAILABLE)").await;
    assert!(screen.contains(GOES_ON), "{screen}");
    stage.stack.start_auth_at(port).await;
    terminal.does("\u{1b}[A", "8 left").await;
    assert_eq!(stage.sent(1).await, ["user: First.", "assistant: Yes.", "user: Second."]);

    let inference = stage.stack.inferences.remove(0);
    let address = inference.address();
    inference.stop().await;
    // Bound, and not listening: no service of another test gets it.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.set_reuseaddr(true).unwrap();
    held.bind(address).unwrap();
    let screen = terminal.does("Third.", "inference-service can't be reached").await;
    assert!(screen.contains("is it running? --url or TOLLGATE_URL says where"), "{screen}");
    terminal.does("/list", "inference-service can't be reached").await;
    let mut late = integration::terminal::Setting::of(&stage.shell, &["chat", "smollm2"]).open();
    assert_eq!(late.ends().await, 69, "there is nothing to begin with");
}

#[tokio::test]
async fn a_conversation_that_outgrew_what_the_server_takes_is_said_and_cleared() {
    let stage = Stage::start().await;
    stage.upstream.model("smollm2", &["completion", "vision"], 8192);
    stage.upstream.script("/api/chat", Script::chat(&["Yes."]));
    let picture = stage.stack.folder().join("large.png");
    // Whatever stands behind a picture is sent with it.
    let mut bytes = png();
    bytes.resize(17 << 20, 0);
    std::fs::write(&picture, bytes).unwrap();
    let question = format!("what is {}", picture.display());
    let terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.does(&question, "left").await;
    // Both pictures together are more than a request holds.
    terminal.clear().await;
    let screen = terminal.does(&question, "/clear begins a new conversation").await;
    assert!(screen.contains("(MESSAGE_TOO_LARGE)") && screen.contains(GOES_ON), "{screen}");
    terminal.clear().await;
    terminal.does("/clear", "Cleared session context").await;
    terminal.does(&question, "left").await;
    assert_eq!(stage.sent(1).await, ["user: what is"]);
}

#[tokio::test]
async fn a_conversation_that_the_model_server_refuses_for_its_length_is_said_so() {
    let stage = Stage::start().await;
    stage.upstream.script_once("/api/chat", Script::chat(&["Yes."]));
    stage.upstream.script_once("/api/chat", Script::error(400, "the input length exceeds the context length"));
    stage.upstream.script_once("/api/chat", Script::chat(&["Again."]));
    let terminal = Terminal::chat(&stage.shell, &["--no-word-wrap"]).await;
    terminal.does("First.", "9 left").await;
    let screen = terminal.does("Second.", "/clear begins a new conversation").await;
    assert!(screen.contains(GOES_ON), "{screen}");
    terminal.does("/clear", "Cleared session context").await;
    terminal.does("Second.", "Again.").await;
    assert_eq!(stage.sent(2).await, ["user: Second."]);
}

#[tokio::test]
async fn a_key_that_may_only_chat_is_enough() {
    let stage = Stage::start().await;
    stage.upstream.script("/api/chat", Script::stream().token("One,").stall());
    let (key, _) = stage.logged_in.says(&["keys", "create", "--scope", "chat"], "").await;
    let terminal = Terminal::chat(&stage.shell.with_key(key.trim()), &[]).await;
    terminal.types("Count.\r");
    terminal.until("One,").await;
    terminal.types("\u{3}");
    terminal.until("stopped; what was generated until then is charged: tollgate receipt ").await;
    terminal.does("/list", "(SCOPE_REQUIRED)").await;
}

#[tokio::test]
async fn a_setting_that_the_server_refuses_is_said_by_its_name() {
    let stage = Stage::start().await;
    stage.upstream.script("/api/chat", Script::chat(&["Yes."]));
    let terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.does("/set parameter temperature -1", "Set parameter 'temperature' to '-1'").await;
    terminal.does("First.", "options.temperature").await;
    terminal.does("/set parameter temperature 1", "Set parameter 'temperature' to '1'").await;
    terminal.does("First.", "9 left").await;
    assert_eq!(stage.sent(0).await, ["user: First."]);
}

#[tokio::test]
async fn a_model_that_says_nothing_leaves_nothing_behind() {
    let stage = Stage::start().await;
    stage.upstream.script_once("/api/chat", Script::stream().done("stop", 5, 0));
    stage.upstream.script_once("/api/chat", Script::chat(&["Yes."]));
    let terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.does("First.", "The model said nothing: the conversation goes on without this question.").await;
    terminal.does("Second.", "Yes.").await;
    assert_eq!(stage.sent(1).await, ["user: Second."]);
}
