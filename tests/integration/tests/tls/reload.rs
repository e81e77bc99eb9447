//! Certificates that change while calls run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use integration::certificates::TestAuthority;
use integration::polling::{SOON, until};
use integration::scripted_upstream::{Gate, Script};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tollgate_client::Event;

use crate::stage::{OWN_NAMES, TlsPair, connect, request, trusting};

/// The certificate that a new connection to inference-service is shown.
async fn shown(pair: &TlsPair) -> CertificateDer<'static> {
    let stream = connect(pair.inference.address(), &Arc::new(trusting(&pair.authority.pem, &[b"h2"]))).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn in_file(pair: &TlsPair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(&std::fs::read(pair.file("server.pem")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_certificates_change_and_an_answer_that_runs_goes_on() {
    let pair = TlsPair::start().await;
    let gate = Gate::new();
    let (client, _) = pair.user("ada").await;
    pair.upstream.script_once("/api/chat", Script::stream().token("one").gate(&gate).token(" two").done("stop", 5, 2));
    let mut running = client.chat(request("hi")).await.unwrap();
    let (ended, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    let calls = async {
        while !ended.load(Ordering::Relaxed) {
            // Each on a connection of its own, and one on the one that is open.
            let fresh = pair.client().with_credential(tollgate_client::Credential::new(credential(&pair).await).unwrap());
            let (one, other) = tokio::join!(client.chat(request("hi")), fresh.chat(request("hi")));
            for answer in [one, other] {
                answer.unwrap().complete().await.unwrap();
                made.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let changes = async {
        let mut before = shown(&pair).await;
        for change in 0..6 {
            pair.replace("server", &pair.authority.certify(&OWN_NAMES));
            pair.replace("client", &pair.authority.certify(&[crate::stage::LISTED]));
            if change % 2 == 0 {
                pair.auth.signal("HUP");
                pair.inference.signal("HUP");
            }
            let new = async || (shown(&pair).await == in_file(&pair)).then_some(());
            until("the new certificate to be shown", SOON, new).await;
            assert_ne!(std::mem::replace(&mut before, shown(&pair).await), in_file(&pair));
        }
        ended.store(true, Ordering::Relaxed);
    };
    tokio::join!(calls, changes);
    assert!(made.load(Ordering::Relaxed) >= 24, "{made:?}");
    gate.open_for_good();
    let mut text = String::new();
    while let Some(event) = running.next().await {
        if let Event::Delta(delta) = event.unwrap() {
            text.push_str(&delta.content);
        }
    }
    assert_eq!(text, "one two");
}

/// The key of the one user.
async fn credential(pair: &TlsPair) -> String {
    static KEY: tokio::sync::OnceCell<String> = tokio::sync::OnceCell::const_new();
    KEY.get_or_init(async || pair.user("bea").await.1).await.clone()
}

#[tokio::test]
async fn what_can_not_be_used_changes_nothing_and_is_said_once() {
    let pair = TlsPair::start().await;
    let (client, _) = pair.user("ada").await;
    let before = shown(&pair).await;
    let whole = std::fs::read(pair.file("server.pem")).unwrap();
    let other = pair.authority.certify(&OWN_NAMES);
    let ended = std::time::SystemTime::now() - Duration::from_secs(60);
    let ended = pair.authority.certify_for(&OWN_NAMES, ended - Duration::from_secs(60), ended);
    let broken: [(&str, Option<&[u8]>, &str); 6] = [
        ("server.pem", Some(&whole[..whole.len() / 2]), "TOLLGATE_TLS_CERTIFICATE"),
        ("server.pem", Some(b""), "is empty"),
        ("server.pem", None, "can't be read"),
        ("server.pem", Some(other.certificate.as_bytes()), "is not the key of that certificate"),
        ("server.pem", Some(ended.certificate.as_bytes()), "ended"),
        ("clients-ca.pem", Some(b"-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n"), "TOLLGATE_TLS_CLIENT_CA"),
    ];
    let kept = |name: &str| std::fs::read(pair.file(name)).unwrap();
    for (name, content, words) in broken {
        let original = kept(name);
        match content {
            Some(content) => std::fs::write(pair.file(name), content).unwrap(),
            None => std::fs::remove_file(pair.file(name)).unwrap(),
        }
        let said =
            || pair.auth.log().lines().filter(|line| line.contains("can't be used; what was read before") && line.contains(words)).count();
        let before_it = said();
        pair.auth.signal("HUP");
        until("the refusal", SOON, async || (said() == before_it + 1).then_some(())).await;
        // Looked at again, it is the same.
        let looks = || pair.auth.log().matches("hold what they held before").count();
        let looked = looks();
        pair.auth.signal("HUP");
        until("another look", SOON, async || (looks() > looked).then_some(())).await;
        assert_eq!(said(), before_it + 1, "{words}");
        let stream = connect(pair.auth.address(), &Arc::new(trusting(&pair.authority.pem, &[b"h2"]))).await.unwrap();
        assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], before, "{words}");
        client.balance().await.unwrap();
        std::fs::write(pair.file(name), original).unwrap();
        pair.auth.signal("HUP");
        let back = |count: usize| pair.auth.log().matches("new TLS files are in force").count() > count;
        until("the old files to be back", SOON, async || back(before_it).then_some(())).await;
    }
    let log = pair.auth.log();
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}

#[tokio::test]
async fn links_that_are_swapped_as_kubernetes_and_certbot_do_are_followed_without_a_signal() {
    let pair = TlsPair::start().await;
    let folder = pair.folder.path();
    // As a mounted secret: server.pem → ..data/server.pem, ..data → a folder that is replaced whole.
    let version = |number: u32| {
        let version = folder.join(format!("..{number}"));
        std::fs::create_dir(&version).unwrap();
        let _ = pair.authority.certify(&OWN_NAMES).write(&version, "server");
        let link = folder.join("..data.new");
        std::os::unix::fs::symlink(&version, &link).unwrap();
        std::fs::rename(&link, folder.join("..data")).unwrap();
    };
    version(1);
    for file in ["server.pem", "server.key"] {
        std::fs::remove_file(folder.join(file)).unwrap();
        std::os::unix::fs::symlink(format!("..data/{file}"), folder.join(file)).unwrap();
    }
    for number in 2..4 {
        let followed = async || (shown(&pair).await == in_file(&pair)).then_some(());
        until("the link to be followed", SOON, followed).await;
        version(number);
    }
    until("the last one", SOON, async || (shown(&pair).await == in_file(&pair)).then_some(())).await;
}

#[tokio::test]
async fn a_key_that_others_can_read_is_warned_of_and_serves_all_the_same() {
    use std::os::unix::fs::PermissionsExt;
    let authority = TestAuthority::new();
    let folder = crate::stage::certified(&authority);
    std::fs::set_permissions(folder.path().join("server.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let service = integration::processes::ServiceProcess::start("auth-service", &crate::stage::tls_environment(folder.path()));
    let line = service.wait_for_log("can read this private key");
    assert!(line.contains("TOLLGATE_TLS_KEY") && line.contains("chmod 600") && line.contains("WARN"), "{line}");
}
