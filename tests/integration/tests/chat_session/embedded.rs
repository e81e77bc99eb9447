//! With the real model in this process.

use integration::shell::Shell;
use integration::stack::{Plan, TestStore};

use integration::terminal::{PLACEHOLDER, Terminal};

#[tokio::test]
async fn a_real_model_is_talked_to_stopped_and_talked_to_again() {
    let plan = Plan { store: TestStore::Sqlite, upstream: None, auth_replicas: 1, environment: Vec::new() };
    let stack = plan.start().await;
    let (_, shell) = Shell::at(&stack).user("ada").await;
    let shell = shell.with("XDG_STATE_HOME", stack.folder().join("state").to_str().unwrap());
    let mut terminal = Terminal::chat(&shell, &["--temperature", "0", "--max-tokens", "8"]).await;
    let screen = terminal.does("Say hello.", "1 credit charged, 9 left; ").await;
    let answer = screen.lines().nth(1).unwrap();
    assert!(answer.split_whitespace().count() > 1, "words: {screen}");
    let tokens_in = |screen: &str| -> u32 {
        let line = screen.lines().rfind(|line| line.contains(" tokens in")).unwrap();
        line.split("; ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    };
    let first = tokens_in(&screen);
    terminal.clear().await;
    let screen = terminal.does("And goodbye.", "8 left; ").await;
    assert!(tokens_in(&screen) > first + 3, "all that was said is read again: {screen}");
    terminal.clear().await;
    terminal.does("/clear", "Cleared session context").await;
    terminal.clear().await;
    terminal.does("/set parameter num_predict 2000", "Set parameter").await;
    terminal.types("Tell a very long story.\r");
    terminal
        .until_screen("its first words", |screen| {
            screen.lines().last().is_some_and(|line| line.split_whitespace().count() > 3 && !line.starts_with(">>>"))
        })
        .await;
    terminal.types("\u{3}");
    terminal.until("stopped; ").await;
    terminal.until_screen("the prompt", |screen| screen.ends_with(PLACEHOLDER)).await;
    terminal.types("\u{4}");
    assert_eq!(terminal.ends().await, 0);
}
