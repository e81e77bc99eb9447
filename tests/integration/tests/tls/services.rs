//! Between the services: client certificates in place of the service credential.

use integration::certificates::TestAuthority;
use integration::polling::{SOON, until};
use integration::processes::ServiceProcess;
use shared::ErrorReason;
use shared::proto::auth as wire;
use shared::proto::auth::auth_client::AuthClient;
use shared::secret::Secret;
use tokio::io::AsyncReadExt;

use crate::stage::{LISTED, TlsPair, connect, grpcurl, https, request, said, set, tls_environment};

#[tokio::test]
async fn a_chat_goes_through_with_certificates_alone_and_no_service_credential_is_ever_made() {
    let pair = TlsPair::start().await;
    let (client, _) = pair.user("ada").await;
    let answer = client.chat(request("hi")).await.unwrap().complete().await.unwrap();
    assert_eq!(answer.content, "one two");
    for data in ["data", "data-of-inference"] {
        assert!(!pair.file(data).join("service-credential").exists(), "{data}");
    }
    assert!(pair.inference.log().contains(&https(pair.auth.address())), "{}", pair.inference.log());
}

/// What `Auth.Extend` of nothing answers to grpcurl.
async fn extend(pair: &TlsPair, more: &[&str]) -> String {
    let (ca, address) = (pair.file("ca.pem"), pair.auth.address().to_string());
    let arguments =
        [&["-connect-timeout", "3", "-cacert", ca.to_str().unwrap()], more, &["-d", "{}", &address, "tollgate.auth.v1.Auth/Extend"]]
            .concat();
    let output = grpcurl(&arguments).await;
    assert!(!output.status.success(), "there is nothing to extend");
    said(&output)
}

#[tokio::test]
async fn auth_lets_in_a_listed_name_and_no_other_certificate_and_nobody_without_one() {
    let pair = TlsPair::with(&[("TOLLGATE_AUTH_CLIENT_NAMES", "inference-service,spiffe://example.com/inference")], &[]).await;
    let shown = async |names: &[&str], authority: &TestAuthority| {
        let (certificate, key) = authority.certify(names).write(pair.folder.path(), "shown");
        extend(&pair, &["-cert", certificate.to_str().unwrap(), "-key", key.to_str().unwrap()]).await
    };
    for listed in [&[LISTED][..], &["other", "INFERENCE-SERVICE"], &["spiffe://example.com/inference"]] {
        let told = shown(listed, &pair.authority).await;
        assert!(told.contains("INVALID_ARGUMENT") || told.contains("InvalidArgument"), "{listed:?}: {told}");
    }
    for other in [&["inference-service.example.com"][..], &["*.inference-service"], &["localhost"], &["spiffe://example.com/other"]] {
        let told = shown(other, &pair.authority).await;
        assert!(told.contains("Unauthenticated") && told.contains("SERVICE_CREDENTIAL_INVALID"), "{other:?}: {told}");
    }
    let told = extend(&pair, &[]).await;
    assert!(told.contains("Unauthenticated") && told.contains("CREDENTIAL_MISSING"), "{told}");
    // A listed name of an authority that isn't ours: grpcurl doesn't show it, and who does gets no connection.
    let stranger = TestAuthority::new();
    let told = shown(&[LISTED], &stranger).await;
    assert!(told.contains("CREDENTIAL_MISSING"), "{told}");
    let forged = stranger.certify(&[LISTED]);
    let identity = shared::tls::Identity { certificate: forged.certificate.as_bytes(), key: forged.key.as_bytes() };
    let config = shared::tls::client_config(Some(pair.authority.pem.as_bytes()), Some(identity), &[b"h2"]).unwrap();
    let mut stream = connect(pair.auth.address(), &config.into()).await.unwrap();
    let refused = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert!(refused.to_string().contains("UnknownCA"), "{refused}");
    // A certificate stands for no credential that is wrong.
    let (certificate, key) = pair.authority.certify(&[LISTED]).write(pair.folder.path(), "shown");
    let wrong = format!("authorization: Bearer {}", Secret::generate().unwrap().1);
    let told = extend(&pair, &["-H", &wrong, "-cert", certificate.to_str().unwrap(), "-key", key.to_str().unwrap()]).await;
    assert!(told.contains("SERVICE_CREDENTIAL_INVALID"), "{told}");
}

#[tokio::test]
async fn a_service_credential_that_is_given_lets_in_beside_the_certificates() {
    let (_, credential) = Secret::generate().unwrap();
    let given = [("TOLLGATE_SERVICE_CREDENTIALS", credential.as_str())];
    let pair = TlsPair::with(&given, &[]).await;
    let told = extend(&pair, &["-H", &format!("authorization: Bearer {credential}")]).await;
    assert!(told.contains("InvalidArgument"), "{told}");
}

#[tokio::test]
async fn a_client_certificate_is_no_end_users_credential() {
    let pair = TlsPair::start().await;
    let (ca, certificate, key) = (pair.file("ca.pem"), pair.file("client.pem"), pair.file("client.key"));
    let address = pair.auth.address().to_string();
    for method in ["tollgate.auth.v1.Accounts/GetBalance", "tollgate.auth.v1.Admin/GrantCredits"] {
        let shown = ["-cacert", ca.to_str().unwrap(), "-cert", certificate.to_str().unwrap(), "-key", key.to_str().unwrap()];
        let output = grpcurl(&[&shown[..], &["-d", "{}", &address, method]].concat()).await;
        assert!(said(&output).contains("CREDENTIAL_MISSING"), "{}", said(&output));
    }
}

#[tokio::test]
async fn an_inference_service_that_is_not_listed_says_so_to_its_operator_and_its_callers_try_again() {
    let pair = TlsPair::with(&[("TOLLGATE_AUTH_CLIENT_NAMES", "somebody-else")], &[]).await;
    let (client, _) = pair.user("ada").await;
    let refused = client.chat(request("hi")).await.err().unwrap();
    assert_eq!(refused.reason(), Some(ErrorReason::AuthUnavailable), "{refused}");
    let line = pair.inference.wait_for_log("auth-service refuses this service");
    assert!(line.contains("TOLLGATE_AUTH_CLIENT_NAMES"), "{line}");
}

#[tokio::test]
async fn a_new_authority_of_clients_shuts_out_who_has_an_old_certificate_on_open_connections_too() {
    let pair = TlsPair::start().await;
    let (client, _) = pair.user("ada").await;
    client.chat(request("hi")).await.unwrap().complete().await.unwrap();
    // A second connection, which will live through the change.
    let identity = shared::tls::Identity {
        certificate: &std::fs::read(pair.file("client.pem")).unwrap(),
        key: &std::fs::read(pair.file("client.key")).unwrap(),
    };
    let config = shared::tls::client_config(Some(pair.authority.pem.as_bytes()), Some(identity), &[b"h2"]).unwrap();
    let stream = connect(pair.auth.address(), &config.into()).await.unwrap();
    let open = integration::raw_http2::RawHttp2::over(stream, pair.auth.address()).await;
    let extended = open.call("/tollgate.auth.v1.Auth/Extend", &[], &[0; 5]).await;
    assert_eq!(extended.refusal().1, Some(ErrorReason::InvalidArgument));
    let _ = TestAuthority::new().write(pair.folder.path(), "clients-ca.pem");
    pair.auth.signal("HUP");
    let _ = pair.auth.wait_for_log("new TLS files are in force");
    // Without a call on it.
    let _ = tokio::time::timeout(SOON, open.connection).await.unwrap();
    let refused = client.chat(request("hi")).await.err().unwrap();
    assert_eq!(refused.reason(), Some(ErrorReason::AuthUnavailable), "{refused}");
}

#[tokio::test]
async fn a_certificate_that_inference_service_shows_is_renewed_without_a_restart() {
    let pair = TlsPair::start().await;
    let (client, _) = pair.user("ada").await;
    // A new authority beside the old one, then a certificate of the new one, then the old one goes.
    let clients = TestAuthority::new();
    let replace_authorities = |pem: &str| {
        std::fs::write(pair.file("clients-ca.pem"), pem).unwrap();
        pair.auth.signal("HUP");
    };
    replace_authorities(&format!("{}{}", pair.authority.pem, clients.pem));
    let _ = pair.auth.wait_for_log("new TLS files are in force");
    pair.replace("client", &clients.certify(&[LISTED]));
    pair.inference.signal("HUP");
    let _ = pair.inference.wait_for_log("client.pem");
    client.chat(request("hi")).await.unwrap().complete().await.unwrap();
    // The connection that is open was made with the old one: another takes its place before the old authority goes.
    let renewed = async || {
        client.chat(request("hi")).await.unwrap().complete().await.unwrap();
        pair.inference.log().contains("which uses the new TLS files").then_some(())
    };
    until("another connection", SOON, renewed).await;
    replace_authorities(&clients.pem);
    for _ in 0..20 {
        client.chat(request("hi")).await.unwrap().complete().await.unwrap();
    }
    client.chat(request("hi")).await.unwrap().complete().await.unwrap();
}

#[tokio::test]
async fn replicas_are_known_by_the_name_of_the_url_or_by_the_one_that_is_set() {
    let pair = TlsPair::with(&[], &[("TOLLGATE_AUTH_SERVER_NAME", "elsewhere.example")]).await;
    let line = pair.inference.wait_for_log("auth-service can't be reached there");
    assert!(line.contains("not valid for name"), "{line}");
    pair.replace("server", &pair.authority.certify(&["127.0.0.1", "elsewhere.example"]));
    pair.auth.signal("HUP");
    pair.inference.signal("HUP");
    let (client, _) = pair.user("ada").await;
    let answered = async || client.chat(request("hi")).await.ok()?.complete().await.ok();
    until("a chat by the name that is set", SOON, answered).await;
    // And by a name, which is looked up and kept.
    let url = format!("https://localhost:{}", pair.auth.address().port());
    let mut environment = tls_environment(pair.folder.path());
    set(
        &mut environment,
        &[
            ("TOLLGATE_DATA_DIR", pair.file("third").to_str().unwrap()),
            ("TOLLGATE_ENGINE", "ollama"),
            ("OLLAMA_HOST", &pair.upstream.url()),
            ("TOLLGATE_AUTH_URL", &url),
            ("TOLLGATE_AUTH_CA", pair.file("ca.pem").to_str().unwrap()),
            ("TOLLGATE_AUTH_CLIENT_CERTIFICATE", pair.file("client.pem").to_str().unwrap()),
            ("TOLLGATE_AUTH_CLIENT_KEY", pair.file("client.key").to_str().unwrap()),
        ],
    );
    pair.replace("server", &pair.authority.certify(&["localhost"]));
    pair.auth.signal("HUP");
    let third = ServiceProcess::start("inference-service", &environment);
    let _ = third.wait_for_log("auth-service can be asked");
}

#[tokio::test]
async fn a_service_that_is_asked_in_plaintext_takes_no_certificate() {
    // A certificate is something of TLS. Without it a header with one's name is a header like any other.
    let folder = tempfile::tempdir().unwrap();
    let mut environment = tls_environment(folder.path());
    for name in ["TOLLGATE_TLS_CERTIFICATE", "TOLLGATE_TLS_KEY"] {
        environment.remove(name);
    }
    let service = ServiceProcess::start("auth-service", &environment);
    let mut auth = AuthClient::new(integration::stack::channel(service.address()));
    let mut call = tonic::Request::new(wire::ExtendRequest::default());
    for name in ["x-forwarded-client-cert", "x-ssl-client-cert", "ssl-client-subject-dn"] {
        call.metadata_mut().insert(name, "By=spiffe://a;Subject=\"CN=inference-service\";DNS=inference-service".parse().unwrap());
    }
    let refused = auth.extend(call).await.unwrap_err();
    assert_eq!(shared::error::reason_of(&refused), Some(ErrorReason::CredentialMissing));
}
