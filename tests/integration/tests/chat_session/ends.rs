//! How a session ends that nobody ended by a command. The terminal is cooked again each time.

use integration::polling::until;
use integration::scripted_upstream::Script;
use integration::shell::SOON;
use tokio::time::timeout;

use crate::Stage;
use integration::terminal::{PLACEHOLDER, Setting, Terminal};

#[tokio::test]
async fn signals_end_a_session_with_their_codes_at_the_prompt_and_during_an_answer() {
    let stage = Stage::start().await;
    stage.upstream.script("/api/chat", Script::stream().token("One,").stall());
    for (number, (signal, code)) in [("TERM", 143), ("HUP", 129), ("QUIT", 131)].into_iter().enumerate() {
        let mut terminal = Terminal::chat(&stage.shell, &[]).await;
        terminal.types("half a line");
        terminal.until(">>> half a line").await;
        assert!(!terminal.is_cooked());
        terminal.signal(signal).await;
        assert_eq!(terminal.ends().await, code, "{signal}");
        until("the end of pasting", SOON, || async { terminal.bytes().ends_with("\u{1b}[?2004l\r\n").then_some(()) }).await;

        let mut terminal = Terminal::chat(&stage.shell, &[]).await;
        terminal.types("Count.\r");
        terminal.until("One,").await;
        assert!(!terminal.is_cooked());
        terminal.signal(signal).await;
        assert_eq!(terminal.ends().await, code, "{signal}");
        stage.upstream.request("/api/chat", number).await.client_closed().await;
    }
}

#[tokio::test]
async fn an_interrupt_from_elsewhere_stops_the_answer_as_ctrl_c_does() {
    let stage = Stage::start().await;
    stage.upstream.script("/api/chat", Script::stream().token("One,").stall());
    let mut terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.types("Count.\r");
    terminal.until("One,").await;
    terminal.signal("INT").await;
    terminal.until("stopped; 1 credit charged, 9 left").await;
    terminal.until_screen("the prompt", |screen| screen.ends_with(PLACEHOLDER)).await;
    terminal.signal("INT").await;
    terminal.until("Use Ctrl + d or /bye to exit.").await;
    terminal.types("\u{4}");
    assert_eq!(terminal.ends().await, 0);
}

#[tokio::test]
async fn a_terminal_that_is_closed_ends_the_session_at_the_prompt_and_during_an_answer() {
    let stage = Stage::start().await;
    stage.upstream.script("/api/chat", Script::stream().token("One,").stall());
    let at_prompt = Terminal::chat(&stage.shell, &[]).await;
    let answering = Terminal::chat(&stage.shell, &[]).await;
    answering.types("Count.\r");
    answering.until("One,").await;
    for terminal in [at_prompt, answering] {
        let mut command = terminal.hangs_up().await;
        let status = timeout(SOON, command.wait()).await.unwrap().unwrap();
        assert!(matches!(status.code(), Some(0 | 1 | 129)), "{status}");
    }
    stage.upstream.request("/api/chat", 0).await.client_closed().await;
}

#[tokio::test]
async fn a_terminal_that_takes_nothing_is_left_by_another_ctrl_c() {
    let stage = Stage::start().await;
    // More than a terminal holds, long before the most tokens are there.
    stage.upstream.script("/api/chat", Script::stream().endless(&"a word and another ".repeat(200), std::time::Duration::ZERO));
    let mut terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.types("Go on for ever.\r");
    terminal.until("a word and another").await;
    terminal.is_not_read_until_stuck().await;
    assert_eq!(terminal.is_interrupted_until_it_ends().await, 130);
    assert!(terminal.is_cooked());
}

#[tokio::test]
async fn a_conversation_needs_a_terminal_and_no_flags_of_single_requests() {
    let stage = Stage::start().await;
    for (arguments, why) in [
        (&["chat", "smollm2", "--request-id", "r"][..], "--request-id names one request"),
        (&["chat", "smollm2", "--image", "cat.png"], "--image goes with a PROMPT"),
        (&["chat", "smollm2", ""], "nothing is asked"),
        (&["chat", "smollm2", "--format", "["], "--format must be a JSON schema"),
    ] {
        let mut terminal = Setting::of(&stage.shell, arguments).open();
        assert_eq!(terminal.ends().await, 64);
        terminal.until(why).await;
    }
    let file = std::fs::File::create(stage.stack.folder().join("out")).unwrap();
    let mut terminal = Setting::of(&stage.shell, &["chat", "smollm2"]).with_output_to(file).open();
    assert_eq!(terminal.ends().await, 64);
    terminal.until("a conversation needs a terminal, and standard output is none: give a PROMPT").await;
}
