//! What stops the start, in words that say what to do.

use std::path::Path;
use std::time::{Duration, SystemTime};

use integration::certificates::TestAuthority;
use integration::processes::{ServiceProcess, run};

use crate::stage::{Environment, OWN_NAMES, certified, said, set, text, tls_environment};

/// The start of a service with these variables, which must be a mistake.
fn mistake(service: &str, environment: &Environment) -> String {
    let ended = run(service, &[], environment, "");
    let told = said(&ended);
    assert_eq!(ended.status.code(), Some(64), "{environment:?}: {told}");
    assert!(!told.contains("PRIVATE KEY"), "{told}");
    told
}

#[test]
fn a_certificate_or_key_that_can_not_be_used_stops_both_services_with_64_and_says_why() {
    let authority = TestAuthority::new();
    let folder = certified(&authority);
    let file = |name: &str| text(&folder.path().join(name));
    let (other, now) = (authority.certify(&OWN_NAMES).write(folder.path(), "other"), SystemTime::now());
    let day = Duration::from_secs(86_400);
    let _ = authority.certify_for(&OWN_NAMES, now - day * 2, now - day).write(folder.path(), "ended");
    let _ = authority.certify_for(&OWN_NAMES, now + day * 3, now + day * 9).write(folder.path(), "early");
    std::fs::write(file("empty"), "").unwrap();
    std::fs::write(file("words"), "no certificate at all\n").unwrap();
    std::fs::write(file("locked"), "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n").unwrap();
    let (certificate, key, ca) = ("TOLLGATE_TLS_CERTIFICATE", "TOLLGATE_TLS_KEY", "TOLLGATE_TLS_CLIENT_CA");
    let cases = [
        (vec![(key, String::new())], certificate, "TOLLGATE_TLS_KEY is not"),
        (vec![(certificate, String::new())], key, "TOLLGATE_TLS_CERTIFICATE is not"),
        (vec![(certificate, String::new()), (key, String::new()), (ca, file("ca.pem"))], ca, "only TLS has client certificates"),
        (vec![(key, text(&other.1))], key, "is not the key of that certificate"),
        (vec![(certificate, file("ended.pem")), (key, file("ended.key"))], certificate, "ended 24 hours ago"),
        (vec![(certificate, file("early.pem")), (key, file("early.key"))], certificate, "counts only in"),
        (vec![(certificate, file("empty"))], certificate, "is empty"),
        (vec![(certificate, file("words"))], certificate, "holds no certificate"),
        (vec![(certificate, file("missing"))], certificate, "can't be read"),
        (vec![(certificate, text(folder.path()))], certificate, "can't be read"),
        (vec![(key, file("words"))], key, "holds no private key"),
        (vec![(key, file("server.pem"))], key, "holds no private key"),
        (vec![(key, file("locked"))], key, "decrypt it"),
        (vec![(ca, file("words"))], ca, "holds no certificate"),
        (vec![(ca, file("missing"))], ca, "can't be read"),
    ];
    for service in ["auth-service", "inference-service"] {
        for (changed, named, words) in &cases {
            let mut environment = tls_environment(folder.path());
            environment.extend(changed.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
            let told = mistake(service, &environment);
            let line = told.lines().find(|line| line.trim_start().starts_with(&format!("{named} "))).unwrap_or_default();
            assert!(line.contains(words), "{service} {changed:?}: {told}");
        }
    }
}

#[test]
fn names_of_clients_need_their_authority_and_calls_to_auth_service_need_all_of_their_files() {
    let authority = TestAuthority::new();
    let folder = certified(&authority);
    let file = |name: &str| text(&folder.path().join(name));
    let with = |more: &[(&str, &str)]| {
        let mut environment = tls_environment(folder.path());
        set(&mut environment, more);
        environment
    };
    let told = mistake("auth-service", &with(&[("TOLLGATE_AUTH_CLIENT_NAMES", "inference-service")]));
    assert!(told.contains("TOLLGATE_AUTH_CLIENT_NAMES is set") && told.contains("TOLLGATE_TLS_CLIENT_CA"), "{told}");
    let named = [("TOLLGATE_AUTH_CLIENT_NAMES", "*.example.com"), ("TOLLGATE_TLS_CLIENT_CA", &file("ca.pem"))];
    let told = mistake("auth-service", &with(&named));
    assert!(told.contains("TOLLGATE_AUTH_CLIENT_NAMES must be a comma list of whole DNS names"), "{told}");
    let url = ("TOLLGATE_AUTH_URL", "https://auth-service:50051");
    let (certificate, key) = (file("client.pem"), file("client.key"));
    for (more, words) in [
        (vec![url, ("TOLLGATE_AUTH_CLIENT_CERTIFICATE", certificate.as_str())], "TOLLGATE_AUTH_CLIENT_KEY is not"),
        (vec![url, ("TOLLGATE_AUTH_CLIENT_KEY", &key)], "TOLLGATE_AUTH_CLIENT_CERTIFICATE is not"),
        (vec![url, ("TOLLGATE_AUTH_CA", "/dev/null/ca")], "TOLLGATE_AUTH_CA names"),
        (vec![("TOLLGATE_AUTH_CA", &file("ca.pem"))], "no URL of TOLLGATE_AUTH_URL begins with https://"),
        (vec![("TOLLGATE_AUTH_SERVER_NAME", "auth")], "no URL of TOLLGATE_AUTH_URL begins with https://"),
        (vec![url, ("TOLLGATE_AUTH_SERVER_NAME", "not a name")], "TOLLGATE_AUTH_SERVER_NAME must be"),
        (
            vec![
                ("TOLLGATE_AUTH_URL", "https://a:1,http://b:2"),
                ("TOLLGATE_AUTH_CLIENT_CERTIFICATE", &certificate),
                ("TOLLGATE_AUTH_CLIENT_KEY", &key),
            ],
            "shown over TLS alone",
        ),
    ] {
        let told = mistake("inference-service", &with(&more));
        assert!(told.contains(words), "{more:?}: {told}");
    }
}

#[test]
fn beyond_loopback_a_service_needs_tls_or_leave_to_do_without_and_then_warns() {
    let authority = TestAuthority::new();
    let folder = certified(&authority);
    let plain = |data: &Path| {
        let mut environment = tls_environment(data);
        for name in ["TOLLGATE_TLS_CERTIFICATE", "TOLLGATE_TLS_KEY"] {
            environment.remove(name);
        }
        environment
    };
    for (service, listen) in [("auth-service", "TOLLGATE_AUTH_LISTEN"), ("inference-service", "TOLLGATE_LISTEN")] {
        let mut environment = plain(folder.path());
        set(&mut environment, &[(listen, "0.0.0.0:0")]);
        let told = mistake(service, &environment);
        assert!(told.contains(listen) && told.contains("TOLLGATE_TLS_CERTIFICATE") && told.contains("TOLLGATE_ALLOW_PLAINTEXT"), "{told}");
        set(&mut environment, &[("TOLLGATE_ALLOW_PLAINTEXT", "true")]);
        let warned = |environment: &Environment| {
            let service = ServiceProcess::start(service, environment);
            let _ = service.wait_for_log(if listen == "TOLLGATE_LISTEN" { "this engine answers" } else { "auth-service serves" });
            service.log().lines().any(|line| line.contains("WARN") && (line.contains("without TLS") || line.contains("no TLS")))
        };
        assert!(warned(&environment), "{service}");
        let mut with_tls = tls_environment(folder.path());
        set(&mut with_tls, &[(listen, "0.0.0.0:0")]);
        assert!(!warned(&with_tls), "{service}");
    }
}

#[test]
fn the_lock_file_has_h2_0_4_19_and_rustls_webpki_0_103_13_or_newer() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
    for (name, least) in [("h2", [0, 4, 19]), ("rustls-webpki", [0, 103, 13])] {
        let versions: Vec<Vec<u32>> = lock
            .split("[[package]]")
            .filter(|package| package.contains(&format!("\nname = \"{name}\"\n")))
            .map(|package| package.split("version = \"").nth(1).unwrap().split('"').next().unwrap())
            .map(|version| version.split('.').map(|part| part.parse().unwrap()).collect())
            .collect();
        assert!(!versions.is_empty() && versions.iter().all(|version| version[..] >= least[..]), "{name}: {versions:?}");
    }
}
