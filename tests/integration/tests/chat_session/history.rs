//! What was asked, for the next session.

use std::os::unix::fs::PermissionsExt;

use integration::scripted_upstream::Script;

use crate::Stage;
use integration::terminal::Terminal;

#[tokio::test]
async fn what_was_asked_is_there_in_the_next_session_from_a_file_that_is_its_owners_alone() {
    let stage = Stage::start().await;
    stage.upstream.script("/api/chat", Script::chat(&["Yes."]));
    let mut terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.types("\"\"\"asked\rbefore\"\"\"\r");
    terminal.until("9 left").await;
    terminal.types("/bye\r");
    assert_eq!(terminal.ends().await, 0);
    let file = stage.stack.folder().join("state/tollgate/chat-history");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    let kept = std::fs::read_to_string(&file).unwrap();
    assert_eq!(kept, "\"\\\"\\\"\\\"asked\\nbefore\\\"\\\"\\\"\"\n\"/bye\"\n");

    let terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.types("\u{1b}[A\u{1b}[A");
    terminal.until(">>> \"\"\"asked\nbefore\"\"\"").await;
    terminal.does("", "8 left").await;
    assert_eq!(stage.sent(1).await, ["user: asked\nbefore"]);
}

#[tokio::test]
async fn nothing_is_kept_when_it_is_told_not_to_and_a_key_never() {
    let stage = Stage::start().await;
    stage.upstream.script("/api/chat", Script::chat(&["Yes."]));
    let file = stage.stack.folder().join("state/tollgate/chat-history");
    let terminal = Terminal::chat(&stage.shell, &["--no-history"]).await;
    terminal.does("secret-one", "9 left").await;
    terminal.types("\u{1b}[A");
    terminal.until_screen("the line again", |screen| screen.ends_with(">>> secret-one")).await;
    drop(terminal);
    assert!(!file.exists(), "it is in memory alone");

    let terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.does("/set nohistory", "not kept on disk").await;
    terminal.does("secret-two", "8 left").await;
    terminal.does("/set history", "What is asked is kept in").await;
    let key = &stage.shell.environment["TOLLGATE_API_KEY"];
    terminal.does(&format!("is {key} mine?"), "7 left").await;
    terminal.does("harmless", "6 left").await;
    let kept = std::fs::read_to_string(&file).unwrap();
    assert_eq!(kept, "\"/set nohistory\"\n\"harmless\"\n");
}

#[tokio::test]
async fn two_sessions_at_once_keep_what_both_asked() {
    let stage = Stage::start().await;
    let first = Terminal::chat(&stage.shell, &[]).await;
    let second = Terminal::chat(&stage.shell, &[]).await;
    for round in 0..3 {
        first.does("/show license", "license").await;
        second.does(&format!("/show system {round}"), "No system message").await;
        first.clear().await;
        second.clear().await;
    }
    let kept = std::fs::read_to_string(stage.stack.folder().join("state/tollgate/chat-history")).unwrap();
    assert_eq!((kept.lines().count(), kept.matches("license").count()), (6, 3), "{kept}");
}

#[tokio::test]
async fn a_history_that_cannot_be_kept_is_said_once_and_the_session_goes_on() {
    let stage = Stage::start().await;
    let folder = stage.stack.folder().join("state/tollgate");
    std::fs::create_dir_all(folder.join("chat-history")).unwrap();
    let terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.until("tollgate: what was asked before can't be read: it is no file").await;
    terminal.does("/show system", "can't be kept in").await;
    terminal.clear().await;
    let screen = terminal.does("/show license", "license").await;
    assert!(!screen.contains("can't be kept"), "{screen}");
}
