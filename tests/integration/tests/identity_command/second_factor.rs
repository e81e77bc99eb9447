//! The second factor: set up at a terminal and through pipes, asked for at log-in, and proved anew when a call needs it.

use integration::scripted_upstream::ScriptedUpstream;
use integration::shell::{field, text};
use integration::stack::{PASSWORD, Plan};
use integration::terminal::{Setting, Terminal};

use crate::person::{App, Person};

/// A word that a terminal shows behind a name.
fn shown<'a>(screen: &'a str, name: &str) -> &'a str {
    let line = screen.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in:\n{screen}"));
    line.trim()
}

#[tokio::test]
async fn setup_at_a_terminal_shows_the_secret_its_address_and_a_qr_code_and_confirms_it_by_a_code_of_the_app() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let ada = Person::signed_up(&stack, "ada").await;
    let mut terminal = Setting::of(&ada.shell, &["me", "totp", "setup"]).open();
    terminal.until("Password").await;
    terminal.until_nothing_is_echoed().await;
    terminal.types(&format!("{PASSWORD}\r"));
    let screen = terminal.until("Code that the app shows now").await;
    terminal.until_nothing_is_echoed().await;
    assert!(!screen.contains(PASSWORD), "nothing that is typed is shown");
    let secret = shown(&screen, "secret").to_owned();
    let address = shown(&screen, "address");
    assert!(address.starts_with("otpauth://totp/") && address.contains(&secret) && address.contains("ada"), "{address}");
    // Dark on light, whatever the terminal's colours are.
    assert!(terminal.bytes().contains("\u{1b}[30;107m") && screen.contains('▀') && screen.contains('▄'), "{screen}");
    let code = App::new(&secret).code();
    terminal.types(&format!("{code}\r"));
    let screen = terminal.until("can't be shown again").await;
    assert_eq!(terminal.ends().await, 0);
    assert!(!screen.contains(&code), "{screen}");
    let codes = screen.lines().filter(|line| line.len() == 19 && line.split('-').all(|group| group.len() == 4)).count();
    assert_eq!(codes, 10, "{screen}");
    let status = ada.json(&["me", "totp", "status"], "").await;
    assert!(status["enabled"] == true && status["recoveryCodesLeft"] == 10 && status["provedAt"].is_string(), "{status}");
}

#[tokio::test]
async fn login_asks_for_a_code_after_the_right_password_alone_at_a_terminal_in_a_pipe_and_by_its_flag() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let ada = Person::signed_up(&stack, "ada").await;
    let (app, codes) = ada.with_totp().await;

    let login = |more: &[&'static str]| -> Vec<&'static str> { [&["login", "ada"], more].concat() };
    let refused = ada.shell.run(&login(&[]), format!("{PASSWORD}\n")).await;
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(77), "{said}");
    assert!(said.contains("(SECOND_FACTOR_REQUIRED)") && said.contains("--second-factor-code"), "{said}");
    let wrong = ada.shell.run(&login(&[]), format!("not the password at all\n{}\n", codes[0])).await;
    assert!(text(&wrong.stderr).contains("(LOGIN_FAILED)"), "whether there is a second factor is told to nobody else");

    // The password, and the code below it.
    ada.shell.says(&login(&[]), format!("{PASSWORD}\n{}\n", codes[0])).await;
    ada.shell.says(&["login", "ada", "--second-factor-code", &codes[1]], format!("{PASSWORD}\n")).await;
    let used = ada.shell.run(&login(&[]), format!("{PASSWORD}\n{}\n", codes[0])).await;
    assert!(text(&used.stderr).contains("(SECOND_FACTOR_INVALID)"), "each is good once: {}", text(&used.stderr));

    let mut terminal = Setting::of(&ada.shell, &login(&[])).open();
    terminal.until("Password for ada").await;
    terminal.until_nothing_is_echoed().await;
    terminal.types(&format!("{PASSWORD}\r"));
    terminal.until("Code of your second factor").await;
    terminal.until_nothing_is_echoed().await;
    // The one of now confirmed the app.
    let code = app.code_in(1);
    terminal.types(&format!("{code}\r"));
    let screen = terminal.until("is signed in").await;
    assert_eq!(terminal.ends().await, 0);
    assert!(!screen.contains(&code) && !screen.contains(PASSWORD), "{screen}");
    assert_eq!(ada.json(&["me", "totp", "status"], "").await["recoveryCodesLeft"], 8);
}

#[tokio::test]
async fn codes_are_replaced_and_the_second_factor_removed_by_a_code_and_an_operator_resets_somebody_elses() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (ada, boss) = (Person::signed_up(&stack, "ada").await, Person::operator(&stack).await);
    let early = ada.shell.run(&["me", "step-up"], "123456\n").await;
    assert!(text(&early.stderr).contains("tollgate me totp setup"), "{}", text(&early.stderr));
    let (_, codes) = ada.with_totp().await;
    let (new, _) = ada.shell.says(&["me", "totp", "recovery-codes"], format!("{}\n", codes[0])).await;
    let new: Vec<&str> = new.lines().collect();
    assert_eq!(new.len(), 10, "the codes alone");
    let before = ada.shell.run(&["me", "step-up"], format!("{}\n", codes[1])).await;
    assert!(text(&before.stderr).contains("(SECOND_FACTOR_INVALID)"), "{}", text(&before.stderr));
    let (said, _) = ada.shell.says(&["me", "step-up", "--second-factor-code", new[0]], "").await;
    assert!(said.starts_with("what asks for the second factor is allowed until 20"), "{said}");
    assert_eq!(ada.shell.says(&["me", "totp", "remove"], format!("{}\n", new[1])).await.0, "the second factor is off\n");
    assert_eq!(field(&ada.shell.says(&["me", "totp", "status"], "").await.0, "second"), "factor");
    ada.shell.says(&["login", "ada"], format!("{PASSWORD}\n")).await;

    ada.with_totp().await;
    let (said, _) = boss.shell.says(&["admin", "reset-second-factor", "ada"], "").await;
    assert!(said.contains("ada has no second factor"), "{said}");
    ada.shell.fails(&["me"], 77).await;
    ada.shell.says(&["login", "ada"], format!("{PASSWORD}\n")).await;
}

#[tokio::test]
async fn what_an_operator_changes_asks_for_a_code_at_a_terminal_and_goes_on_and_says_how_elsewhere() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).set("TOLLGATE_REQUIRE_ADMIN_TOTP", "true").start().await;
    // Signed in before there was a second factor: nothing is proved in this session.
    let (boss, at_home) = (Person::operator(&stack).await, Person::new(&stack));
    at_home.shell.says(&["login", "root.admin"], format!("{PASSWORD}\n")).await;
    Person::signed_up(&stack, "ada").await;
    let (_, codes) = at_home.with_totp().await;

    let refused = boss.shell.fails(&["admin", "disable", "ada"], 77).await;
    assert!(refused.contains("(STEP_UP_REQUIRED)") && refused.contains("tollgate me step-up"), "{refused}");
    boss.shell.says(&["admin", "users"], "").await;

    let mut terminal = Setting::of(&boss.shell, &["admin", "create-user", "bob"]).open();
    terminal.until("New password for bob").await;
    terminal.until_nothing_is_echoed().await;
    terminal.types(&format!("{PASSWORD}\r"));
    terminal.until("Again").await;
    terminal.until_nothing_is_echoed().await;
    terminal.types(&format!("{PASSWORD}\r"));
    terminal.until("second factor anew").await;
    terminal.until_nothing_is_echoed().await;
    terminal.types("0000-0000-0000-0000\r");
    ask_again(&terminal).await;
    terminal.types(&format!("{}\r", codes[0]));
    // What was typed before is not asked for again.
    terminal.until("bob is a user with 10 credits").await;
    assert_eq!(terminal.ends().await, 0);

    // For 15 minutes nothing asks.
    boss.shell.says(&["admin", "disable", "ada"], "").await;
    let models = boss.shell.says(&["models", "create", "mario", "-f", "-"], "FROM smollm2\n").await;
    assert!(models.0.contains("success"), "{}", models.0);
}

/// The question stands there twice.
async fn ask_again(terminal: &Terminal) {
    terminal.until_screen("the question again", |screen| screen.matches("second factor anew").count() == 2).await;
    terminal.until_nothing_is_echoed().await;
}
