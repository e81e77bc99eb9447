//! Plaintext at a port with TLS, and TLS at one in plaintext: both are told what to do, and the log is not flooded.

use integration::certificates::TestAuthority;
use integration::polling::{SOON, until};
use integration::processes::ServiceProcess;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stage::{TlsPair, certified, connect, curl, grpcurl, https, said, tls_environment, trusting};

#[tokio::test]
async fn plaintext_at_a_port_with_tls_is_told_to_use_https_and_logged_once() {
    let pair = TlsPair::start().await;
    let address = pair.auth.address();
    for how in [&["--http1.1"][..], &["--http2-prior-knowledge"]] {
        let output = curl(&[how, &["--include", &format!("http://{address}/openapi.json")]].concat()).await;
        let told = said(&output);
        if how == ["--http1.1"] {
            assert!(told.starts_with("HTTP/1.1 400") && told.contains("use https://"), "{told}");
        } else {
            assert!(!output.status.success(), "{told}");
        }
    }
    // What waits for the server's first words, as gRPC's own libraries do, keeps its credential.
    let output = grpcurl(&["-plaintext", "-H", "authorization: Bearer canary", &address.to_string(), "list"]).await;
    assert!(!output.status.success(), "{}", said(&output));
    let mut raw = TcpStream::connect(address).await.unwrap();
    raw.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut frames = Vec::new();
    raw.read_to_end(&mut frames).await.unwrap();
    assert_eq!((frames[3], &frames[13..17]), (7, &[0, 0, 0, 12][..]), "GOAWAY alone, for INADEQUATE_SECURITY: {frames:?}");
    assert!(String::from_utf8_lossy(&frames).contains("use https://"));
    // A byte at a time, and many.
    let mut slow = TcpStream::connect(address).await.unwrap();
    for byte in b"GET / HTTP/1.1\r\n" {
        slow.write_all(&[*byte]).await.unwrap();
        slow.flush().await.unwrap();
    }
    let mut told = String::new();
    slow.read_to_string(&mut told).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 400"), "{told}");
    for _ in 0..200 {
        let mut one = TcpStream::connect(address).await.unwrap();
        one.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        one.read_to_end(&mut Vec::new()).await.unwrap();
    }
    let lines = pair.auth.log().lines().filter(|line| line.contains("WARN") && line.contains("speaks plaintext to this port")).count();
    assert_eq!(lines, 1);
}

#[tokio::test]
async fn tls_at_a_port_in_plaintext_is_answered_in_plaintext_and_logged_once() {
    let authority = TestAuthority::new();
    let folder = certified(&authority);
    let mut environment = tls_environment(folder.path());
    for name in ["TOLLGATE_TLS_CERTIFICATE", "TOLLGATE_TLS_KEY"] {
        environment.remove(name);
    }
    let service = ServiceProcess::start("auth-service", &environment);
    for _ in 0..50 {
        let output = curl(&["--insecure", &https(service.address())]).await;
        assert!(!output.status.success(), "{}", said(&output));
    }
    let output = grpcurl(&["-insecure", &service.address().to_string(), "list"]).await;
    assert!(said(&output).contains("first record does not look like a TLS handshake"), "{}", said(&output));
    let config = trusting(&authority.pem, &[b"h2"]).into();
    let refused = connect(service.address(), &config).await.unwrap_err();
    assert!(refused.to_string().contains("use http://"), "{refused}");
    let lines: Vec<String> = service.log().lines().filter(|line| line.contains("speaks TLS to this port")).map(str::to_owned).collect();
    assert!(lines.len() == 1 && lines[0].contains("TOLLGATE_TLS_CERTIFICATE"), "{lines:?}");
}

#[tokio::test]
async fn clients_that_do_not_trust_the_certificate_or_speak_nonsense_are_one_line_in_the_log() {
    let pair = TlsPair::start().await;
    let stranger = trusting(&TestAuthority::new().pem, &[b"h2"]).into();
    for _ in 0..100 {
        connect(pair.inference.address(), &stranger).await.unwrap_err();
        let mut nonsense = TcpStream::connect(pair.inference.address()).await.unwrap();
        nonsense.write_all(b"\x16\x03\x01\x00\x05hello").await.unwrap();
        nonsense.read_to_end(&mut Vec::new()).await.unwrap();
    }
    let lines = || pair.inference.log().lines().filter(|line| line.contains("WARN") && line.contains("TLS handshakes fail")).count();
    until("the line", SOON, async || (lines() > 0).then_some(())).await;
    assert_eq!(lines(), 1);
}
