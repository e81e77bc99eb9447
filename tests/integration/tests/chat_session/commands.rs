//! Commands: what they say, and what becomes of them in the next request.

use integration::scripted_upstream::Script;
use integration::shell::Shell;
use serde_json::json;

use crate::Stage;
use integration::terminal::{PLACEHOLDER, Setting, Terminal};

#[tokio::test]
async fn every_command_of_ollama_run_is_obeyed_or_answered_in_words() {
    let stage = Stage::start().await;
    let mut terminal = Terminal::chat(&stage.shell, &[]).await;
    let rows = [
        ("/?", "/load <model>   Go on with another model"),
        ("/help", "Use \"\"\" to begin a multi-line message."),
        ("/? set", "/set nowordwrap        Disable wordwrap"),
        ("/set", "/set format json       Enable JSON mode"),
        ("/? show", "/show modelfile    Show Modelfile for this model"),
        ("/show", "/show template     Show prompt template"),
        ("/? shortcuts", "Ctrl + g            Open default editor to compose a prompt"),
        ("/set parameter", "/set parameter top_k <int>"),
        ("/set parameter seed", "/set parameter num_ctx <int>"),
        ("/set parameter seed 7", "Set parameter 'seed' to '7'"),
        ("/set parameter stop ### END", "Set parameter 'stop' to '###, END'"),
        ("/set parameter seed x", "Couldn't set parameter: \"invalid int value [x]\""),
        ("/set parameter nonsense 1", "Couldn't set parameter: \"unknown parameter 'nonsense'\""),
        ("/set parameter num_gpu 1", "is set by whoever runs the model server"),
        ("/set system", "/set system <string>   Set system message"),
        ("/set system You are mario.", "Set system message."),
        ("/set history", "What is asked is kept in "),
        ("/set nohistory", "What is asked from now on is not kept on disk."),
        ("/set wordwrap", "Set 'wordwrap' mode."),
        ("/set nowordwrap", "Set 'nowordwrap' mode."),
        ("/set format", "Invalid or missing format. For 'json' mode use '/set format json'"),
        ("/set format json", "Set format to 'json' mode."),
        ("/set noformat", "Disabled format."),
        ("/set verbose", "Set 'verbose' mode."),
        ("/set quiet", "Set 'quiet' mode."),
        ("/set think", "warning: model \"smollm2\" does not support thinking output\nSet 'think' mode."),
        ("/set think high", "Set 'think' mode to 'high'."),
        ("/set think hard", "'hard' is no level of thinking"),
        ("/set nothink", "Set 'nothink' mode."),
        ("/set nonsense", "Unknown command '/set nonsense'. Type /? for help"),
        ("/show info", "context       8192 tokens"),
        ("/show license", "Tollgate doesn't tell a model's license"),
        ("/show modelfile", "Tollgate doesn't show Modelfiles"),
        ("/show template", "Tollgate doesn't show a model's prompt template"),
        ("/show parameters", "User defined parameters:\n  seed                           7\n  stop                           ###"),
        ("/show system", "You are mario."),
        ("/show nonsense", "Unknown command '/show nonsense'. Type /? for help"),
        ("/list", "smollm2"),
        ("/list nosuch", "NAME  SIZE"),
        ("/load", "Usage:\n  /load <modelname>"),
        ("/load nosuch", "Loading model 'nosuch'\nCouldn't find model 'nosuch'"),
        ("/save", "Usage:\n  /save <modelname>"),
        ("/save mine", "(ROLE_REQUIRED)"),
        ("/clear", "Cleared session context"),
        ("/nonsense", "Unknown command '/nonsense'. Type /? for help"),
    ];
    for (line, answer) in rows {
        let screen = terminal.does(line, answer).await;
        assert!(screen.starts_with(&format!(">>> {line}\n")), "{screen}");
        terminal.clear().await;
    }
    assert!(stage.upstream.requests_to("/api/chat").is_empty(), "none of it was asked of a model");
    terminal.types("/exit\r");
    assert_eq!(terminal.ends().await, 0);
}

#[tokio::test]
async fn what_is_set_is_what_the_next_request_asks_with() {
    let stage = Stage::start().await;
    stage.upstream.script("/api/chat", Script::chat(&["{}"]));
    let more = ["--temperature", "0", "--max-tokens", "9", "--keep-alive", "90s", "--json"];
    let terminal = Terminal::chat(&stage.shell, &more).await;
    terminal.does("one", "9 left").await;
    let sent = stage.upstream.request("/api/chat", 0).await.json();
    assert_eq!((&sent["options"]["temperature"], &sent["format"]), (&json!(0.0), &json!("json")), "{sent}");
    assert_eq!(sent["options"]["num_predict"], 9, "{sent}");
    assert!(sent["keep_alive"] == json!("90s") || sent["keep_alive"] == json!(90), "{sent}");

    for line in ["/set parameter top_k 5", "/set parameter num_predict 7", "/set parameter temperature 0.5", "/set parameter stop a b"] {
        terminal.does(line, "Set parameter").await;
        terminal.clear().await;
    }
    terminal.does("/set noformat", "Disabled format.").await;
    terminal.does("/set system \"\"\"You are\"\"\"", "Set system message.").await;
    terminal.does("two", "8 left").await;
    let sent = stage.upstream.request("/api/chat", 1).await.json();
    assert_eq!(
        (&sent["options"]["top_k"], &sent["options"]["stop"], &sent["options"]["num_predict"]),
        (&json!(5), &json!(["a", "b"]), &json!(7))
    );
    assert_eq!((&sent["options"]["temperature"], sent.get("format")), (&json!(0.5), None), "{sent}");
    assert_eq!(stage.sent(1).await, ["system: You are", "user: one", "assistant: {}", "user: two"]);
    terminal.does("/set system \"\"\"\"\"\"", "Took the system message away.").await;
    terminal.does("three", "7 left").await;
    assert_eq!(stage.sent(2).await.first().unwrap(), "user: one");
}

#[tokio::test]
async fn load_and_clear_begin_from_nothing_and_a_model_that_is_not_there_changes_nothing() {
    let stage = Stage::start().await;
    stage.upstream.script("/api/chat", Script::chat(&["Yes."]));
    stage.upstream.model("other", &["completion"], 4096);
    let terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.does("one", "9 left").await;
    terminal.does("/load nosuch", "Couldn't find model 'nosuch'").await;
    terminal.does("two", "8 left").await;
    assert_eq!(stage.sent(1).await, ["user: one", "assistant: Yes.", "user: two"]);
    terminal.does("/load other", "Loading model 'other'").await;
    terminal.does("three", "7 left").await;
    assert_eq!(stage.upstream.request("/api/chat", 2).await.json()["model"], "other");
    assert_eq!(stage.sent(2).await, ["user: three"]);
    terminal.does("/clear", "Cleared session context").await;
    terminal.does("four", "6 left").await;
    assert_eq!(stage.sent(3).await, ["user: four"]);
}

#[tokio::test]
async fn verbose_shows_what_the_model_server_measured() {
    let stage = Stage::start().await;
    stage.upstream.script("/api/chat", Script::chat(&["Yes."]));
    let terminal = Terminal::chat(&stage.shell, &[]).await;
    terminal.does("/set verbose", "Set 'verbose' mode.").await;
    let screen = terminal.does("one", "request:").await;
    assert!(screen.contains("prompt eval count:    14 token(s)") && screen.contains("eval count:           1 token(s)"), "{screen}");
}

#[tokio::test]
async fn an_operator_saves_a_session_as_a_model() {
    let stage = Stage::start().await;
    stage.upstream.script("/api/chat", Script::chat(&["It's-a me!"]));
    let operator = Shell::at(&stage.stack).operator(&stage.stack).await;
    let user = stage.logged_in.says(&["me"], "").await;
    assert!(user.0.contains("ada"));
    operator.says(&["admin", "grant", "root.admin", "5"], "").await;
    let terminal = Terminal::chat(&operator, &["--system", "You are mario."]).await;
    terminal.does("/set parameter temperature 0.5", "Set parameter").await;
    terminal.does("Who are you?", "left").await;
    terminal.does("/save mario", "Created new model 'mario'").await;
    let made = stage.upstream.request("/api/create", 0).await.json();
    assert_eq!((&made["from"], &made["system"]), (&json!("smollm2"), &json!("You are mario.")), "{made}");
    assert_eq!(made["messages"][1]["content"], "It's-a me!", "{made}");
    terminal.does("/load mario", "Loading model 'mario'").await;
}

#[tokio::test]
async fn without_a_model_the_only_one_there_is_is_asked_and_of_several_one_must_be_named() {
    let stage = Stage::start().await;
    let terminal = Setting::of(&stage.shell, &["chat"]).open();
    terminal.until(PLACEHOLDER).await;
    drop(terminal);
    stage.upstream.script("/api/chat", Script::chat(&["Yes."]));
    assert_eq!(stage.shell.says(&["chat"], "from a pipe").await.0, "Yes.\n");
    stage.upstream.model("other", &["completion"], 4096);
    let mut terminal = Setting::of(&stage.shell, &["chat"]).open();
    assert_eq!(terminal.ends().await, 64);
    assert_eq!(terminal.until("which MODEL?").await, "tollgate: which MODEL? There are smollm2, other");
    // The usual one, by the variable or by the profile.
    let config = stage.stack.folder().join("config.yaml");
    std::fs::write(&config, "default:\n  model: other\n").unwrap();
    std::fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let profiled = stage.shell.with("TOLLGATE_CONFIG", config.to_str().unwrap());
    for (number, (shell, model)) in [(stage.shell.with("TOLLGATE_MODEL", "other"), "other"), (profiled, "other")].into_iter().enumerate() {
        assert_eq!(shell.says(&["chat"], "from a pipe").await.0, "Yes.\n");
        assert_eq!(stage.upstream.request("/api/chat", 1 + number).await.json()["model"], model);
    }
    let mut terminal = Setting::of(&stage.shell, &["chat", "nosuch"]).open();
    assert_eq!(terminal.ends().await, 1);
    terminal.until("(MODEL_NOT_FOUND); tollgate models list shows what there is").await;
}
