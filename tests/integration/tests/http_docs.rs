//! docs/http.md: what is made from the code is as the code is, and what is to be typed works as it stands.

use std::process::Command;

use integration::http_docs::{PAGE, renewed};
use integration::process_pair::ProcessPair;
use integration::scripted_upstream::{Script, ScriptedUpstream};

#[tokio::test]
async fn the_generated_parts_are_as_the_code_makes_them() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    assert!(page == renewed(&page).unwrap(), "run scripts/http-docs");
}

/// The page's commands: each with whether it is meant to be refused.
fn commands(page: &str) -> Vec<(bool, String)> {
    let mut commands = Vec::new();
    for block in page.split("\n```sh").skip(1) {
        let (kind, rest) = block.split_once('\n').unwrap();
        commands.push((kind.trim() == "refused", rest.split("\n```").next().unwrap().to_owned()));
    }
    commands
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_works_as_it_stands_one_after_the_other() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&["Hello", " there."]));
    upstream.model("nomic-embed-text", &["embedding"], 2048);
    let processes = ProcessPair::start(&upstream.url(), &[]);
    let commands = commands(&page);
    assert!(commands.len() >= 16, "{commands:#?}");
    // One shell for all of them: a command may use what one before it has set. A line of marks ends what each has printed.
    let script: String = commands.iter().map(|(_, command)| format!("{command}\necho; echo '=== end'\n")).collect();
    let shell = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .env("AUTH", processes.auth.url())
        .env("TOLLGATE", processes.inference.url())
        .output()
        .unwrap();
    let (said, complained) = (String::from_utf8_lossy(&shell.stdout), String::from_utf8_lossy(&shell.stderr));
    assert!(shell.status.success(), "{said}\n{complained}");
    let answers: Vec<&str> = said.split("\n=== end\n").collect();
    for ((refused, command), answer) in commands.iter().zip(&answers) {
        let is_refusal = [r#""error":{"#, r#""error":""#, r#""code":""#].iter().any(|mark| answer.contains(mark));
        assert_eq!(is_refusal, *refused, "{command}\n{answer}");
    }
}
