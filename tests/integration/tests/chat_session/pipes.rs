//! Standard input and output that are no terminals.

use integration::scripted_upstream::Script;
use integration::shell::{SOON, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::Stage;
use integration::terminal::Setting;

#[tokio::test]
async fn standard_input_is_the_prompt_or_goes_behind_it() {
    let stage = Stage::start().await;
    stage.upstream.script("/api/chat", Script::chat(&["Yes."]));
    let rows: [(&[&str], &str, &str); 6] = [
        (&["chat", "smollm2", "summarize"], "one\ntwo\n", "user: summarize\n\none\ntwo"),
        (&["chat", "smollm2"], "hi\n", "user: hi"),
        (&["chat", "smollm2", "-"], "hi", "user: hi"),
        (&["chat", "smollm2", "hi"], "", "user: hi"),
        (&["chat", "smollm2", "why", "is", "it blue?"], "", "user: why is it blue?"),
        (&["chat", "smollm2"], "\u{feff}naïve 🍄\r\n", "user: naïve 🍄"),
    ];
    for (number, (arguments, input, sent)) in rows.into_iter().enumerate() {
        let (out, error) = stage.shell.says(arguments, input).await;
        assert_eq!(out, "Yes.\n", "{arguments:?}");
        assert!(error.starts_with("1 credit charged") && error.lines().count() == 1, "no spinner: {error:?}");
        assert_eq!(stage.sent(number).await, [sent], "{arguments:?}");
    }
}

#[tokio::test]
async fn input_that_is_empty_no_text_or_too_long_exits_64_and_asks_nothing() {
    let stage = Stage::start().await;
    for (input, why) in [
        (Vec::new(), "nothing is asked"),
        (b" \n\n".to_vec(), "nothing is asked"),
        (b"\x7fELF\x02\x01\xff\xfe".to_vec(), "standard input is no text"),
    ] {
        let ended = stage.shell.run(&["chat", "smollm2"], input).await;
        let error = text(&ended.stderr);
        assert_eq!((ended.status.code(), text(&ended.stdout).as_str()), (Some(64), ""), "{error}");
        assert!(error.contains(why) && error.lines().count() == 1, "{error}");
    }
    // Of what has no end so much is read as a request may have.
    let mut child = stage.shell.start(&["chat", "smollm2", "summarize"]);
    let mut stdin = child.stdin.take().unwrap();
    let megabyte = vec![b'y'; 1 << 20];
    let fed = async { while stdin.write_all(&megabyte).await.is_ok() {} };
    let (_, ended) = timeout(SOON, async { tokio::join!(fed, child.wait_with_output()) }).await.unwrap();
    let ended = ended.unwrap();
    assert_eq!(ended.status.code(), Some(64));
    assert!(text(&ended.stderr).contains("standard input is longer than 32 MiB"), "{}", text(&ended.stderr));
    assert!(stage.upstream.requests_to("/api/chat").is_empty());
}

#[tokio::test]
async fn a_pipe_that_stays_open_is_said_to_be_waited_for() {
    let stage = Stage::start().await;
    stage.upstream.script("/api/chat", Script::chat(&["Yes."]));
    let mut child = stage.shell.start(&["chat", "smollm2", "hi"]);
    let mut said = String::new();
    let error = child.stderr.as_mut().unwrap();
    let mut buffer = [0; 256];
    while !said.contains("< /dev/null says that there is none\n") {
        let read = timeout(SOON, error.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(read, 0, "{said}");
        said.push_str(&text(&buffer[..read]));
    }
    drop(child.stdin.take());
    let ended = timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(text(&ended.stdout), "Yes.\n");
}

#[tokio::test]
async fn a_prompt_at_a_terminal_is_answered_into_a_file_with_a_spinner_on_the_terminal() {
    let stage = Stage::start().await;
    let gate = integration::scripted_upstream::Gate::new();
    stage.upstream.script("/api/chat", Script::stream().gated_tokens(&gate, &["\u{1b}[31mred"]).done("stop", 5, 1));
    let path = stage.stack.folder().join("out");
    let setting = Setting::of(&stage.shell, &["chat", "smollm2", "hi"]).with_output_to(std::fs::File::create(&path).unwrap());
    let mut terminal = setting.open();
    terminal.until_screen("a spinner", |screen| "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏".chars().any(|frame| screen.contains(frame))).await;
    gate.open(1);
    assert_eq!(terminal.ends().await, 0);
    let screen = terminal.until("1 credit charged, 9 left").await;
    assert!(!"⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏".chars().any(|frame| screen.contains(frame)), "{screen}");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "\u{1b}[31mred\n", "a file gets what came");
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_an_answer_quietly() {
    let stage = Stage::start().await;
    stage.upstream.script("/api/chat", Script::stream().endless("word ", std::time::Duration::from_millis(1)));
    let mut child = stage.shell.start(&["chat", "smollm2", "go on"]);
    drop(child.stdin.take());
    let mut out = child.stdout.take().unwrap();
    let mut first = [0; 4];
    timeout(SOON, out.read_exact(&mut first)).await.unwrap().unwrap();
    drop(out);
    let ended = timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!((ended.status.code(), text(&ended.stderr).as_str()), (Some(0), ""));
    stage.upstream.request("/api/chat", 0).await.client_closed().await;
}
