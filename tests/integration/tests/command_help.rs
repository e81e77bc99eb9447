//! What `tollgate` tells shells, `man` and terminals of itself.

use std::collections::BTreeMap;
use std::process::Command;

use integration::processes::run;
use integration::shell::text;

fn says(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let environment: BTreeMap<String, String> = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let done = run("tollgate", arguments, &environment, "");
    assert!(done.status.success(), "{arguments:?}: {}", text(&done.stderr));
    text(&done.stdout)
}

#[test]
fn every_shell_gets_completions_of_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = says(&["completions", shell], &[]);
        for word in [
            "make-certificates",
            "complete-reset",
            "reset-password",
            "profile",
            "auth-url",
            "print-token",
            "service-accounts",
            "recovery-codes",
            "step-up",
        ] {
            assert!(script.contains(word), "{shell} doesn't know {word}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("tollgate.bash");
    std::fs::write(&script, says(&["completions", "bash"], &[])).unwrap();
    let asks = format!(
        "source {}; COMP_WORDS=(tollgate config s) COMP_CWORD=2; _tollgate tollgate s config; echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let completed = Command::new("bash").args(["--norc", "-c", &asks]).output().unwrap();
    assert_eq!(text(&completed.stdout).trim(), "show set", "{}", text(&completed.stderr));
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let page = says(&["man"], &[]);
    assert!(page.contains(".TH tollgate 1") && page.contains("TOLLGATE_PROFILE") && page.contains("Exit codes"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("made/man1");
    says(&["man", pages.to_str().unwrap()], &[]);
    for name in [
        "tollgate.1",
        "tollgate-chat.1",
        "tollgate-keys-create.1",
        "tollgate-admin-audit.1",
        "tollgate-config-set.1",
        "tollgate-orgs-invite.1",
        "tollgate-me-totp-setup.1",
    ] {
        let page = std::fs::read_to_string(pages.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(page.contains(".SH SYNOPSIS"), "{name}");
    }
}

#[test]
fn help_has_colours_only_where_they_are_wanted() {
    let has_colours = |environment: &[(&str, &str)]| says(&["keys", "--help"], environment).contains('\u{1b}');
    assert!(!has_colours(&[]), "a pipe");
    assert!(has_colours(&[("CLICOLOR_FORCE", "1")]));
    assert!(!has_colours(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    let refused = run("tollgate", &["nonsense"], &BTreeMap::from([("CLICOLOR_FORCE".to_owned(), "1".to_owned())]), "");
    assert!(text(&refused.stderr).contains('\u{1b}'), "usage errors too");
}
