//! README.md: what stands there to be typed works, and prints what is shown.

use std::path::Path;
use std::process::Command;

use integration::process_pair::ProcessPair;
use integration::processes::binary;
use integration::scripted_upstream::{Script, ScriptedUpstream};
use integration::shown_answers::{is_line_as_shown, shown_commands};
use integration::stack::{PASSWORD, models_folder};

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap()
}

/// A command of the page, at these services.
fn here(command: &str, processes: &ProcessPair, key: &str) -> String {
    let here = command.replace("127.0.0.1:50051", &processes.auth.address().to_string());
    here.replace("127.0.0.1:50052", &processes.inference.address().to_string()).replace("tg_…", key)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_with_curl_are_answered() {
    let readme = readme();
    let section = readme.split("\n### With curl and any SDK\n").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&["Hello", " there."]));
    let processes = ProcessPair::start(&upstream.url(), &[]);
    let key = processes.user().await;
    let commands = shown_commands(section);
    assert!(commands.len() > 1, "{commands:?}");
    for shown in commands {
        let here = here(&shown.command, &processes, &key);
        let here = here.replace("a pass phrase of some length", PASSWORD).replace("curl ", "curl -sS --fail-with-body ");
        let shell = Command::new("bash").args(["-euc", &here]).env("KEY", &key).output().unwrap();
        assert!(shell.status.success(), "{here}\n{}", String::from_utf8_lossy(&shell.stdout));
    }
}

/// A terminal's commands, each with what it printed.
fn terminal(readme: &str) -> Vec<(String, Vec<String>)> {
    let block = readme.split("\n```console\n").nth(1).and_then(|rest| rest.split("\n```").next()).unwrap();
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    let mut goes_on = false;
    for line in block.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (None, Some((command, _))) if goes_on => command.extend(["\n", line]),
            (None, Some((_, printed))) => printed.push(line.to_owned()),
            (command, _) => commands.push((command.unwrap_or_else(|| panic!("{line:?} is no command's")).to_owned(), Vec::new())),
        }
        goes_on = line.ends_with('\\');
    }
    commands
}

/// A line without what differs from run to run: figures, ids, and how many spaces set columns apart.
fn without_figures(line: &str) -> String {
    let ids = regex::Regex::new("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").unwrap();
    let figures = regex::Regex::new("[0-9]+(\\.[0-9]+)?").unwrap();
    let spaces = regex::Regex::new(" +").unwrap();
    spaces.replace_all(&figures.replace_all(&ids.replace_all(line, "#"), "#"), " ").into_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "embedded-engine"), ignore = "inference-service has no embedded engine without the feature")]
async fn the_terminal_prints_what_is_shown_but_for_figures_and_the_models_words() {
    let readme = readme();
    let embedded = [("TOLLGATE_ENGINE", "embedded"), ("TOLLGATE_MODELS_DIR", &models_folder())];
    let processes = ProcessPair::start("127.0.0.1:1", &embedded);
    let key = processes.user().await;
    let path = format!("{}:{}", binary("tollgate").parent().unwrap().display(), std::env::var("PATH").unwrap());
    let commands = terminal(&readme);
    let lines: usize = commands.iter().map(|(_, printed)| 1 + printed.len()).sum();
    assert!((15..=25).contains(&lines), "about twenty lines are promised, and {lines} are there");
    let mut before = String::new();
    for (command, shown) in &commands {
        let here = here(command, &processes, &key);
        // What was set before counts for the commands after it.
        if here.starts_with("export ") {
            before += &format!("{here}\n");
        }
        let shell = Command::new("bash")
            .args(["-uc", &format!("{before}{{\n{here}\n}} 2>&1")])
            .env_clear()
            .env("PATH", &path)
            .env("TOLLGATE_AUTH_URL", processes.auth.url())
            .env("TOLLGATE_URL", processes.inference.url())
            .output()
            .unwrap();
        let printed = String::from_utf8(shell.stdout).unwrap();
        let printed: Vec<&str> = printed.lines().collect();
        // An answer is the model's words, and then the receipt.
        let (shown, printed) = match command.contains(" chat smollm2 ") {
            true => {
                assert!(shown.len() > 1 && printed.len() > 1, "{command}: {printed:?}");
                (&shown[shown.len() - 1..], &printed[printed.len() - 1..])
            }
            false => (&shown[..], &printed[..]),
        };
        let same = |(shown, printed): (&String, &&str)| is_line_as_shown(&without_figures(shown), &without_figures(printed));
        assert!(shown.len() == printed.len() && shown.iter().zip(printed).all(same), "{command}\nshown: {shown:#?}\nprinted: {printed:#?}");
    }
}

/// A heading's anchor, as the pages' renderers make it.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_between_the_pages_leads_to_a_file_and_a_heading_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages: Vec<_> = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root.join(name)).into();
    pages.extend(
        std::fs::read_dir(root.join("docs"))
            .unwrap()
            .map(|page| page.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "md")),
    );
    let link = regex::Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut followed = 0;
    for page in &pages {
        let text = std::fs::read_to_string(page).unwrap();
        for target in link.captures_iter(&text).map(|found| found[1].to_owned()).filter(|target| !target.contains("://")) {
            let (file, heading) = target.split_once('#').map_or((target.as_str(), None), |(file, heading)| (file, Some(heading)));
            let path = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(path.exists(), "{}: {target}", page.display());
            if let Some(heading) = heading {
                let there = std::fs::read_to_string(&path).unwrap();
                assert!(
                    there.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line) == heading),
                    "{}: {target}",
                    page.display()
                );
            }
            followed += 1;
        }
    }
    assert!(followed > 40, "{followed}");
}
