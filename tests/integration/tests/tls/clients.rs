//! Clients of others, by https:// at every door, and those that must not get through.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use integration::certificates::TestAuthority;
use integration::polling::{SOON, until};
use integration::processes::{ServiceProcess, run};
use integration::stack::PASSWORD;
use serde_json::{Value, json};

use crate::stage::{OWN_NAMES, TlsPair, connect, curl, grpcurl, https, request, said, tls_environment, trusting};

#[tokio::test]
async fn every_door_answers_curl_over_tls_by_http_2_by_http_1_1_and_without_alpn() {
    let pair = TlsPair::start().await;
    let (_, key) = pair.user("ada").await;
    let (ca, authorization) = (pair.file("ca.pem"), format!("authorization: Bearer {key}"));
    let chat = json!({ "model": "smollm2", "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 5 }).to_string();
    let (auth, inference) = (https(pair.auth.address()), https(pair.inference.address()));
    let sign_in = ["-d", "grant_type=password", "-d", "username=ada", "--data-urlencode", &format!("password={PASSWORD}")];
    let doors: [(String, Vec<&str>, &str); 7] = [
        (format!("{inference}/v1/chat/completions"), vec!["-d", &chat], "chat.completion"),
        (format!("{inference}/api/chat"), vec!["-d", &chat], "\"done\":true"),
        (format!("{inference}/v1/messages"), vec!["-d", &chat, "-H", "anthropic-version: 2023-06-01"], "\"type\":\"message\""),
        (format!("{inference}/openapi.json"), vec![], "\"openapi\""),
        (
            format!("{auth}/tollgate.auth.v1.Accounts/GetBalance"),
            vec!["-d", "{}", "-H", "content-type: application/json"],
            "availableCredits",
        ),
        (format!("{auth}/token"), sign_in.to_vec(), "access_token"),
        (format!("{auth}/users/me"), vec![], "ada"),
    ];
    for how in [&["--http2"][..], &["--http1.1"], &["--no-alpn", "--http1.1"]] {
        for (url, arguments, expected) in &doors {
            let arguments = [how, &["--cacert", ca.to_str().unwrap(), "-H", &authorization], arguments, &[url.as_str()]].concat();
            // A form needs no bearer.
            let arguments: Vec<&str> = arguments.into_iter().collect();
            let output = curl(&arguments).await;
            assert!(output.status.success() && said(&output).contains(expected), "{how:?} {url}: {}", said(&output));
        }
    }
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let pair = TlsPair::start().await;
    let (ca, url) = (pair.file("ca.pem"), format!("{}/openapi.json", https(pair.auth.address())));
    let with = async |version: &[&str]| {
        let arguments =
            [version, &["--cacert", ca.to_str().unwrap(), "--output", "/dev/null", "--write-out", "%{http_code}", &url]].concat();
        curl(&arguments).await
    };
    for spoken in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        assert_eq!(said(&with(spoken).await), "200", "{spoken:?}");
    }
    let older = with(&["--tls-max", "1.1", "--tlsv1.0", "--ciphers", "DEFAULT:@SECLEVEL=0"]).await;
    assert!(!older.status.success(), "{}", said(&older));
}

#[tokio::test]
async fn grpcurl_lists_chats_and_checks_health_over_tls() {
    let pair = TlsPair::start().await;
    let (_, key) = pair.user("ada").await;
    let (ca, authorization) = (pair.file("ca.pem"), format!("authorization: Bearer {key}"));
    let (auth, inference) = (pair.auth.address().to_string(), pair.inference.address().to_string());
    let call = async |more: &[&str]| {
        let output = grpcurl(&[&["-cacert", ca.to_str().unwrap()], more].concat()).await;
        assert!(output.status.success(), "{more:?}: {}", said(&output));
        said(&output)
    };
    assert!(call(&[&auth, "list"]).await.contains("tollgate.auth.v1.Accounts"));
    assert!(call(&[&inference, "grpc.health.v1.Health/Check"]).await.contains("SERVING"));
    let chat = json!({ "model": "smollm2", "messages": [{ "role": "user", "content": "hi" }] }).to_string();
    let answer = call(&["-H", &authorization, "-d", &chat, &inference, "tollgate.inference.v1.Inference/Chat"]).await;
    assert!(answer.contains("\"receipt\""), "{answer}");
}

#[tokio::test]
async fn a_client_refuses_a_certificate_of_another_authority_of_another_name_and_one_that_ended() {
    let pair = TlsPair::start().await;
    let (_, key) = pair.user("ada").await;
    let other = TestAuthority::new();
    let (ca, other_ca) = (pair.file("ca.pem"), other.write(pair.folder.path(), "other-ca.pem"));
    let address = pair.auth.address();
    let tollgate = |ca: &std::path::Path, url: &str| {
        let environment: BTreeMap<_, _> = [("TOLLGATE_API_KEY", key.as_str()), ("TOLLGATE_AUTH_URL", url)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        run("tollgate", &["--ca", ca.to_str().unwrap(), "balance"], &environment, "")
    };
    let right = tollgate(&ca, &https(address));
    assert!(right.status.success() && said(&right).contains("available"), "{}", said(&right));
    // Of another authority.
    let refused = tollgate(&other_ca, &https(address));
    assert_eq!(refused.status.code(), Some(69), "{}", said(&refused));
    assert!(said(&refused).contains("authority that isn't trusted") && said(&refused).contains("--ca"), "{}", said(&refused));
    let curled = curl(&["--cacert", other_ca.to_str().unwrap(), &https(address)]).await;
    assert_eq!(curled.status.code(), Some(60), "{}", said(&curled));
    let listed = grpcurl(&["-cacert", other_ca.to_str().unwrap(), &address.to_string(), "list"]).await;
    assert!(!listed.status.success() && said(&listed).contains("unknown authority"), "{}", said(&listed));
    // Of another name: 127.0.0.2 leads to the same port, and isn't certified.
    let renamed = TestAuthority::new();
    let _ = renamed.write(pair.folder.path(), "ca.pem");
    pair.replace("server", &renamed.certify(&["elsewhere.example"]));
    pair.auth.signal("HUP");
    let _ = pair.auth.wait_for_log("new TLS files are in force");
    let refused = tollgate(&ca, &https(address));
    assert!(!refused.status.success() && said(&refused).contains("not valid for name"), "{}", said(&refused));
    let curled = curl(&["--cacert", ca.to_str().unwrap(), &https(address)]).await;
    assert_eq!(curled.status.code(), Some(60), "{}", said(&curled));
    // One that ends.
    let soon = SystemTime::now() + Duration::from_secs(8);
    pair.replace("server", &renamed.certify_for(&OWN_NAMES, SystemTime::now() - Duration::from_secs(60), soon));
    pair.auth.signal("HUP");
    let ended = async || {
        let curled = curl(&["--cacert", ca.to_str().unwrap(), &https(address)]).await;
        let refused = tollgate(&ca, &https(address));
        let is_refused = refused.status.code() == Some(69) && said(&refused).contains("expired");
        (curled.status.code() == Some(60) && said(&curled).contains("expired") && is_refused).then_some(())
    };
    until("the certificate's end", SOON, ended).await;
    let _ = pair.auth.wait_for_log("a TLS certificate is close to its end");
}

#[tokio::test]
async fn the_command_says_what_is_wrong_with_its_files_and_with_the_scheme() {
    let pair = TlsPair::start().await;
    let (_, key) = pair.user("ada").await;
    let address = pair.auth.address();
    let tollgate = |arguments: &[&str]| {
        let environment: BTreeMap<_, _> = [("TOLLGATE_API_KEY".to_owned(), key.clone())].into();
        let ended = run("tollgate", arguments, &environment, "");
        (ended.status.code(), said(&ended))
    };
    let (url, ca) = (https(address), pair.file("ca.pem"));
    let (plain, ca) = (format!("http://{address}"), ca.to_str().unwrap());
    let (code, told) = tollgate(&["balance", "--auth-url", &url, "--ca", "/dev/null/ca.pem"]);
    assert!(code == Some(64) && told.contains("/dev/null/ca.pem can't be read"), "{told}");
    let (code, told) = tollgate(&["balance", "--auth-url", &url, "--ca", ca, "--client-cert", ca]);
    assert!(code == Some(64) && told.contains("needs its key"), "{told}");
    let (code, told) = tollgate(&["balance", "--auth-url", &url, "--ca", ca, "--client-cert", ca, "--client-key", ca]);
    assert!(code == Some(64) && told.contains("holds no private key"), "{told}");
    // The system trusts nobody of ours.
    let (code, told) = tollgate(&["balance", "--auth-url", &url]);
    assert!(code == Some(69) && told.contains("--ca"), "{told}");
    let (code, told) = tollgate(&["balance", "--auth-url", &plain]);
    assert!(code == Some(69) && told.contains("https://"), "{told}");
}

#[tokio::test]
async fn a_client_that_names_no_protocol_is_served_by_what_it_speaks_and_one_that_names_another_is_refused() {
    let pair = TlsPair::start().await;
    let authority = &pair.authority.pem;
    for protocols in [&[][..], &[&b"h2"[..]], &[b"http/1.1"], &[b"http/1.1", b"h2"]] {
        let stream = connect(pair.auth.address(), &trusting(authority, protocols).into()).await.unwrap();
        let negotiated = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(negotiated.as_deref(), if protocols.len() == 2 { Some(&b"h2"[..]) } else { protocols.first().copied() });
        let (mut calls, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        if negotiated.as_deref() != Some(b"http/1.1") {
            let url = format!("{}/openapi.json", https(pair.auth.address()));
            let (answer, _) = calls.send_request(http::Request::get(url).body(()).unwrap(), true).unwrap();
            assert_eq!(answer.await.unwrap().status(), 200);
        }
        connection.abort();
    }
    let refused = connect(pair.auth.address(), &trusting(authority, &[b"smtp"]).into()).await.unwrap_err();
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
}

#[tokio::test]
async fn the_health_check_of_the_binary_goes_by_tls_where_the_service_does() {
    let authority = TestAuthority::new();
    let folder = crate::stage::certified(&authority);
    let mut environment = tls_environment(folder.path());
    let service = ServiceProcess::start("auth-service", &environment);
    environment.insert("TOLLGATE_AUTH_LISTEN".to_owned(), service.address().to_string());
    for arguments in [&["healthcheck"][..], &["healthcheck", "--live"]] {
        let checked = run("auth-service", arguments, &environment, "");
        assert!(checked.status.success(), "{}", said(&checked));
    }
    // Whatever has become of the certificate meanwhile.
    let _ = TestAuthority::new().certify(&["elsewhere.example"]).write(folder.path(), "server");
    assert!(run("auth-service", &["healthcheck"], &environment, "").status.success());
    for name in ["TOLLGATE_TLS_CERTIFICATE", "TOLLGATE_TLS_KEY"] {
        environment.remove(name);
    }
    assert_eq!(run("auth-service", &["healthcheck"], &environment, "").status.code(), Some(1), "in plaintext it isn't there");
}

#[tokio::test]
async fn a_chat_by_the_rust_client_is_answered_and_charged_over_tls() {
    let pair = TlsPair::start().await;
    let (client, _) = pair.user("ada").await;
    let answer = client.chat(request("hi")).await.unwrap().complete().await.unwrap();
    assert_eq!(answer.content, "one two");
    let balance: Value = serde_json::to_value(client.balance().await.unwrap().balance.map(|balance| balance.spent_credits())).unwrap();
    assert_eq!(balance, 1);
}
