//! Signing in with an issuer: a browser goes there and comes back to the command, which takes what is of its own sign-in and nothing else.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use integration::http_client::HttpCall;
use integration::oidc_issuer::OidcIssuer;
use integration::polling::until;
use integration::scripted_upstream::ScriptedUpstream;
use integration::shell::{SOON, Shell};
use integration::stack::{PASSWORD, Plan, Stack};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr};
use tokio::time::timeout;

use crate::client::client_of;
use crate::person::Person;

/// A command that waits for a browser.
struct Waiting {
    child: Child,
    says: Lines<BufReader<ChildStderr>>,
    /// Where to send the browser.
    address: String,
}

impl Waiting {
    async fn begin(shell: &Shell, arguments: &[&str]) -> Self {
        let mut child = shell.start(arguments);
        let mut says = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = timeout(SOON, says.next_line()).await.expect("an address").unwrap().expect("it waits");
            if line.starts_with("http://") {
                break line;
            }
        };
        Self { child, says, address }
    }

    /// Its exit code, standard output, and what it said since the address.
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
}

/// Opens an address of this host as a browser does: the status, and the page.
async fn open(address: &str) -> (u16, String) {
    let (host, target) = address.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let host: SocketAddr = host.parse().unwrap();
    assert!(host.ip().is_loopback(), "{host}");
    let mut answer = HttpCall::get(host, &format!("/{target}")).send().await;
    assert_eq!(answer.header("cache-control"), Some("no-store"), "a code stands in the address");
    (answer.status, answer.text().await)
}

async fn stack_with(upstream: &ScriptedUpstream, issuer: &OidcIssuer) -> Stack {
    let issuers = json!([issuer.entry("lab")]).to_string();
    Plan::with_upstream(&upstream.url()).set("TOLLGATE_OIDC_ISSUERS", &issuers).start().await
}

#[tokio::test]
async fn login_with_an_issuer_takes_the_request_with_its_own_state_and_no_other_and_signs_in() {
    let (upstream, issuer) = (ScriptedUpstream::start().await, OidcIssuer::start().await);
    let stack = stack_with(&upstream, &issuer).await;
    let ada = Person::new(&stack);
    let login = Waiting::begin(&ada.shell, &["login", "--with", "lab", "--no-browser"]).await;
    let back = issuer.visit(&login.address).await;
    let (origin, _) = back.split_once("/callback/lab?").unwrap();

    // An old tab, somebody who would like us to be signed in as them, and what browsers ask for by themselves.
    assert_eq!(open(&format!("{origin}/callback/lab?code=theirs&state=theirs")).await.0, 400);
    assert_eq!(open(&format!("{origin}/favicon.ico")).await.0, 404);
    let (status, page) = open(&back).await;
    assert_eq!(status, 200);
    assert!(page.starts_with("Done."), "{page}");
    let (code, out, said) = login.ends().await;
    assert_eq!((code, out.as_str()), (Some(0), ""), "{said}");
    assert!(said.contains("ada is a new user") && said.contains("ada is signed in"), "{said}");
    assert!(tokio::net::TcpStream::connect(origin.strip_prefix("http://").unwrap()).await.is_err(), "nothing listens any more");

    let me = ada.json(&["me"], "").await;
    assert_eq!((&me["userName"], &me["email"]), (&"ada".into(), &"ada@example.com".into()));
    let sessions = ada.json(&["sessions", "list"], "").await;
    assert_eq!((&sessions[0]["method"], &sessions[0]["issuer"]), (&"issuer".into(), &issuer.url().into()));
    assert_eq!(ada.json(&["me", "identities", "list"], "").await[0]["issuerName"], "lab");
    // It signs in as the same user, and there is no password to fall back to.
    let again = Waiting::begin(&ada.shell, &["login", "--with", "lab", "--no-browser", "--print-token", "--json"]).await;
    open(&issuer.visit(&again.address).await).await;
    let (code, out, said) = again.ends().await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["userName"], "ada");
    let last = ada.shell.fails(&["me", "identities", "unlink", "lab"], 1).await;
    assert!(last.contains("(LAST_SIGN_IN_METHOD)"), "{last}");
}

#[tokio::test]
async fn the_browser_that_the_environment_names_is_opened_and_ctrl_c_a_no_and_a_late_answer_end_it_with_their_own_codes() {
    let (upstream, issuer) = (ScriptedUpstream::start().await, OidcIssuer::start().await);
    let stack = stack_with(&upstream, &issuer).await;
    let ada = Person::new(&stack);
    let opened = stack.folder().join("opened");
    let browser = stack.folder().join("browser");
    std::fs::write(&browser, format!("#!/bin/sh\nprintf %s \"$1\" > {0}.part && /bin/mv {0}.part {0}\n", opened.display())).unwrap();
    std::fs::set_permissions(&browser, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let with_browser = ada.shell.with("BROWSER", browser.to_str().unwrap());
    let interrupted = Waiting::begin(&with_browser, &["login", "--with", "lab"]).await;
    let address = until("a browser", SOON, || async { std::fs::read_to_string(&opened).ok() }).await;
    assert_eq!(address, interrupted.address);
    let pid = rustix::process::Pid::from_raw(i32::try_from(interrupted.child.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(interrupted.ends().await.0, Some(130));

    let late = Waiting::begin(&ada.shell, &["login", "--with", "lab", "--no-browser", "--timeout", "1s"]).await;
    let (code, _, said) = late.ends().await;
    assert_eq!(code, Some(75), "{said}");

    issuer.behaviour().denies = true;
    let denied = Waiting::begin(&ada.shell, &["login", "--with", "lab", "--no-browser"]).await;
    let (_, page) = open(&issuer.visit(&denied.address).await).await;
    assert!(page.starts_with("Nothing was done."), "{page}");
    let (code, out, said) = denied.ends().await;
    assert_eq!((code, out.as_str()), (Some(77), ""), "{said}");
    assert!(said.contains("access_denied"), "{said}");
    let unknown = ada.shell.fails(&["login", "--with", "nobody", "--no-browser"], 1).await;
    assert!(unknown.contains("(ISSUER_UNKNOWN)"), "{unknown}");
    ada.shell.fails(&["me"], 77).await;
}

#[tokio::test]
async fn a_code_of_another_issuer_that_says_nothing_of_itself_is_given_to_nobody() {
    let (upstream, lab, evil) = (ScriptedUpstream::start().await, OidcIssuer::start().await, OidcIssuer::start().await);
    let issuers = json!([lab.entry("lab"), evil.entry("evil")]).to_string();
    let stack = Plan::with_upstream(&upstream.url()).set("TOLLGATE_OIDC_ISSUERS", &issuers).start().await;
    lab.behaviour().redirect_uris = vec!["http://127.0.0.1/callback/lab".to_owned()];
    lab.behaviour().says_who = false;
    let ada = Person::new(&stack);
    let login = Waiting::begin(&ada.shell, &["login", "--with", "evil", "--no-browser"]).await;
    // The hostile one knows by the address where the command waits, and begins a sign-in of its own with the other, for there.
    let asked = integration::oidc_issuer::pairs(login.address.split_once('?').unwrap().1);
    let waits_at = asked["redirect_uri"].strip_suffix("/callback/evil").unwrap();
    let begun = client_of(&stack).begin_sign_in("lab", &format!("{waits_at}/callback/lab")).await.unwrap();
    evil.behaviour().sends_on_to = Some(begun.authorization_url.clone());
    let back = lab.visit(&evil.visit(&login.address).await).await;
    assert!(back.starts_with(&format!("{waits_at}/callback/lab?code=")) && !back.contains("iss="), "{back}");
    let (status, page) = open(&back).await;
    assert!(status == 200 && page.starts_with("This came from another issuer."), "{page}");
    let (code, out, said) = login.ends().await;
    assert_eq!((code, out.as_str()), (Some(77), ""), "{said}");
    assert!(said.contains("another issuer than evil"), "{said}");
    assert_eq!((evil.requests("/token"), lab.requests("/token")), (0, 0), "nobody got the code");
    // Nor can it have one brought to its own address, of an issuer that takes any path of this host.
    lab.behaviour().redirect_uris.clear();
    let refused = client_of(&stack).begin_sign_in("lab", &format!("{waits_at}/callback/evil")).await.unwrap_err();
    assert_eq!(refused.reason(), Some(tollgate_client::ErrorReason::InvalidArgument), "{refused}");
}

#[tokio::test]
async fn an_identity_is_linked_and_unlinked_by_who_is_signed_in() {
    let (upstream, issuer) = (ScriptedUpstream::start().await, OidcIssuer::start().await);
    let stack = stack_with(&upstream, &issuer).await;
    let bob = Person::signed_up(&stack, "bob").await;
    let link = Waiting::begin(&bob.shell, &["me", "identities", "link", "--with", "lab", "--no-browser", "--json"]).await;
    open(&issuer.visit(&link.address).await).await;
    let (code, out, said) = link.ends().await;
    assert_eq!(code, Some(0), "{said}");
    let linked: BTreeMap<String, Value> = serde_json::from_str(&out).unwrap();
    assert_eq!((&linked["issuer"], &linked["subject"]), (&issuer.url().into(), &"1001".into()));

    let elsewhere = Person::new(&stack);
    let login = Waiting::begin(&elsewhere.shell, &["login", "--with", "lab", "--no-browser"]).await;
    open(&issuer.visit(&login.address).await).await;
    let (code, _, said) = login.ends().await;
    assert!(code == Some(0) && said.contains("bob is signed in"), "{said}");
    let unlinked = bob.json(&["me", "identities", "unlink", "lab"], "").await;
    assert_eq!((&unlinked["subject"], &unlinked["endedSessions"]), (&"1001".into(), &1.into()));
    elsewhere.shell.fails(&["me"], 77).await;
    bob.shell.says(&["login", "bob"], format!("{PASSWORD}\n")).await;
}

#[tokio::test]
async fn an_answer_that_says_that_it_is_of_another_issuer_is_sent_on_to_nobody_and_signs_nobody_in() {
    let (upstream, issuer) = (ScriptedUpstream::start().await, OidcIssuer::start().await);
    let stack = stack_with(&upstream, &issuer).await;
    let ada = Person::new(&stack);
    for other in ["https://other.example", &format!("{}/", issuer.url()), &issuer.url().to_uppercase()] {
        let login = Waiting::begin(&ada.shell, &["login", "--with", "lab", "--no-browser"]).await;
        let back = issuer.visit(&login.address).await;
        // Its state and its code are those of this sign-in.
        let (right, _) = back.split_once("&iss=").unwrap();
        let (status, page) = open(&format!("{right}&iss={other}")).await;
        assert!(status == 200 && page.starts_with("This came from another issuer. Nothing was done."), "{page}");
        let (code, out, said) = login.ends().await;
        assert_eq!((code, out.as_str()), (Some(77), ""), "{said}");
        assert!(said.contains("another issuer than lab sent the browser back"), "{said}");
    }
    assert_eq!(issuer.requests("/token"), 0, "the code went nowhere");
    ada.shell.fails(&["me"], 77).await;
}
