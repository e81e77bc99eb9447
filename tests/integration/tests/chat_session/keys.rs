//! Ctrl-C, Ctrl-D, and what is typed while something else goes on.

use integration::scripted_upstream::{Gate, Script};

use crate::Stage;
use integration::terminal::{PLACEHOLDER, Setting, Terminal};

#[tokio::test]
async fn ctrl_c_stops_the_answer_and_not_the_session_and_what_was_said_remains() {
    let stage = Stage::start().await;
    stage.upstream.script_once("/api/chat", Script::stream().token("One, two").stall());
    stage.upstream.script_once("/api/chat", Script::chat(&["three."]));
    let mut terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.types("Count.\r");
    terminal.until("One, two").await;
    terminal.types("\u{3}");
    let screen = terminal.until("stopped; 1 credit charged, 9 left").await;
    assert!(screen.contains("One, two\nstopped"), "{screen}");
    stage.upstream.request("/api/chat", 0).await.client_closed().await;
    terminal.does("Go on.", "8 left").await;
    assert_eq!(stage.sent(1).await, ["user: Count.", "assistant: One, two", "user: Go on."]);
    terminal.types("\u{4}");
    assert_eq!(terminal.ends().await, 0);
}

#[tokio::test]
async fn ctrl_c_while_nothing_came_yet_takes_the_question_back() {
    let stage = Stage::start().await;
    stage.upstream.script_once("/api/chat", Script::silence());
    stage.upstream.script_once("/api/chat", Script::chat(&["Yes."]));
    let terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.types("First.\r");
    stage.upstream.request("/api/chat", 0).await;
    terminal.types("\u{3}");
    terminal.until("stopped; ").await;
    terminal.until("The conversation goes on without this question.").await;
    // Up brings it back.
    terminal.types("\u{1b}[A");
    terminal.until_screen("the question again", |screen| screen.ends_with(">>> First.")).await;
    terminal.does("", "Yes.").await;
    assert_eq!(stage.sent(1).await, ["user: First."], "it is there once");
}

#[tokio::test]
async fn ctrl_c_at_the_prompt_throws_a_line_away_and_says_on_an_empty_one_how_to_leave() {
    let stage = Stage::start().await;
    let mut terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.types("\u{3}");
    terminal.until("Use Ctrl + d or /bye to exit.").await;
    terminal.until_screen("the prompt", |screen| screen.ends_with(PLACEHOLDER)).await;
    terminal.types("\u{3}");
    terminal.until_screen("it again", |screen| screen.matches("Use Ctrl + d").count() == 2 && screen.ends_with(PLACEHOLDER)).await;
    terminal.clear().await;
    terminal.types("half a line");
    terminal.until("half a line").await;
    terminal.types("\u{3}");
    let screen = terminal.until_screen("a new prompt", |screen| screen.ends_with(PLACEHOLDER)).await;
    assert_eq!(screen, format!(">>> half a line\n{PLACEHOLDER}"));
    terminal.clear().await;
    terminal.types("\"\"\"open\r");
    terminal.until("\"\"\" at the end of a line ends the message").await;
    terminal.types("\u{3}");
    terminal.until_screen("a new prompt", |screen| screen.contains("open") && screen.ends_with(PLACEHOLDER)).await;
    // On a line that has something on it, Ctrl-D deletes.
    terminal.clear().await;
    terminal.types("axb\u{2}\u{2}\u{4}");
    terminal.until_screen("a deleted letter", |screen| screen == ">>> ab").await;
    terminal.types("\u{5}\u{4}");
    terminal.types("c");
    terminal.until_screen("a line that is still there", |screen| screen == ">>> abc").await;
    terminal.types("\u{15}");
    terminal.until(PLACEHOLDER).await;
    assert!(!terminal.is_cooked());
    terminal.types("\u{4}");
    assert_eq!(terminal.ends().await, 0);
    assert!(stage.upstream.requests_to("/api/chat").is_empty());
}

#[tokio::test]
async fn what_is_typed_during_an_answer_waits_for_the_next_prompt() {
    let stage = Stage::start().await;
    let gate = Gate::new();
    stage.upstream.script_once("/api/chat", Script::stream().token("one").gate(&gate).token(" two").done("stop", 5, 2));
    stage.upstream.script_once("/api/chat", Script::chat(&["Four."]));
    let mut terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.types("Count.\r");
    terminal.until("one").await;
    terminal.types("And then?\u{1b}\rGo on.\r/bye\r");
    gate.open(1);
    // It isn't among the answer's words, and all of it is done, line by line.
    assert_eq!(terminal.ends().await, 0);
    let screen = terminal.until_screen("the last line", |screen| screen.ends_with(">>> /bye")).await;
    assert!(screen.contains("one two\n1 credit charged") && screen.contains(">>> And then?\nGo on.\nFour.\n"), "{screen}");
    assert_eq!(stage.sent(1).await.last().unwrap(), "user: And then?\nGo on.", "Alt-Enter too begins another line");
}

#[tokio::test]
async fn a_line_is_edited_completed_and_searched_for() {
    let stage = Stage::start().await;
    let terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.types("/sh\t");
    terminal.until_screen("a completed command", |screen| screen.ends_with(">>> /show")).await;
    terminal.types("sys\t");
    terminal.until_screen("a completed command", |screen| screen.ends_with(">>> /show system")).await;
    terminal.does("", "No system message was set here").await;
    // Home, a word deleted, the end.
    terminal.types("/show wrong\u{17}parameters\u{1}\u{5}");
    terminal.does("", "No parameters were set here").await;
    terminal.clear().await;
    terminal.types("\u{12}syst");
    terminal.until("/show system").await;
    terminal.types("\r");
    terminal.until("No system message was set here").await;
}

#[tokio::test]
async fn ctrl_g_opens_the_persons_own_editor() {
    let stage = Stage::start().await;
    stage.upstream.script("/api/chat", Script::chat(&["Yes."]));
    let editor = stage.stack.folder().join("editor");
    std::fs::write(&editor, "#!/bin/sh\nls -l \"$1\" | cut -c 1-10\nprintf 'and more\\n' >> \"$1\"\n").unwrap();
    std::fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let temporary = stage.stack.folder().join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let setting = Setting::of(&stage.shell, &["chat", "smollm2"]).with("EDITOR", editor.to_str().unwrap());
    let terminal = setting.with("TMPDIR", temporary.to_str().unwrap()).open();
    terminal.until(PLACEHOLDER).await;
    terminal.types("begun, \u{7}");
    terminal.until("-rw-------").await;
    terminal.until(">>> begun, and more").await;
    terminal.does("", "9 left").await;
    assert_eq!(stage.sent(0).await, ["user: begun, and more"]);
    assert_eq!(std::fs::read_dir(temporary).unwrap().count(), 0, "nothing is left of it");
    let terminal = Setting::of(&stage.shell, &["chat", "smollm2"]).with("EDITOR", "/nowhere/at-all").open();
    terminal.until(PLACEHOLDER).await;
    terminal.types("kept\u{7}");
    terminal.until("error: the editor \"/nowhere/at-all\" can't be run").await;
    terminal.until_screen("the line again", |screen| screen.ends_with(">>> kept")).await;
}
