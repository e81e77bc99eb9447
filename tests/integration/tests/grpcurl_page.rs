//! docs/grpcurl.md: its commands are typed one after the other, at fresh services with the real model, and answer as it shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use integration::grpcurl;
use integration::process_pair::ProcessPair;
use integration::processes::{ServiceProcess, binary};
use integration::scripted_upstream::ScriptedUpstream;
use integration::shown_answers::{ShownCommand, is_as_shown, shown_commands};
use integration::stack::models_folder;
use prost::Message;
use prost_types::FileDescriptorSet;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/grpcurl.md");

/// Every method of every service, as grpcurl names it.
fn methods() -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(shared::doors::openapi::descriptor_set().as_slice()).unwrap();
    let services = set.file.iter().flat_map(|file| file.service.iter().map(|service| (file.package(), service)));
    let methods = services
        .flat_map(|(package, service)| service.method.iter().map(move |method| format!("{package}.{}/{}", service.name(), method.name())));
    methods.collect()
}

/// The commands in one shell, since one may use what another has set. What each printed, and how it ended, is in files of its number.
fn script(commands: &[ShownCommand]) -> String {
    let mut script = "set -uo pipefail\n".to_owned();
    for (number, ShownCommand { kind, command, .. }) in commands.iter().enumerate() {
        let at = if kind == "ollama" { "$WITH_OLLAMA" } else { "$EMBEDDED" };
        // A command that is meant to succeed ends the shell when a part of it fails.
        let fails = if kind == "refused" { "set +e" } else { "set -e" };
        writeln!(script, "export NUMBER={number} TOLLGATE={at}\n{fails}\n{{\n{command}\n}} >$NUMBER.out 2>$NUMBER.err").unwrap();
        writeln!(script, "echo $? >$NUMBER.status").unwrap();
    }
    script
}

/// A folder for the path: grpcurl, which notes by which command each method was called, and auth-service.
fn programs(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    let called = folder.join("called");
    let (noted, program) = (called.display(), grpcurl::program());
    let noting = format!("#!/bin/sh\nfor last; do :; done\necho \"$NUMBER $last\" >>{noted}\nexec {} \"$@\"\n", program.display());
    std::fs::write(folder.join("grpcurl"), noting).unwrap();
    std::fs::set_permissions(folder.join("grpcurl"), Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(binary("auth-service"), folder.join("auth-service")).unwrap();
}

#[test]
fn every_command_of_the_page_has_an_answer_or_sets_what_others_use() {
    let commands = shown_commands(&std::fs::read_to_string(PAGE).unwrap());
    for ShownCommand { kind, command, shown } in &commands {
        assert!(["", "refused", "ollama"].contains(&kind.as_str()), "{kind}");
        assert!(shown.is_some() || command.contains("=") || command.contains(" describe "), "no answer is shown of:\n{command}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "embedded-engine"), ignore = "inference-service has no embedded engine without the feature")]
async fn every_method_of_every_service_is_called_and_answers_as_the_page_shows() {
    let commands = shown_commands(&std::fs::read_to_string(PAGE).unwrap());
    let upstream = ScriptedUpstream::start().await;
    upstream.model("nomic-embed-text", &["embedding"], 2048);
    let embedded = [("TOLLGATE_ENGINE", "embedded"), ("TOLLGATE_MODELS_DIR", &models_folder()), ("TOLLGATE_LOG", "info")];
    let processes = ProcessPair::start(&upstream.url(), &embedded);
    let mut environment = processes.environment.clone();
    environment.insert("TOLLGATE_ENGINE".into(), "ollama".into());
    let with_ollama = ServiceProcess::start("inference-service", &environment);
    let folder = tempfile::tempdir().unwrap();
    let programs_folder = folder.path().join("programs");
    programs(&programs_folder);
    let path = format!("{}:{}", programs_folder.display(), std::env::var("PATH").unwrap());
    let variables: BTreeMap<&str, String> = [
        ("PATH", path),
        ("AUTH", processes.auth.address().to_string()),
        ("EMBEDDED", processes.inference.address().to_string()),
        ("WITH_OLLAMA", with_ollama.address().to_string()),
        ("TOLLGATE_DATA_DIR", processes.environment["TOLLGATE_DATA_DIR"].clone()),
    ]
    .into();

    let shell = Command::new("bash").args(["-c", &script(&commands)]).env_clear().envs(&variables).current_dir(folder.path()).output();
    let Output { status, stderr, .. } = shell.unwrap();

    let mut answered = BTreeSet::new();
    for (number, ShownCommand { kind, command, shown }) in commands.iter().enumerate() {
        let file = |ending: &str| std::fs::read_to_string(folder.path().join(format!("{number}.{ending}"))).unwrap_or_default();
        let (output, errors) = (file("out"), file("err"));
        let failed = file("status").trim() != "0";
        assert_eq!(failed, kind == "refused", "{command}\n{output}{errors}");
        if let Some(shown) = shown {
            is_as_shown(shown, &output, &errors).unwrap_or_else(|wrong| panic!("{command}\n{wrong}"));
            answered.insert(number);
        }
    }
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let called = std::fs::read_to_string(programs_folder.join("called")).unwrap();
    let called = called.lines().filter_map(|line| line.split_once(' ')).filter(|(number, _)| answered.contains(&number.parse().unwrap()));
    let shown: BTreeSet<&str> = called.map(|(_, method)| method).collect();
    let missing: Vec<String> = methods().into_iter().filter(|method| !shown.contains(method.as_str())).collect();
    assert_eq!(missing, Vec::<String>::new(), "docs/grpcurl.md has no command with an answer for these");
}
