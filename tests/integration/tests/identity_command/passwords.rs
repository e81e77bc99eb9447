//! Passwords that are typed at a terminal.

use integration::scripted_upstream::ScriptedUpstream;
use integration::shell::Shell;
use integration::stack::Plan;
use integration::terminal::Setting;

#[tokio::test]
async fn ctrl_c_at_a_password_ends_the_command_and_the_terminal_shows_again_what_is_typed() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let mut terminal = Setting::of(&Shell::at(&stack), &["login", "ada"]).open();
    terminal.until("Password for ada").await;
    terminal.until_nothing_is_echoed().await;
    terminal.types("half of it\u{3}");
    // A shell sees by the signal that the command was interrupted, and ends a script.
    assert_eq!(terminal.ends_by_signal().await, 2);
    assert!(!terminal.bytes().contains("half"), "{}", terminal.screen());
}
