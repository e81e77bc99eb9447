//! Certificates as `tollgate tls make-certificates` makes them, used by both services, by their clients, and renewed under them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use integration::polling::{SOON, until};
use integration::processes::{ServiceProcess, run};
use integration::scripted_upstream::ScriptedUpstream;

use crate::stage::{Environment, connect, curl, grpcurl, said, set, text, trusting};

fn make(folder: &Path, more: &[&str]) -> String {
    let made = run("tollgate", &[&["tls", "make-certificates", folder.to_str().unwrap()], more].concat(), &BTreeMap::new(), "");
    assert!(made.status.success(), "{}", said(&made));
    said(&made)
}

/// As docker-compose.tls.yml sets them.
fn environments(folder: &Path, upstream: &str) -> [Environment; 2] {
    let common = |service: &str| -> Environment {
        let file = |name: &str| text(&folder.join(service).join(name));
        let mut environment = Environment::new();
        set(
            &mut environment,
            &[
                ("TOLLGATE_DATA_DIR", &text(&folder.join(format!("data-{service}")))),
                ("TOLLGATE_TLS_CERTIFICATE", &file("certificate.pem")),
                ("TOLLGATE_TLS_KEY", &file("key.pem")),
            ],
        );
        environment
    };
    let (mut auth, mut inference) = (common("auth-service"), common("inference-service"));
    let (ca, shown) = (text(&folder.join("auth-service/ca.pem")), folder.join("inference-service"));
    set(&mut auth, &[("TOLLGATE_TLS_CLIENT_CA", &ca), ("TOLLGATE_AUTH_CLIENT_NAMES", "inference-service")]);
    set(
        &mut inference,
        &[
            ("TOLLGATE_ENGINE", "ollama"),
            ("OLLAMA_HOST", upstream),
            ("TOLLGATE_AUTH_CA", &text(&shown.join("ca.pem"))),
            ("TOLLGATE_AUTH_CLIENT_CERTIFICATE", &text(&shown.join("certificate.pem"))),
            ("TOLLGATE_AUTH_CLIENT_KEY", &text(&shown.join("key.pem"))),
        ],
    );
    [auth, inference]
}

#[tokio::test]
async fn certificates_that_the_command_makes_serve_both_and_are_renewed_by_running_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let told = make(folder.path(), &["--name", "gate.example"]);
    assert!(told.contains("made a new authority") && told.contains("gate.example"), "{told}");
    let upstream = ScriptedUpstream::start().await;
    let [auth, mut inference] = environments(folder.path(), &upstream.url());
    let auth = ServiceProcess::start("auth-service", &auth);
    set(&mut inference, &[("TOLLGATE_AUTH_URL", &format!("https://localhost:{}", auth.address().port()))]);
    let inference = ServiceProcess::start("inference-service", &inference);
    let _ = inference.wait_for_log("auth-service can be asked");
    let ca = folder.path().join("public/ca.pem");
    let resolve = format!("gate.example:{}:127.0.0.1", auth.address().port());
    for host in ["localhost", "127.0.0.1", "gate.example"] {
        let url = format!("https://{host}:{}/openapi.json", auth.address().port());
        let status = ["--output", "/dev/null", "--write-out", "%{http_code}"];
        let output = curl(&[&["--cacert", ca.to_str().unwrap(), "--resolve", &resolve][..], &status, &[&url]].concat()).await;
        assert_eq!(said(&output), "200", "{host}");
    }
    let listed = grpcurl(&["-cacert", ca.to_str().unwrap(), &format!("localhost:{}", inference.address().port()), "list"]).await;
    assert!(said(&listed).contains("tollgate.inference.v1.Inference"), "{}", said(&listed));
    let config = Arc::new(trusting(&std::fs::read_to_string(&ca).unwrap(), &[b"h2"]));
    let shown = async || {
        let stream = connect(auth.address(), &config).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let before = shown().await;
    assert!(!make(folder.path(), &[]).contains("new authority"));
    // The same authority is trusted, and another certificate is shown.
    until("the renewed one", SOON, async || (shown().await != before).then_some(())).await;
}
