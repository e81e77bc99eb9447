//! The `tollgate` command, as people and scripts use it: what it prints where, and how it exits.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use integration::polling::until;
use integration::reserved_port::ReservedPort;
use integration::scripted_upstream::{Gate, Script, ScriptedUpstream};
use integration::shell::{SOON, Shell, field, text};
use integration::stack::{PASSWORD, Plan};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Reads standard output until it has this in it.
async fn read_until(child: &mut Child, said: &mut String, part: &str) {
    let out = child.stdout.as_mut().unwrap();
    let mut buffer = [0; 256];
    while !said.contains(part) {
        let read = timeout(SOON, out.read(&mut buffer)).await.unwrap_or_else(|_| panic!("no {part:?} after {said:?}")).unwrap();
        assert_ne!(read, 0, "it ended before {part:?}: {said:?}");
        said.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
}

#[tokio::test]
async fn a_first_session_from_sign_up_to_history() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&["Hello", " there!"]));
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let shell = Shell::at(&stack);

    let (out, _) = shell.says(&["signup", "Ada", "--full-name", "Ada Lovelace"], &format!("{PASSWORD}\n")).await;
    assert_eq!(out, "ada has an account with 10 credits\n");

    let (token, hint) = shell.says(&["login", "ada"], &format!("{PASSWORD}\n")).await;
    assert_eq!((token.lines().count(), token.trim().split('.').count()), (1, 3), "the token alone: {token:?}");
    assert!(hint.contains("until") && !hint.contains(token.trim()), "{hint}");
    let logged_in = shell.with_key(token.trim());

    let (key, hint) = logged_in.says(&["keys", "create", "--name", "laptop"], "").await;
    let alone = key.strip_suffix('\n').unwrap();
    assert!(alone.len() == 49 && alone.starts_with("tg_") && alone[3..].bytes().all(|byte| byte.is_ascii_alphanumeric()), "{key:?}");
    assert!(!hint.contains(alone), "the key is on standard output only: {hint}");
    let with_key = shell.with_key(alone);

    let (out, receipt) = with_key.says(&["chat", "smollm2", "Say hello"], "").await;
    assert_eq!(out, "Hello there!\n");
    assert!(receipt.starts_with("1 credit charged, 9 left; 14 tokens in, 2 out; stop; request "), "{receipt}");
    let sent = upstream.request("/api/chat", 0).await.json();
    assert_eq!(sent["messages"][0]["content"], "Say hello");

    let (out, _) = with_key.says(&["chat", "smollm2", "-"], "from a pipe").await;
    assert_eq!(out, "Hello there!\n");
    assert_eq!(upstream.request("/api/chat", 1).await.json()["messages"][0]["content"], "from a pipe");

    let (balance, _) = with_key.says(&["balance"], "").await;
    let figures = ["available", "held", "spent", "lapsed", "granted"].map(|name| field(&balance, name));
    assert_eq!(figures, ["8", "0", "2", "0", "10"]);

    let (history, _) = with_key.says(&["history"], "").await;
    let rows: Vec<Vec<&str>> = history.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..4], ["TIME", "KIND", "CREDITS", "AVAILABLE"]);
    assert_eq!(
        rows.iter().skip(1).map(|row| row[1..4].to_vec()).collect::<Vec<_>>(),
        [["charge", "-1", "8"], ["charge", "-1", "9"], ["grant", "+10", "10"]]
    );
    assert_eq!(with_key.says(&["history", "-n", "1"], "").await.0.lines().count(), 2);

    let (usage, hint) = with_key.says(&["usage"], "").await;
    let rows: Vec<Vec<&str>> = usage.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((rows[0].as_slice(), hint.as_str()), (&["DAY", "MODEL", "CALLS", "IN", "OUT", "CREDITS"][..], ""));
    // Two rows if it became midnight between both calls.
    assert!(rows.len() >= 3 && rows[1..rows.len() - 1].iter().all(|row| row[0].len() == 10 && row[1] == "smollm2"), "{usage}");
    assert_eq!(rows[rows.len() - 1], ["all", "-", "2", "28", "4", "2"]);
    assert_eq!(with_key.says(&["usage", "--from", "2020-01-01", "--to", "2020-01-31"], "").await.0.lines().count(), 2);
    let refused = with_key.fails(&["usage", "--from", "2020-02-30"], 64).await;
    assert!(refused.contains("first_day"), "{refused}");

    let (me, _) = with_key.says(&["me"], "").await;
    assert_eq!((field(&me, "user"), field(&me, "role")), ("ada", "user"));
}

#[tokio::test]
async fn a_chats_tokens_appear_as_they_arrive() {
    let upstream = ScriptedUpstream::start().await;
    let gate = Gate::new();
    upstream.script("/api/chat", Script::stream().gated_tokens(&gate, &["first", " second"]).done("stop", 5, 2));
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (_, shell) = Shell::at(&stack).user("ada").await;
    let (mut child, mut said) = (shell.start(&["chat", "smollm2", "count", "--request-id", "order-7"]), String::new());
    // What a pipe holds goes behind the prompt: nothing.
    drop(child.stdin.take());
    gate.open(1);
    read_until(&mut child, &mut said, "first").await;
    // The second is still behind its gate.
    assert_eq!(said, "first");
    gate.open(1);
    read_until(&mut child, &mut said, "second").await;
    let ended = timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
    assert!(ended.status.success());
    assert_eq!(said + &text(&ended.stdout), "first second\n");
    assert!(text(&ended.stderr).contains("request order-7"));

    let (out, again) = shell.says(&["chat", "smollm2", "count", "--request-id", "order-7"], "").await;
    assert_eq!(out, "");
    assert!(again.starts_with("answered before, nothing is charged now; 1 credit charged, 9 left"), "{again}");
    let (receipt, _) = shell.says(&["receipt", "order-7"], "").await;
    assert_eq!((field(&receipt, "state"), field(&receipt, "charged")), ("charged", "1"));
}

#[tokio::test]
async fn ctrl_c_during_a_chat_exits_130_closes_the_upstream_and_settles() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::stream().token("one").stall());
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (_, shell) = Shell::at(&stack).user("ada").await;
    let (mut child, mut said) = (shell.start(&["chat", "smollm2", "count", "--request-id", "cancelled-one"]), String::new());
    drop(child.stdin.take());
    read_until(&mut child, &mut said, "one").await;

    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());

    let ended = timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    let error = text(&ended.stderr);
    assert!(error.contains("cancelled") && error.contains("tollgate receipt cancelled-one"), "{error}");
    upstream.request("/api/chat", 0).await.client_closed().await;
    let receipt = until("the settle", SOON, || async {
        let (receipt, _) = shell.says(&["receipt", "cancelled-one"], "").await;
        (field(&receipt, "state") == "charged").then_some(receipt)
    })
    .await;
    assert_eq!((field(&receipt, "outcome"), field(&receipt, "charged")), ("cancelled", "1"));
}

#[tokio::test]
async fn keys_are_listed_and_a_revoked_one_is_refused_with_77() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (logged_in, with_key) = Shell::at(&stack).user("ada").await;
    let (list, _) = logged_in.says(&["keys", "list"], "").await;
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((rows.len(), rows[1][2]), (2, "active"), "{list}");
    assert!(!list.contains(&with_key.environment["TOLLGATE_API_KEY"]), "no secrets: {list}");

    assert!(with_key.fails(&["keys", "revoke", rows[1][0]], 77).await.contains("ACCESS_TOKEN_REQUIRED"));
    let (out, _) = logged_in.says(&["keys", "revoke", rows[1][0]], "").await;
    assert_eq!(out, format!("key {} is revoked\n", rows[1][0]));

    for arguments in [&["chat", "smollm2", "hi"][..], &["balance"], &["models", "list"]] {
        let error = with_key.fails(arguments, 77).await;
        assert!(error.contains("(CREDENTIAL_REVOKED)") && error.lines().count() == 1, "{error}");
    }
    assert!(logged_in.says(&["keys", "list"], "").await.0.contains("revoked"));
    assert!(Shell::at(&stack).fails(&["balance"], 77).await.contains("TOLLGATE_API_KEY"), "it says how to give a credential");
    assert!(upstream.requests_to("/api/chat").is_empty());
}

#[tokio::test]
async fn credits_that_are_gone_exit_3_and_what_went_wrong_upstream_its_own_way() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script_once("/api/chat", Script::error(503, "server busy, please try again.  maximum pending requests exceeded"));
    upstream.script("/api/chat", Script::stream().token("one").error_line("unexpected EOF"));
    let stack = Plan::with_upstream(&upstream.url()).set("TOLLGATE_STARTING_CREDITS", "1").start().await;
    let (_, shell) = Shell::at(&stack).user("ada").await;
    let busy = shell.fails(&["chat", "smollm2", "hi"], 75).await;
    assert!(busy.contains("(UPSTREAM_BUSY)") && busy.contains("try again in 1 s") && busy.contains("0 credits charged, 1 left"), "{busy}");
    assert!(shell.fails(&["chat", "nosuch", "hi"], 1).await.contains("(MODEL_NOT_FOUND)"));

    let broken = shell.run(&["chat", "smollm2", "hi"], "").await;
    let error = text(&broken.stderr);
    assert_eq!((broken.status.code(), text(&broken.stdout).as_str()), (Some(69), "one\n"), "{error}");
    assert!(error.contains("(UPSTREAM_UNAVAILABLE)") && error.contains("1 credit charged, 0 left"), "{error}");

    let gone = shell.fails(&["chat", "smollm2", "hi"], 3).await;
    assert!(gone.contains("(INSUFFICIENT_CREDITS)") && gone.lines().count() == 1, "{gone}");
    assert_eq!(field(&shell.says(&["balance"], "").await.0, "available"), "0");
}

#[tokio::test]
async fn what_is_wrong_before_or_at_the_server_exits_64_and_a_server_that_is_not_there_69() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let shell = Shell::at(&stack);
    for arguments in [&["chat"][..], &["nonsense"], &["chat", "m", "p", "--max-tokens", "0"], &["chat", "m", "p", "--format", "["], &[]] {
        shell.fails(arguments, 64).await;
    }
    assert!(shell.says(&["--help"], "").await.0.contains("Exit codes"));
    let short = shell.run(&["signup", "ada"], "too short\n").await;
    assert_eq!(short.status.code(), Some(64), "{}", text(&short.stderr));
    let empty = shell.run(&["signup", "ada"], "").await;
    assert_eq!(empty.status.code(), Some(64), "{}", text(&empty.stderr));
    let (_, with_key) = shell.user("ada").await;
    let refused = with_key.fails(&["chat", "smollm2", "hi", "--temperature", "-1"], 64).await;
    assert!(refused.contains("options.temperature") && refused.contains("(INVALID_ARGUMENT)"), "{refused}");
    let wrong = shell.run(&["login", "ada"], "another pass phrase\n").await;
    assert_eq!((wrong.status.code(), text(&wrong.stdout).as_str()), (Some(77), ""), "{}", text(&wrong.stderr));

    let reserved = ReservedPort::new();
    let nobody = format!("http://{}", reserved.address());
    let auth = with_key.fails(&["balance", "--auth-url", &nobody], 69).await;
    assert!(auth.contains(&nobody) && auth.contains("TOLLGATE_AUTH_URL"), "{auth}");
    let inference = with_key.fails(&["chat", "smollm2", "hi", "--url", &nobody], 69).await;
    assert!(inference.contains(&nobody) && inference.contains("TOLLGATE_URL"), "{inference}");
    assert!(upstream.requests_to("/api/chat").is_empty());
}

#[tokio::test]
async fn operators_make_and_remove_models_and_look_after_users() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let shell = Shell::at(&stack);
    let (operator, (_, ada)) = (shell.operator(&stack).await, shell.user("ada").await);
    let modelfile = stack.folder().join("Modelfile");
    std::fs::write(&modelfile, "FROM smollm2\nSYSTEM You are mario.\n").unwrap();
    let modelfile = modelfile.to_str().unwrap();

    let (steps, _) = operator.says(&["models", "create", "mario", "-f", modelfile], "").await;
    assert_eq!(steps.lines().last(), Some("success"), "{steps}");
    assert_eq!(upstream.request("/api/create", 0).await.json()["system"], "You are mario.");
    // As Windows' editors write it.
    for (number, bytes) in [u16::to_le_bytes as fn(u16) -> [u8; 2], u16::to_be_bytes].into_iter().enumerate() {
        let text = "\u{feff}FROM smollm2\r\nSYSTEM Du bist Märio 🍄.\r\n";
        std::fs::write(modelfile, text.encode_utf16().flat_map(bytes).collect::<Vec<_>>()).unwrap();
        operator.says(&["models", "create", "mario", "-f", modelfile], "").await;
        assert_eq!(upstream.request("/api/create", 1 + number).await.json()["system"], "Du bist Märio 🍄.");
    }
    let (list, _) = ada.says(&["models", "list"], "").await;
    let names: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["NAME", "smollm2", "mario"], "{list}");
    assert!(ada.says(&["models", "show", "mario"], "").await.0.contains("8192 tokens"));
    assert_eq!(operator.says(&["models", "rm", "mario"], "").await.0, "mario is removed\n");
    assert!(operator.fails(&["models", "rm", "mario"], 1).await.contains("(MODEL_NOT_FOUND)"));
    let mistake = operator.run(&["models", "create", "m", "-f", "-"], "FROM smollm2\nPARAMETER temprature 1\n").await;
    assert_eq!(mistake.status.code(), Some(64));
    assert!(text(&mistake.stderr).contains("line 2"), "{}", text(&mistake.stderr));
    ada.fails(&["models", "create", "m", "-f", modelfile], 77).await;
    ada.fails(&["models", "rm", "smollm2"], 77).await;

    let grant = ["admin", "grant", "ada", "5", "--request-id", "invoice-7", "--note", "paid"];
    assert_eq!(operator.says(&grant, "").await.0, "ada got 5 credits, and has 15 available (request invoice-7)\n");
    assert_eq!(operator.says(&grant, "").await.0, "ada had got these 5 credits, and has 15 available (request invoice-7)\n");
    let (made, _) = operator.says(&["admin", "create-user", "bob", "--credits", "3"], &format!("{PASSWORD}\n")).await;
    assert_eq!(made, "bob is a user with 3 credits\n");
    assert_eq!(operator.says(&["admin", "disable", "ada"], "").await.0, "ada is disabled\n");
    assert!(ada.fails(&["chat", "smollm2", "hi"], 77).await.contains("(USER_DISABLED)"));
    assert_eq!(operator.says(&["admin", "enable", "ada"], "").await.0, "ada is enabled\n");
    assert_eq!(ada.says(&["chat", "smollm2", "hi"], "").await.0, "It's-a me!\n");
    assert!(ada.fails(&["admin", "grant", "ada", "5"], 77).await.contains("tollgate:"));
}
