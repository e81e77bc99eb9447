//! A device without a browser: one process waits, and another approves or denies it.

use integration::scripted_upstream::ScriptedUpstream;
use integration::shell::{SOON, Shell, text};
use integration::stack::Plan;
use integration::terminal::Setting;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr};
use tokio::time::timeout;

use crate::person::Person;

/// `tollgate login --device`, which waits.
struct Device {
    child: Child,
    says: Lines<BufReader<ChildStderr>>,
    code: String,
}

impl Device {
    async fn begin(shell: &Shell, more: &[&str]) -> Self {
        let mut child = shell.start(&[&["login", "--device"], more].concat());
        let mut says = BufReader::new(child.stderr.take().unwrap()).lines();
        let code = loop {
            let line = timeout(SOON, says.next_line()).await.expect("a code").unwrap().expect("it waits");
            if let Some(code) = line.strip_prefix("and type this code: ") {
                break code.to_owned();
            }
        };
        assert_eq!((code.len(), code.find('-')), (9, Some(4)), "{code}");
        Self { child, says, code }
    }

    /// Its exit code, standard output, and what it said since the code.
    async fn ends(mut self) -> (Option<i32>, String, String) {
        let (mut out, mut rest) = (String::new(), Vec::new());
        let ending = async {
            while let Some(line) = self.says.next_line().await.unwrap() {
                rest.push(line);
            }
            self.child.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
            self.child.wait().await.unwrap().code()
        };
        let code = timeout(SOON, ending).await.expect("it ends");
        (code, out, rest.join("\n"))
    }

    async fn interrupt(&self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }
}

#[tokio::test]
async fn a_device_is_signed_in_once_somebody_at_a_terminal_has_seen_what_asks_and_said_yes() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (ada, notebook) = (Person::signed_up(&stack, "ada").await, Person::new(&stack));
    let device = Device::begin(&notebook.shell, &["--client", "my notebook", "--scope", "chat", "--scope", "account"]).await;

    // As people type it.
    let typed = device.code.to_lowercase().replace('-', " ");
    let unasked = ada.shell.run(&["devices", "approve", &typed], "").await;
    assert_eq!(unasked.status.code(), Some(64), "nobody is there to be asked: {}", text(&unasked.stderr));
    for (answer, code) in [("\r", 1), ("n\r", 1), ("yes\r", 0)] {
        let mut terminal = Setting::of(&ada.shell, &["devices", "approve", &typed]).open();
        let screen = terminal.until("shall it be signed in as you? [y/N]").await;
        assert!(screen.contains("my notebook") && screen.contains("127.0.0.1") && screen.contains("chat, account"), "{screen}");
        terminal.types(answer);
        assert_eq!(terminal.ends().await, code, "{answer:?}: {}", terminal.screen());
    }

    let (code, out, rest) = device.ends().await;
    assert_eq!((code, out.as_str()), (Some(0), ""), "{rest}");
    assert!(rest.contains("ada is signed in"), "{rest}");
    assert_eq!(notebook.json(&["me"], "").await["userName"], "ada");
    let sessions = ada.json(&["sessions", "list"], "").await;
    let of_device = sessions.as_array().unwrap().iter().find(|session| session["method"] == "device").unwrap();
    assert_eq!((&of_device["client"], &of_device["scopes"]), (&"my notebook".into(), &serde_json::json!(["chat", "account"])));
    // What is limited makes no keys.
    notebook.shell.fails(&["keys", "create"], 77).await;
}

#[tokio::test]
async fn a_device_that_is_denied_or_given_up_or_not_approved_in_time_ends_with_its_own_exit_code_and_keeps_nothing() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (ada, notebook) = (Person::signed_up(&stack, "ada").await, Person::new(&stack));
    let denied = Device::begin(&notebook.shell, &[]).await;
    let late = Device::begin(&notebook.shell, &["--timeout", "1s"]).await;
    let given_up = Device::begin(&notebook.shell, &[]).await;

    let said = ada.shell.says(&["devices", "deny", &denied.code], "").await.0;
    assert_eq!(said, format!("{} is denied\n", denied.code));
    given_up.interrupt().await;
    assert_eq!(given_up.ends().await.0, Some(130));
    let (code, out, said) = late.ends().await;
    assert_eq!((code, out.as_str()), (Some(75), ""), "{said}");
    assert!(said.contains("nobody approved in time"), "{said}");
    let (code, out, said) = denied.ends().await;
    assert_eq!((code, out.as_str()), (Some(77), ""), "{said}");
    assert!(said.contains("(DEVICE_SIGN_IN_DENIED)"), "{said}");
    notebook.shell.fails(&["me"], 77).await;
    let unknown = ada.shell.fails(&["devices", "approve", "BCDF-GHJK", "--yes"], 1).await;
    assert!(unknown.contains("(USER_CODE_UNKNOWN)") && unknown.contains("the device shows it"), "{unknown}");
}

#[tokio::test]
async fn a_device_that_is_approved_by_a_script_prints_its_token_where_it_keeps_none() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (ada, notebook) = (Person::signed_up(&stack, "ada").await, Person::new(&stack));
    let device = Device::begin(&notebook.shell, &["--print-token", "--json"]).await;
    let approved = ada.json(&["devices", "approve", &device.code, "--yes"], "").await;
    assert!(approved["approved"] == true && approved["userCode"] == device.code.as_str(), "{approved}");
    let (code, out, rest) = device.ends().await;
    assert_eq!(code, Some(0), "{rest}");
    let said: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(said["userName"], "ada");
    let token = said["accessToken"].as_str().unwrap();
    assert!(!rest.contains(token), "{rest}");
    assert!(notebook.shell.with_key(token).says(&["me"], "").await.0.contains("ada"));
}
