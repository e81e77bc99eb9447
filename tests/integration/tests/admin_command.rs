//! What operators do with `tollgate admin`, and the same calls by grpcurl and curl.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::process::Stdio;

use integration::polling::until;
use integration::redis_server::RedisServer;
use integration::scripted_upstream::ScriptedUpstream;
use integration::shell::{SOON, Shell, text};
use integration::stack::{PASSWORD, Plan, Stack};
use serde_json::{Value, json};
use shared::credential_form::to_bearer;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const NEW_PASSWORD: &str = "another pass phrase of mine";

/// The words of each line behind the first, which names the columns.
fn rows(table: &str) -> Vec<String> {
    table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The columns of rows, without their times.
fn without_times(table: &str, time: usize) -> Vec<String> {
    let without =
        |row: &String| row.split(' ').enumerate().filter(|(place, _)| *place != time).map(|(_, word)| word.to_owned()).collect::<Vec<_>>();
    rows(table).iter().map(|row| without(row).join(" ")).collect()
}

#[tokio::test]
async fn operators_list_lock_and_disable_users_with_a_reason_and_reset_their_passwords() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let shell = Shell::at(&stack);
    let (ada, ada_with_key) = shell.user("ada").await;
    shell.user("adam").await;
    shell.user("bob").await;
    let operator = shell.operator(&stack).await;

    let all = operator.says(&["admin", "users"], "").await.0;
    let expected = ["ada user enabled - - -", "adam user enabled - - -", "bob user enabled - - -", "root.admin admin enabled - - -"];
    assert_eq!(without_times(&all, 3), expected);
    assert_eq!(operator.says(&["admin", "lock", "ada", "--reason", "lost laptop"], "").await.0, "ada is locked\n");
    assert!(ada.fails(&["keys", "list"], 77).await.contains("tollgate:"));
    ada_with_key.says(&["balance"], "").await;
    assert!(login_fails(&shell, "ada", PASSWORD).await.contains("(LOGIN_FAILED)"));
    assert_eq!(operator.says(&["admin", "disable", "adam", "--reason", "left"], "").await.0, "adam is disabled\n");
    let of_state = async |state| without_times(&operator.says(&["admin", "users", "--prefix", "AD", "--state", state], "").await.0, 3);
    assert_eq!(of_state("locked").await, ["ada user locked - - lost laptop"]);
    assert_eq!(of_state("disabled").await, ["adam user disabled - - left"]);
    assert_eq!(of_state("enabled").await, Vec::<String>::new());
    assert_eq!(operator.says(&["admin", "unlock", "ada"], "").await.0, "ada is enabled\n");
    assert_eq!(operator.says(&["admin", "enable", "adam"], "").await.0, "adam is enabled\n");

    let (one_time, hint) = operator.says(&["admin", "reset-password", "ada"], "").await;
    let one_time = one_time.strip_suffix('\n').unwrap();
    assert!(one_time.len() == 24 && !one_time.contains(['\n', ' ']), "the one-time password alone: {one_time:?}");
    assert!(hint.contains("ada") && hint.contains("until 20") && !hint.contains(one_time), "{hint}");
    let users = operator.says(&["admin", "users", "--prefix", "ada"], "").await.0;
    assert_eq!(without_times(&users, 3)[0], "ada user password-reset - - -");
    assert!(login_fails(&shell, "ada", one_time).await.contains("(PASSWORD_CHANGE_REQUIRED)"));
    let complete = json!({ "user_name": "ada", "one_time_password": one_time, "new_password": NEW_PASSWORD });
    connect(&stack, "Accounts/CompletePasswordReset", "", &complete).await;
    shell.says(&["login", "ada"], NEW_PASSWORD).await;

    assert!(operator.fails(&["admin", "lock", "nobody"], 1).await.contains("tollgate admin users shows whom there is"));
    assert!(ada_with_key.fails(&["admin", "users"], 77).await.contains("(ACCESS_TOKEN_REQUIRED)"));
}

async fn login_fails(shell: &Shell, name: &str, password: &str) -> String {
    let refused = shell.run(&["login", name], password).await;
    assert!(!refused.status.success());
    text(&refused.stderr)
}

/// `tollgate admin audit --follow`, and the lines that it prints.
struct Following {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Following {
    fn start(shell: &Shell, more: &[&str]) -> Self {
        let mut child = shell.start(&[&["admin", "audit", "--follow"], more].concat());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> String {
        timeout(SOON, self.lines.next_line()).await.expect("a line").unwrap().expect("it goes on")
    }

    /// Interrupts it as Ctrl-C does: what it still printed, its exit code, and what it said beside.
    async fn interrupt(mut self) -> (Vec<String>, Option<i32>, String) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let mut rest = Vec::new();
        while let Some(line) = timeout(SOON, self.lines.next_line()).await.expect("it ends").unwrap() {
            rest.push(line);
        }
        let output = self.child.wait_with_output().await.unwrap();
        (rest, output.status.code(), text(&output.stderr))
    }
}

/// The action and the user's name of an event's line.
fn what(line: &str) -> String {
    let event: BTreeMap<String, String> = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    format!("{} {}{}", event["action"], event["subjectName"], event.get("failure").map_or("", |_| " failed"))
}

async fn each_event_once_across_a_restart(plan: Plan<'_>) {
    let mut stack = plan.start().await;
    let shell = Shell::at(&stack);
    shell.user("ada").await;
    let operator = shell.operator(&stack).await;
    let mut following = Following::start(&operator, &["--json", "-n", "2"]);
    // What was before, oldest first.
    assert_eq!([what(&following.line().await), what(&following.line().await)], ["create_admin root.admin", "sign_in root.admin"]);
    operator.says(&["admin", "disable", "ada"], "").await;
    assert_eq!(what(&following.line().await), "disable_user ada");
    let port = stack.stop_auth().await;
    // It notices that nobody is there.
    let mut beside = BufReader::new(following.child.stderr.take().unwrap()).lines();
    let hint = timeout(SOON, beside.next_line()).await.expect("a hint").unwrap().expect("it goes on");
    assert!(hint.contains("waiting"), "{hint}");
    stack.start_auth_at(port).await;
    operator.says(&["admin", "enable", "ada"], "").await;
    let _ = login_fails(&shell, "ada", "not the password").await;
    assert_eq!(what(&following.line().await), "enable_user ada");
    assert_eq!(what(&following.line().await), "sign_in ada failed");
    // More than a page at once.
    for number in 0..3 {
        operator.says(&["admin", "grant", "ada", "1", "--request-id", &format!("g{number}")], "").await;
    }
    for _ in 0..3 {
        assert_eq!(what(&following.line().await), "grant_credits ada");
    }
    let (rest, code, _) = following.interrupt().await;
    assert_eq!((rest, code), (Vec::new(), Some(130)));
}

#[tokio::test]
async fn following_the_audit_log_prints_each_event_once_across_a_restart_of_the_service_until_ctrl_c_on_sqlite() {
    let upstream = ScriptedUpstream::start().await;
    each_event_once_across_a_restart(Plan::with_upstream(&upstream.url())).await;
}

#[tokio::test]
async fn following_the_audit_log_prints_each_event_once_across_a_restart_of_the_service_until_ctrl_c_on_redis() {
    let (upstream, redis) = (ScriptedUpstream::start().await, RedisServer::start());
    each_event_once_across_a_restart(Plan::with_upstream(&upstream.url()).on_redis(&redis)).await;
}

#[tokio::test]
async fn who_may_not_follow_is_told_so_at_once() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (ada, _) = Shell::at(&stack).user("ada").await;
    assert!(ada.fails(&["admin", "audit", "--follow"], 77).await.contains("(ROLE_REQUIRED)"));
}

#[tokio::test]
async fn the_audit_log_is_a_table_the_newest_first_and_json_a_line_each_of_one_user_or_action() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let shell = Shell::at(&stack);
    shell.user("ada").await;
    let operator = shell.operator(&stack).await;
    operator.says(&["admin", "disable", "ada", "--reason", "left"], "").await;
    let table = operator.says(&["admin", "audit", "-n", "1"], "").await.0;
    assert!(table.starts_with("TIME "), "{table}");
    let row = &rows(&table)[0];
    assert!(row.contains(" disable_user ok root.admin ada - 127.0.0.1 ") && row.ends_with(" left"), "{row}");
    let of_ada = operator.says(&["admin", "audit", "--user", "ada", "--json", "-n", "0"], "").await.0;
    let seen: Vec<String> = of_ada.lines().map(what_alone).collect();
    assert_eq!(seen, ["disable_user", "create_api_key", "sign_in", "sign_up"]);
    let signed_in = operator.says(&["admin", "audit", "--action", "sign_in", "--json"], "").await.0;
    assert_eq!(signed_in.lines().count(), 2, "{signed_in}");
    assert!(operator.fails(&["admin", "audit", "--action", "explode"], 64).await.contains("sign_in"));
}

fn what_alone(line: &str) -> String {
    serde_json::from_str::<Value>(line).unwrap()["action"].as_str().unwrap().to_owned()
}

/// What a method of auth-service answers over Connect, by curl.
async fn connect(stack: &Stack, method: &str, token: &str, request: &Value) -> Value {
    let url = format!("http://{}/tollgate.auth.v1.{method}", stack.auths[0].address());
    let mut command = Command::new("curl");
    command.args(["-sS", "--fail-with-body", "-d", &request.to_string(), &url]);
    if !token.is_empty() {
        command.args(["-H", &format!("authorization: {}", to_bearer(token))]);
    }
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    assert!(output.status.success(), "{method}: {}", text(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The same by grpcurl.
async fn grpcurl(stack: &Stack, method: &str, token: &str, request: &Value) -> Value {
    let home = || format!("{}/.cache/tollgate/bin/grpcurl", std::env::var("HOME").unwrap_or_default());
    let path = std::env::var("TOLLGATE_GRPCURL").unwrap_or_else(|_| home());
    let mut command = Command::new(path);
    command.args(["-plaintext", "-H", &format!("authorization: {}", to_bearer(token)), "-d", &request.to_string()]);
    command.args([&stack.auths[0].address().to_string(), &format!("tollgate.auth.v1.{method}")]);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    assert!(output.status.success(), "{method}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn users_and_audit_events_are_listed_alike_by_grpcurl_and_by_curl() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    for name in ["ada", "bob", "cleo"] {
        stack.user(name).await;
    }
    let token = stack.admin_token().await;
    connect(&stack, "Admin/LockUser", &token, &json!({ "user_name": "bob", "reason": "why" })).await;
    let request = json!({ "page_size": 2, "name_prefix": "", "state": "USER_STATE_UNSPECIFIED" });
    let users = connect(&stack, "Admin/ListUsers", &token, &request).await;
    assert_eq!(users, grpcurl(&stack, "Admin/ListUsers", &token, &request).await);
    assert_eq!((&users["users"][0]["userName"], &users["users"][1]["stateReason"]), (&json!("ada"), &json!("why")));
    let next = json!({ "page_token": users["nextPageToken"], "state": "USER_STATE_ENABLED" });
    let next = grpcurl(&stack, "Admin/ListUsers", &token, &next).await;
    assert_eq!((&next["users"][0]["userName"], &next["users"][1]["userName"]), (&json!("cleo"), &json!("root.admin")));
    let request = json!({ "user_name": "bob", "action": "lock_user" });
    let events = connect(&stack, "Admin/ListAuditEvents", &token, &request).await;
    assert_eq!(events, grpcurl(&stack, "Admin/ListAuditEvents", &token, &request).await);
    let event = &events["events"][0];
    assert_eq!(
        (&event["action"], &event["actorName"], &event["subjectName"], &event["detail"], &event["address"]),
        (&json!("lock_user"), &json!("root.admin"), &json!("bob"), &json!("why"), &json!("127.0.0.1"))
    );
    assert!(event["client"].as_str().unwrap().starts_with("curl/"), "{event}");
    // What comes after is told by the token, over either.
    let since = json!({ "since_token": events["newestToken"] });
    assert_eq!(connect(&stack, "Admin/ListAuditEvents", &token, &since).await["events"], Value::Null);
    connect(&stack, "Admin/UnlockUser", &token, &json!({ "user_name": "bob" })).await;
    let come = until("the event", SOON, || async {
        let page = grpcurl(&stack, "Admin/ListAuditEvents", &token, &since).await;
        page["events"].as_array().map(|events| events[0]["action"].clone())
    });
    assert_eq!(come.await, json!("unlock_user"));
}
