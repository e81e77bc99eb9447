//! `tollgate --json`: every command prints the shape that docs/cli.md gives it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};

use integration::http_client::HttpCall;
use integration::oidc_issuer::OidcIssuer;
use integration::scripted_upstream::ScriptedUpstream;
use integration::shell::{SOON, Shell, text};
use integration::stack::{PASSWORD, Plan};
use regex::Regex;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio::time::timeout;

/// A row of the table in docs/cli.md.
struct Row {
    form: String,
    fields: BTreeSet<String>,
}

/// The rows by the commands' names.
fn rows() -> BTreeMap<String, Row> {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md")).unwrap();
    let table = docs.split("| command | form | fields |").nth(1).unwrap().lines().skip(2).take_while(|line| line.starts_with('|'));
    let named = Regex::new("`([A-Za-z -]+)`").unwrap();
    let aside = Regex::new(r"\([^)]*\)").unwrap();
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut like = Vec::new();
    for line in table {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`').to_owned();
        let said = aside.replace_all(cells[3].split(';').next().unwrap(), "").into_owned();
        let mut fields: Vec<String> = named.captures_iter(&said).map(|found| found[1].to_owned()).collect();
        if said.starts_with("as ") {
            like.push((name.clone(), fields.remove(0)));
        }
        rows.insert(name, Row { form: cells[2].to_owned(), fields: fields.into_iter().collect() });
    }
    // `keys rotate` is as `keys create`, which is as `keys list`.
    for (name, other) in like {
        let fields = rows[&other].fields.clone();
        rows.get_mut(&name).unwrap().fields.extend(fields);
    }
    rows
}

/// The records that a command printed.
fn records(form: &str, out: &str) -> Vec<Value> {
    let lines: Vec<Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))).collect();
    match form {
        "document" => {
            assert!(lines.len() == 1 && lines[0].is_object(), "one document: {out}");
            lines
        }
        "list" => {
            assert_eq!(lines.len(), 1, "one document: {out}");
            lines[0].as_array().unwrap().clone()
        }
        "lines" => lines,
        other => panic!("{other}"),
    }
}

/// Runs commands and holds what they print against the docs.
struct Scene {
    rows: BTreeMap<String, Row>,
    seen: BTreeSet<String>,
}

impl Scene {
    async fn run(&mut self, shell: &Shell, name: &str, arguments: &[&str], input: &str) -> Vec<Value> {
        let whole: Vec<&str> = name.split(' ').chain(arguments.iter().copied()).chain(["--json"]).collect();
        let done = shell.run(&whole, input).await;
        assert!(done.status.success(), "{whole:?}: {}", text(&done.stderr));
        self.check(name, &text(&done.stdout))
    }

    /// Holds what a command printed against the docs.
    fn check(&mut self, name: &str, out: &str) -> Vec<Value> {
        let row = &self.rows[name];
        let records = records(&row.form, out);
        assert!(!records.is_empty(), "{name}: nothing shows its shape");
        for record in &records {
            let fields: BTreeSet<String> = record.as_object().unwrap().keys().cloned().collect();
            if name == "admin audit" {
                assert!(fields.is_subset(&row.fields), "{name}: {record}");
            } else {
                assert_eq!(fields, row.fields, "{name}: {record}");
            }
        }
        self.seen.insert(name.to_owned());
        records
    }
}

#[tokio::test]
async fn every_command_that_prints_data_prints_the_json_that_is_documented() {
    let (upstream, issuer) = (ScriptedUpstream::start().await, OidcIssuer::start().await);
    let issuers = Value::from(vec![issuer.entry("lab")]).to_string();
    let stack = Plan::with_upstream(&upstream.url()).set("TOLLGATE_OIDC_ISSUERS", &issuers).start().await;
    let home = stack.folder().join("home");
    std::fs::create_dir(&home).unwrap();
    let home = home.to_str().unwrap();
    let nobody = Shell::at(&stack);
    let (ada, boss) = (nobody.with("HOME", home), nobody.operator(&stack).await);
    let (password, new) = (format!("{PASSWORD}\n"), "another pass phrase of mine\n");
    let mut scene = Scene { rows: rows(), seen: BTreeSet::new() };

    assert_eq!(scene.run(&ada, "signup", &["ada"], &password).await[0]["availableCredits"], 10);
    scene.run(&ada, "login", &["ada"], &password).await;
    scene.run(&ada, "me", &[], "").await;
    let made = scene.run(&ada, "keys create", &["--name", "laptop"], "").await;
    let (id, key) = (made[0]["apiKeyId"].as_str().unwrap(), made[0]["key"].as_str().unwrap());
    ada.with_key(key).says(&["chat", "smollm2", "hi", "--request-id", "r1"], "").await;
    scene.run(&ada, "keys rotate", &[id], "").await;
    let secrets = &scene.run(&ada, "keys list", &[], "").await[0]["secrets"];
    let states: Vec<_> = secrets.as_array().unwrap().iter().map(|secret| secret["state"].as_str().unwrap().to_owned()).collect();
    assert_eq!(states, ["active", "active"]);
    scene.run(&ada, "keys revoke", &[id, "--secret", "1"], "").await;
    scene.run(&ada, "keys revoke", &[id], "").await;
    assert_eq!(scene.run(&ada, "balance", &[], "").await[0]["availableCredits"], 9);
    assert_eq!(scene.run(&ada, "history", &[], "").await.len(), 2);
    assert_eq!(scene.run(&ada, "usage", &[], "").await[0]["rows"][0]["chargedCredits"], 1);
    assert_eq!(scene.run(&ada, "usage", &[], "").await[0]["rows"][0]["calls"], 1);
    assert_eq!(scene.run(&ada, "receipt", &["r1"], "").await[0]["state"], "charged");
    let sessions = scene.run(&ada, "sessions list", &[], "").await;
    assert_eq!(sessions[0]["current"], true);

    scene.run(&ada, "models list", &[], "").await;
    scene.run(&ada, "models show", &["smollm2"], "").await;
    scene.run(&boss, "models create", &["mario", "-f", "-"], "FROM smollm2\n").await;
    scene.run(&boss, "models rm", &["mario"], "").await;

    scene.run(&boss, "admin create-user", &["bob"], &password).await;
    assert!(scene.run(&boss, "admin users", &[], "").await.len() == 3);
    assert_eq!(scene.run(&boss, "admin grant", &["bob", "5"], "").await[0]["credits"], 5);
    for command in ["admin disable", "admin enable", "admin lock", "admin unlock"] {
        scene.run(&boss, command, &["bob"], "").await;
    }
    let one_time = scene.run(&boss, "admin reset-password", &["bob"], "").await[0]["oneTimePassword"].as_str().unwrap().to_owned();
    let bob = ada.with("XDG_STATE_HOME", &format!("{home}/bob"));
    scene.run(&bob, "password complete-reset", &["bob"], &format!("{one_time}\n{new}")).await;
    scene.run(&ada, "password change", &[], &format!("{password}{new}")).await;
    scene.run(&boss, "admin audit", &["-n", "0"], "").await;

    scene.run(&ada, "config set", &["url", &nobody.environment["TOLLGATE_URL"]], "").await;
    scene.run(&ada, "config set", &["account", "a", "--profile", "work"], "").await;
    scene.run(&ada, "config show", &[], "").await;
    scene.run(&ada, "config get", &["url"], "").await;
    assert_eq!(scene.run(&ada, "config list", &[], "").await.len(), 2);
    scene.run(&ada, "config path", &[], "").await;
    scene.run(&ada, "config unset", &["account", "--profile", "work"], "").await;
    scene.run(&ada, "config remove", &["work"], "").await;
    scene.run(&ada, "tls make-certificates", &[&format!("{home}/tls")], "").await;
    scene.run(&ada, "man", &[&format!("{home}/man")], "").await;

    organizations(&mut scene, &ada, &bob, &boss).await;
    second_factor(&mut scene, &ada, &boss).await;
    ways_to_sign_in(&mut scene, &ada, &boss, &issuer).await;
    scene.run(&bob, "sessions revoke", &[bob_session(&bob).await.as_str()], "").await;
    scene.run(&ada, "logout", &[], "").await;

    let documented: BTreeSet<String> = scene.rows.iter().filter(|(_, row)| row.form != "none").map(|(name, _)| name.clone()).collect();
    assert_eq!(scene.seen, documented, "each documented command was run");
}

async fn organizations(scene: &mut Scene, ada: &Shell, bob: &Shell, boss: &Shell) {
    let made = scene.run(ada, "orgs create", &["lab"], "").await;
    let found = scene.run(boss, "admin orgs", &["--prefix", "LA"], "").await;
    assert_eq!((found.len(), &found[0]["accountId"]), (1, &made[0]["accountId"]));
    scene.run(ada, "orgs list", &[], "").await;
    scene.run(ada, "orgs show", &["lab"], "").await;
    scene.run(ada, "orgs add", &["lab", "bob"], "").await;
    assert_eq!(scene.run(ada, "orgs members", &["lab"], "").await.len(), 2);
    scene.run(ada, "orgs role", &["lab", "bob", "owner"], "").await;
    scene.run(ada, "orgs cap", &["lab", "bob", "5"], "").await;
    scene.run(bob, "orgs leave", &["lab"], "").await;
    let code = scene.run(ada, "orgs invite", &["lab"], "").await[0]["invitationCode"].as_str().unwrap().to_owned();
    let id = scene.run(ada, "orgs invitations", &["lab"], "").await[0]["invitationId"].as_str().unwrap().to_owned();
    scene.run(bob, "orgs join", &[], &format!("{code}\n")).await;
    scene.run(ada, "orgs withdraw", &["lab", &id], "").await;
    scene.run(ada, "orgs remove", &["lab", "bob"], "").await;
    scene.run(ada, "service-accounts create", &["lab", "ci"], "").await;
    scene.run(ada, "service-accounts list", &["lab"], "").await;
    scene.run(ada, "service-accounts cap", &["lab", "ci", "7"], "").await;
    scene.run(ada, "service-accounts remove", &["lab", "ci"], "").await;
}

async fn second_factor(scene: &mut Scene, ada: &Shell, boss: &Shell) {
    // As `password change` made it.
    let password = "another pass phrase of mine\n";
    let made = scene.run(ada, "me totp setup", &[], password).await;
    let secret = totp_rs::Secret::try_from_base32(made[0]["totpSecret"].as_str().unwrap()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let code = totp_rs::Builder::new().with_secret(secret.as_ref().to_vec()).build().unwrap().generate(now).to_string();
    let confirmed = scene.run(ada, "me totp confirm", &[], &format!("{code}\n")).await;
    let code = |codes: &Value, number: usize| format!("{}\n", codes["recoveryCodes"][number].as_str().unwrap());
    let renewed = scene.run(ada, "me totp recovery-codes", &[], &code(&confirmed[0], 0)).await;
    scene.run(ada, "me step-up", &[], &code(&renewed[0], 0)).await;
    assert_eq!(scene.run(ada, "me totp status", &[], "").await[0]["recoveryCodesLeft"], 9);
    scene.run(ada, "me totp remove", &[], &code(&renewed[0], 1)).await;
    scene.run(boss, "admin reset-second-factor", &["bob"], "").await;
}

/// Starts a command that tells on standard error where to go on, and that line.
async fn waits(shell: &Shell, arguments: &[&str], what: &str) -> (Child, String) {
    let mut child = shell.start(arguments);
    let mut says = BufReader::new(child.stderr.take().unwrap()).lines();
    loop {
        let line = timeout(SOON, says.next_line()).await.expect("a line").unwrap().expect("it waits");
        if let Some(rest) = line.strip_prefix(what) {
            let rest = rest.to_owned();
            // It goes on saying things, to whom it may concern.
            tokio::spawn(async move { while let Ok(Some(_)) = says.next_line().await {} });
            return (child, rest);
        }
    }
}

async fn link(scene: &mut Scene, ada: &Shell, issuer: &OidcIssuer) {
    let link = ["me", "identities", "link", "--with", "lab", "--no-browser", "--json"];
    let (child, address) = waits(ada, &link, "http://").await;
    let back = issuer.visit(&format!("http://{address}")).await;
    let (host, target) = back.strip_prefix("http://").unwrap().split_once('/').unwrap();
    HttpCall::get(host.parse().unwrap(), &format!("/{target}")).send().await.text().await;
    let done = timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
    scene.check("me identities link", &text(&done.stdout));
}

async fn ways_to_sign_in(scene: &mut Scene, ada: &Shell, boss: &Shell, issuer: &OidcIssuer) {
    link(scene, ada, issuer).await;
    scene.run(ada, "me identities list", &[], "").await;
    scene.run(boss, "admin identities", &["ada"], "").await;
    scene.run(boss, "admin unlink-identity", &["ada", "lab"], "").await;
    link(scene, ada, issuer).await;
    scene.run(ada, "me identities unlink", &["lab"], "").await;
    for (command, more) in [("devices approve", &["--yes"][..]), ("devices deny", &[])] {
        let (mut device, code) = waits(ada, &["login", "--device", "--print-token"], "and type this code: ").await;
        scene.run(ada, command, &[&[code.as_str()], more].concat(), "").await;
        device.kill().await.unwrap();
    }
}

async fn bob_session(bob: &Shell) -> String {
    let (list, _) = bob.says(&["sessions", "list", "--json"], "").await;
    serde_json::from_str::<Value>(&list).unwrap()[0]["sessionId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_stands_in_place_of_words_keeps_to_its_documented_fields_too() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let shell = Shell::at(&stack);
    let (ada, with_key) = shell.user("ada").await;
    let fields = |record: &Value| record.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let token = shell.says(&["login", "ada", "--print-token", "--json"], format!("{PASSWORD}\n")).await.0;
    assert_eq!(fields(&serde_json::from_str(&token).unwrap()), ["userName", "accessToken", "expiresAt"]);

    let leaked = with_key.environment["TOLLGATE_API_KEY"].clone();
    let (out, _) = shell.says(&["keys", "revoke", "--leaked", "-", "--json"], &leaked).await;
    let revoked: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(fields(&revoked), ["credential", "result", "apiKeyId", "sessionId", "error"]);
    assert!(revoked["result"] == "revoked" && !out.contains(&leaked[10..40]), "{out}");
    let nobody = integration::reserved_port::ReservedPort::new();
    let away = shell.with("TOLLGATE_AUTH_URL", &format!("http://{}", nobody.address()));
    let done = away.run(&["keys", "revoke", "--leaked", "-", "--json"], &leaked).await;
    let failed: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((done.status.code(), &failed["result"]), (Some(69), &"failed".into()));

    // Nothing to list is an empty list, and what can't be JSON says so.
    assert_eq!(ada.says(&["keys", "list", "--json"], "").await.0.lines().count(), 1);
    assert_eq!(shell.with("HOME", "/dev/null").says(&["config", "list", "--json"], "").await.0, "[]\n");
    for arguments in [&["completions", "bash", "--json"][..], &["man", "--json"]] {
        assert!(shell.fails(arguments, 64).await.contains("as JSON"));
    }
}
