//! Every command parses, what can't be meant is refused, and help and docs say all of it.

use clap::CommandFactory;
use clap::error::ErrorKind;
use shared::default_address::{AUTH_URL, INFERENCE_URL};

use super::*;

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(std::iter::once("tollgate").chain(line.split_whitespace()))
}

#[test]
fn the_command_line_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn help_documents_every_variable_and_exit_code_and_shows_no_key() {
    let help = Arguments::command().render_long_help().to_string();
    for expected in [
        "TOLLGATE_API_KEY",
        "TOLLGATE_SESSION",
        "TOLLGATE_AUTH_URL",
        "TOLLGATE_URL",
        "TOLLGATE_CA",
        "TOLLGATE_CLIENT_KEY",
        "TOLLGATE_PROFILE",
        "TOLLGATE_CONFIG",
        "TOLLGATE_ACCOUNT",
        "TOLLGATE_MODEL",
        "NO_COLOR",
        "  0 ",
        "  3 ",
        "  64 ",
        "  69 ",
        "  75 ",
        "  77 ",
        "  130 ",
    ] {
        assert!(help.contains(expected), "{expected} is missing in:\n{help}");
    }
    for default in [AUTH_URL, INFERENCE_URL] {
        assert!(help.contains(&format!("[default: {default}]")), "{default} is missing in:\n{help}");
    }
    let arguments = parse("--key tg_canary balance").unwrap();
    assert!(!format!("{arguments:?}").contains("canary"));
}

/// The names of the commands that have no commands below them.
fn leaves(command: &clap::Command, above: &str, leaves: &mut Vec<String>) {
    let below: Vec<_> = command.get_subcommands().filter(|command| command.get_name() != "help").collect();
    if below.is_empty() {
        leaves.push(above.trim().to_owned());
    }
    for command in below {
        self::leaves(command, &format!("{above} {}", command.get_name()), leaves);
    }
}

#[test]
fn every_command_takes_json_and_the_docs_give_its_shape_or_say_that_it_has_none() {
    let mut command = Arguments::command();
    command.build();
    let mut names = Vec::new();
    leaves(&command, "", &mut names);
    assert!(names.len() > 30, "{names:?}");
    let docs = include_str!("../../../../docs/cli.md");
    for name in names {
        assert!(docs.contains(&format!("\n| `{name}` | ")), "docs/cli.md has no row for the JSON of {name}");
        let leaf = name.split(' ').try_fold(&command, |command, name| command.find_subcommand(name)).unwrap();
        assert!(leaf.get_arguments().any(|argument| argument.get_long() == Some("json")), "{name}");
    }
}

#[test]
fn every_command_parses() {
    for line in [
        "signup alice --full-name A --email a@b.c",
        "login alice",
        "login alice --session s --client laptop",
        "login alice --second-factor-code 123456",
        "login --with google",
        "login --with google --no-browser --timeout 2m --print-token",
        "login --device --client notebook --scope chat --scope account --timeout 5m",
        "devices approve bcdf-ghjk",
        "devices approve BCDFGHJK --yes",
        "devices deny BCDF-GHJK",
        "orgs create The_lab",
        "orgs list",
        "orgs show lab",
        "orgs members lab",
        "orgs add lab bob --owner --cap 100",
        "orgs remove lab bob",
        "orgs leave lab",
        "orgs role lab bob owner",
        "orgs cap lab bob 0",
        "orgs cap lab bob none",
        "orgs invite lab --owner --cap 5 --expires-in 3d --note bob",
        "orgs invitations lab",
        "orgs withdraw lab i1",
        "orgs join",
        "orgs join --yes",
        "service-accounts create lab ci --cap 100",
        "service-accounts list lab",
        "service-accounts remove lab ci",
        "service-accounts cap lab ci none",
        "keys create --account lab --service-account ci",
        "usage --account lab --member bob",
        "history --account lab --member bob",
        "me totp setup",
        "me totp confirm",
        "me totp confirm --second-factor-code 123456",
        "me totp remove",
        "me totp recovery-codes",
        "me totp status",
        "me identities list",
        "me identities link --with google --no-browser",
        "me identities unlink google",
        "me identities unlink https://accounts.google.com 1234",
        "me step-up",
        "admin reset-second-factor bob",
        "admin identities bob",
        "admin unlink-identity bob google",
        "admin unlink-identity bob google 1234",
        "admin grant --account lab 5",
        "logout",
        "logout --everywhere --session s",
        "sessions list",
        "sessions revoke s1",
        "password change",
        "password complete-reset alice",
        "me",
        "keys create --name laptop --scope inference --scope account --model llama* --model smol* --expires-in 30d",
        "keys create --network 10.0.0.0/8 --network ::1 --scope chat --scope list_models --request-id r",
        "keys list",
        "keys rotate k1",
        "keys rotate k1 --grace 0 --request-id r",
        "keys revoke k1",
        "keys revoke k1 --secret 2",
        "keys revoke --leaked -",
        "keys revoke --leaked dump.txt",
        "balance --auth-url http://h:1 --key k --account a",
        "history --limit 5",
        "usage --from 2026-11-01 --to 2026-11-29",
        "receipt r1",
        "chat m p --system s --max-tokens 5 --temperature 0 --seed -1 --think low --request-id r --json --timeout 30s",
        "chat m p --format {}",
        "chat",
        "chat m",
        "chat m why is the sky blue",
        "chat m --keep-alive 0 --hide-thinking --verbose --no-word-wrap --no-history",
        "chat m --keepalive 5m --hidethinking --nowordwrap",
        "generate m p --suffix s --raw",
        "models list",
        "models show m",
        "models create mario -f Modelfile",
        "models rm mario",
        "admin create-user bob --admin --credits 0",
        "admin grant bob 5 --request-id r --note why",
        "admin users --prefix b --state locked",
        "admin orgs --prefix phys",
        "admin disable bob --reason left",
        "admin lock bob",
        "admin unlock bob",
        "admin reset-password bob",
        "admin audit --user bob --action sign_in -n 0",
        "admin audit --follow --json",
        "admin enable bob",
        "balance --ca ca.pem --client-cert c.pem --client-key k.pem",
        "login alice --print-token",
        "keys create --save",
        "keys create --save=work --keychain",
        "keys rotate k1 --save",
        "keys list --json",
        "--json keys list",
        "balance --profile work",
        "config",
        "config --json",
        "config show --profile work",
        "config get url",
        "config set url http://h:1 --profile work",
        "config set key --keychain",
        "config unset client_certificate",
        "config list",
        "config remove work",
        "config path",
        "completions zsh",
        "man",
        "man pages",
        "tls make-certificates certificates --name gate.example --name auth-service=10.0.0.1 --valid-for 30d",
    ] {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn a_password_is_never_an_argument() {
    for line in [
        "signup alice secret",
        "login alice secret",
        "login alice --password secret",
        "orgs join tgi_secret",
        "me totp confirm 123456",
        "me step-up 123456",
        "password change secret",
        "password change --password secret",
        "password complete-reset alice secret",
        "admin create-user bob secret",
    ] {
        assert_eq!(parse(line).unwrap_err().kind(), ErrorKind::UnknownArgument, "{line}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for line in [
        "chat m p --max-tokens 0",
        "chat m --keep-alive soon",
        "chat m p --think perhaps",
        "chat m p --json --format {}",
        "generate m p --raw --system s",
        "keys create --scope everything",
        "login",
        "login alice --with google",
        "login alice --device",
        "login --with google --device",
        "login alice --no-browser",
        "login alice --scope chat",
        "login alice --timeout 5m",
        "devices approve",
        "orgs add lab bob --cap lots",
        "orgs cap lab bob -1",
        "orgs cap lab bob",
        "orgs role lab bob admin",
        "orgs invite lab --expires-in soon",
        "admin identities",
        "admin unlink-identity bob",
        "me identities link",
        "keys create --expires-in 30",
        "keys create --expires-in 0d",
        "keys revoke",
        "keys revoke --secret 1",
        "keys revoke k1 --secret 0",
        "keys revoke k1 --leaked -",
        "keys rotate k1 --grace 0s",
        "keys create --keychain",
        "keys create --save work",
        "config set keys x",
        "config unset",
        "completions tcsh",
        "balance --key k --session s",
        "admin grant bob 0",
        "admin grant bob 1000000000001",
        "admin create-user bob --credits -1",
        "admin users --state asleep",
        "admin users bob",
        "admin orgs physics",
        "admin audit --follow sign_in",
        "models create mario",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}
