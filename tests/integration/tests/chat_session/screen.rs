//! What a terminal shows of an answer, whatever is in it.

use integration::scripted_upstream::Script;

use crate::Stage;
use integration::terminal::{PLACEHOLDER, Terminal};

#[tokio::test]
async fn nothing_in_an_answer_commands_the_terminal() {
    let stage = Stage::start().await;
    let hostile = ["red \u{1b}[31m", "title \u{1b}]0;mine\u{7}", "back\rover", "\u{9b}2J", "\u{8}\u{0}", "\ttab\nline"];
    stage.upstream.script("/api/chat", Script::chat(&hostile));
    let terminal = Terminal::chat(&stage.shell, &[]).await;
    let screen = terminal.does("Attack.", "9 left").await;
    assert!(screen.contains("tab\nline\n1 credit"), "{screen}");
    let bytes = terminal.bytes();
    let shown = "red \u{fffd}[31mtitle \u{fffd}]0;mine\u{fffd}back\u{fffd}over\u{fffd}2J\u{fffd}\u{fffd}";
    assert!(bytes.contains(shown), "{bytes:?}");
    for command in ["\u{1b}[31m", "\u{1b}]0;", "\u{7}", "\u{9b}", "back\rover"] {
        assert!(!bytes.contains(command), "{command:?}");
    }
}

#[tokio::test]
async fn every_script_is_shown_and_kept_as_it_came() {
    let stage = Stage::start().await;
    let text = "naïve e\u{301} 東京 🍄 👩\u{200d}👩\u{200d}👧 שלום नमस्ते";
    // Characters in pieces that end between a letter and what belongs to it.
    let tokens: Vec<String> = text.chars().map(String::from).collect();
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    stage.upstream.script("/api/chat", Script::chat(&tokens));
    let terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.does(text, "9 left").await;
    assert!(terminal.bytes().contains("naïve e\u{301} 東京 🍄"), "{}", terminal.bytes());
    terminal.does("again", "8 left").await;
    assert_eq!(stage.sent(1).await, [format!("user: {text}"), format!("assistant: {text}"), "user: again".to_owned()]);
}

#[tokio::test]
async fn lines_end_between_words_at_the_windows_width_of_the_moment() {
    let stage = Stage::start().await;
    let words: Vec<String> = (0..60).map(|number| format!(" word{number}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    stage.upstream.script("/api/chat", Script::chat(&words));
    let terminal = Terminal::chat(&stage.shell, &[]).await;
    for columns in [100, 43, 72] {
        terminal.resize(columns, 50);
        terminal.clear().await;
        let screen = terminal.does("Words.", "left").await;
        let lines: Vec<&str> = screen.lines().skip(1).take_while(|line| !line.contains("charged")).collect();
        assert!(lines.len() > 3 && lines.iter().all(|line| line.len() < usize::from(columns)), "{columns}: {screen}");
        let all: Vec<&str> = lines.iter().flat_map(|line| line.split_whitespace()).collect();
        assert_eq!(all, words.iter().map(|word| word.trim()).collect::<Vec<_>>(), "{columns}: {screen}");
    }
    terminal.does("/set nowordwrap", "Set 'nowordwrap' mode.").await;
    let before = terminal.bytes().len();
    terminal.does("Words.", "6 left").await;
    assert!(terminal.bytes()[before..].contains(&words.concat()), "as it came");
}

#[tokio::test]
async fn a_line_that_is_being_typed_follows_the_windows_width() {
    let stage = Stage::start().await;
    let terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.types(&"x".repeat(220));
    terminal.until_screen("a long line", |screen| screen.matches('x').count() == 220).await;
    let before = terminal.bytes().len();
    terminal.resize(60, 50);
    // It is drawn anew before the next key.
    terminal.until_screen("a line drawn anew", |_| terminal.bytes()[before..].matches('x').count() >= 220).await;
    terminal.types("\u{3}");
    terminal.until_screen("a prompt", |screen| screen.ends_with(PLACEHOLDER)).await;
}
