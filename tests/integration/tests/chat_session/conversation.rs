//! Turns: what is sent, what is shown, what it costs.

use integration::scripted_upstream::{Gate, Script};
use serde_json::json;

use crate::{PNG, Stage, png};
use integration::terminal::{PLACEHOLDER, Setting, Terminal};

#[tokio::test]
async fn the_conversation_is_sent_whole_each_time_and_each_answer_says_what_it_cost_and_what_is_left() {
    let stage = Stage::start().await;
    stage.upstream.script_once("/api/chat", Script::chat(&["Hello", " Ada!"]));
    stage.upstream.script_once("/api/chat", Script::chat(&["You", " are", " Ada."]));
    let mut terminal = Terminal::chat(&stage.shell, &["--system", "Be brief."]).await;
    let screen = terminal.does("I am Ada.", "left").await;
    assert_eq!(
        screen,
        format!(">>> I am Ada.\nHello Ada!\n1 credit charged, 9 left; 14 tokens in, 2 out\n\n{PLACEHOLDER}"),
        "what a person sees, line by line"
    );
    terminal.does("Who am I?", "1 credit charged, 8 left").await;
    assert_eq!(stage.sent(0).await, ["system: Be brief.", "user: I am Ada."]);
    assert_eq!(stage.sent(1).await, ["system: Be brief.", "user: I am Ada.", "assistant: Hello Ada!", "user: Who am I?"]);
    terminal.types("/bye\r");
    assert_eq!(terminal.ends().await, 0);
}

#[tokio::test]
async fn three_quotes_and_what_is_pasted_make_one_prompt_of_many_lines() {
    let stage = Stage::start().await;
    stage.upstream.script("/api/chat", Script::chat(&["Yes."]));
    let terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.types("\"\"\"one\r");
    terminal.until("\"\"\" at the end of a line ends the message").await;
    terminal.types("/bye\r");
    terminal.does("three\"\"\"", "9 left").await;
    assert_eq!(stage.sent(0).await.last().unwrap(), "user: one\n/bye\nthree");

    terminal.does("/clear", "Cleared session context").await;
    terminal.does("\u{1b}[200~/bye\r\nnaïve 東京 🍄 e\u{301}\n\"\"\"\n\u{1b}[31mred\u{1b}[201~", "8 left").await;
    assert_eq!(stage.sent(1).await, ["user: /bye\nnaïve 東京 🍄 e\u{301}\n\"\"\"\nred"], "nothing of it is a command, and none a colour");

    terminal.does("/clear", "Cleared session context").await;
    terminal.does("up\u{1b}\rand down", "7 left").await;
    assert_eq!(stage.sent(2).await, ["user: up\nand down"], "Alt-Enter begins another line");
}

#[tokio::test]
async fn a_long_paste_is_taken_whole() {
    let stage = Stage::start().await;
    stage.upstream.script("/api/chat", Script::chat(&["Yes."]));
    let terminal = Terminal::chat(&stage.shell, &[]).await;
    let rows: Vec<String> = (0..2_000).map(|number| format!("row {number} of what was pasted")).collect();
    let long = "x".repeat(20_000);
    terminal.pastes(&format!("\u{1b}[200~{}\n{long}\u{1b}[201~\r", rows.join("\n"))).await;
    terminal.until("9 left").await;
    assert_eq!(stage.sent(0).await, [format!("user: {}\n{long}", rows.join("\n"))]);
}

#[tokio::test]
async fn an_answer_appears_as_it_is_generated_behind_a_spinner_that_is_gone_before_the_first_token() {
    let stage = Stage::start().await;
    let gate = Gate::new();
    stage.upstream.script("/api/chat", Script::stream().gated_tokens(&gate, &["first", " second"]).done("stop", 5, 2));
    let turning = |screen: &str| "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏".chars().any(|frame| screen.contains(frame));
    for (variable, value, turns) in [("NO_COLOR", "", true), ("NO_COLOR", "1", true), ("TERM", "dumb", false)] {
        let terminal = Setting::of(&stage.shell, &["chat", "smollm2"]).with(variable, value).open();
        terminal.until(">>>").await;
        terminal.types("count\r");
        if turns {
            terminal.until_screen("a spinner", turning).await;
        }
        gate.open(1);
        let screen = terminal.until("first").await;
        assert!(!turning(&screen), "{variable}={value}: {screen}");
        assert!(!screen.contains("second"), "it is still behind its gate: {screen}");
        gate.open(1);
        terminal.until("first second").await;
        terminal.until("left").await;
        let bytes = terminal.bytes();
        assert_eq!(turning(&bytes), turns, "{variable}={value}");
        assert_eq!(bytes.contains("\u{1b}[90m"), variable == "NO_COLOR" && value.is_empty(), "{variable}={value}: {bytes:?}");
    }
}

#[tokio::test]
async fn the_spinner_and_the_cost_go_to_standard_error_and_the_spinner_only_to_a_terminal() {
    let stage = Stage::start().await;
    let gate = Gate::new();
    stage.upstream.script("/api/chat", Script::stream().gated_tokens(&gate, &["first"]).done("stop", 5, 1));
    let path = stage.stack.folder().join("error");
    let terminal = Setting::of(&stage.shell, &["chat", "smollm2"]).with_error_to(std::fs::File::create(&path).unwrap()).open();
    terminal.until(PLACEHOLDER).await;
    terminal.types("count\r");
    stage.upstream.request("/api/chat", 0).await;
    gate.open(1);
    let screen = terminal.until_screen("the next prompt", |screen| screen.contains("first") && screen.ends_with(PLACEHOLDER)).await;
    assert_eq!(screen, format!(">>> count\nfirst\n\n{PLACEHOLDER}"));
    assert_eq!(std::fs::read_to_string(path).unwrap(), "1 credit charged, 9 left; 5 tokens in, 1 out\n");
}

#[tokio::test]
async fn loading_a_model_that_cannot_think_warns_whoever_asked_for_thinking_and_nobody_else() {
    let stage = Stage::start().await;
    stage.upstream.model("smollm2", &["completion", "thinking"], 8192);
    stage.upstream.model("other", &["completion"], 8192);
    let terminal = Terminal::chat(&stage.shell, &[]).await;
    let loaded = format!(">>> /load other\nLoading model 'other'\n{PLACEHOLDER}");
    let warned = loaded.replace(PLACEHOLDER, &format!("warning: model \"other\" does not support thinking output\n{PLACEHOLDER}"));
    // Thinking by itself ends with the model that could.
    for (said, expected) in [(None, &loaded), (Some("/set think high"), &warned), (Some("/set nothink"), &loaded)] {
        if let Some(line) = said {
            terminal.does(line, "mode").await;
            terminal.clear().await;
        }
        terminal.does("/load smollm2", "Loading model 'smollm2'").await;
        terminal.clear().await;
        assert_eq!(terminal.does("/load other", "Loading model 'other'").await, *expected, "after {said:?}");
        terminal.clear().await;
    }
}

#[tokio::test]
async fn a_model_that_thinks_does_and_its_thoughts_stand_apart_and_are_not_sent_back() {
    let stage = Stage::start().await;
    stage.upstream.model("smollm2", &["completion", "thinking"], 8192);
    let thought =
        |text: &str| json!({"model": "smollm2", "message": {"role": "assistant", "content": "", "thinking": text}, "done": false});
    let script = Script::stream().line(&thought("Let me")).line(&thought(" see.")).token("Four.").done("stop", 5, 4);
    stage.upstream.script("/api/chat", script);
    let terminal = Terminal::chat(&stage.shell, &[]).await;
    let screen = terminal.does("2 + 2?", "9 left").await;
    assert!(screen.contains("Thinking...\nLet me see.\n...done thinking.\n\nFour.\n"), "{screen}");
    assert_eq!(stage.upstream.request("/api/chat", 0).await.json()["think"], true);
    terminal.does("/set nothink", "Set 'nothink' mode.").await;
    terminal.does("and 3 + 3?", "8 left").await;
    let sent = stage.upstream.request("/api/chat", 1).await.json();
    assert_eq!(sent["think"], false);
    assert!(!sent.to_string().contains("Let me"), "{sent}");
    drop(terminal);

    let terminal = Terminal::chat(&stage.shell, &["--hide-thinking"]).await;
    let screen = terminal.does("2 + 2?", "7 left").await;
    assert!(screen.contains(">>> 2 + 2?\nFour.\n"), "{screen}");
}

#[tokio::test]
async fn pictures_are_named_by_their_paths_for_models_that_see() {
    let stage = Stage::start().await;
    stage.upstream.script("/api/chat", Script::chat(&["A cat."]));
    let picture = stage.stack.folder().join("my cat.png");
    std::fs::write(&picture, png()).unwrap();
    let path = picture.to_str().unwrap().to_owned();
    stage.upstream.model("seer", &["completion", "vision"], 8192);
    let blind = Terminal::chat(&stage.shell, &[]).await;
    blind.does(&format!("what is {path}"), "9 left").await;
    assert_eq!(stage.sent(0).await, [format!("user: what is {path}")], "to a model that sees nothing it is text");
    blind.does(&path, "Unknown command").await;
    drop(blind);

    let terminal = Setting::of(&stage.shell, &["chat", "seer"]).open();
    terminal.until(PLACEHOLDER).await;
    assert!(terminal.does("/?", "/bye").await.contains("/path/to/file"));
    terminal.does(&format!("{} what is it?", path.replace(' ', "\\ ")), "8 left").await;
    assert!(terminal.screen().contains("Added image '"), "{}", terminal.screen());
    let sent = stage.upstream.request("/api/chat", 1).await.json();
    assert_eq!((&sent["messages"][0]["content"], &sent["messages"][0]["images"]), (&json!("what is it?"), &json!([PNG])));
    let fake = stage.stack.folder().join("fake.png");
    std::fs::write(&fake, "text").unwrap();
    terminal.does(&format!("and '{}'", fake.display()), "Couldn't process file").await;
    terminal.does("and now?", "7 left").await;
    assert_eq!(stage.upstream.request("/api/chat", 2).await.json()["messages"].as_array().unwrap().len(), 3);
}
