//! Handshakes by the thousand, and what connections with TLS take.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use integration::processes::ServiceProcess;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::handshakes::client_hello;
use crate::stage::{TlsPair, connect, curl, https, said, trusting};

/// A connection from an address of this host's own network.
async fn from(last: u8, target: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((IpAddr::from(Ipv4Addr::new(127, 0, 1, last)), 0).into())?;
    socket.connect(target).await
}

/// Whether a client gets in, and how long that takes.
async fn asked(pair: &TlsPair) -> Duration {
    let (ca, started) = (pair.file("ca.pem"), Instant::now());
    let url = format!("{}/openapi.json", https(pair.auth.address()));
    let output = curl(&["--cacert", ca.to_str().unwrap(), "--output", "/dev/null", "--write-out", "%{http_code}", &url]).await;
    assert_eq!(said(&output), "200");
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_half_handshakes_shut_nobody_out_take_little_and_check_no_credential() {
    let pair = TlsPair::start().await;
    raise_limit();
    let hello = client_hello(&pair).await;
    asked(&pair).await;
    let before = pair.auth.resident_kib();
    // More than there are places, from four networks; half of them in mid-record, half of them waiting for an answer to what they got.
    let mut held = Vec::new();
    for batch in 0..12_u8 {
        let opened = join_all((0..250).map(|number| {
            let said = if number % 2 == 0 { &hello[..] } else { &hello[..hello.len() / 2] };
            let address = pair.auth.address();
            async move {
                let mut stream = from(1 + batch % 4, address).await.ok()?;
                stream.write_all(said).await.ok()?;
                Some(stream)
            }
        }))
        .await;
        held.extend(opened.into_iter().flatten());
    }
    assert!(held.len() > 2_900, "{}", held.len());
    let took = asked(&pair).await;
    assert!(took < Duration::from_secs(8), "{took:?}");
    let after = pair.auth.resident_kib();
    let each = after.saturating_sub(before) * 1024 / held.len() as u64;
    println!("a half handshake takes {each} bytes; a client among {} of them got in within {took:?}", held.len());
    assert!(after - before < 96 * 1024, "{before} KiB before, {after} KiB after");
    let log = pair.auth.log();
    let warned = log.lines().filter(|line| line.contains("WARN")).count();
    assert!(warned < 6, "{warned} lines: {log}");
    assert!(!log.contains("\"target\":\"call\""), "no credential was looked at");
    drop(held);
    asked(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_with_tls_takes_little_more_than_one_in_plaintext() {
    let pair = TlsPair::start().await;
    raise_limit();
    let mut environment = crate::stage::tls_environment(pair.folder.path());
    for name in ["TOLLGATE_TLS_CERTIFICATE", "TOLLGATE_TLS_KEY"] {
        environment.remove(name);
    }
    crate::stage::set(&mut environment, &[("TOLLGATE_DATA_DIR", pair.file("plain").to_str().unwrap())]);
    let plain = ServiceProcess::start("auth-service", &environment);
    let config = Arc::new(trusting(&pair.authority.pem, &[b"h2"]));
    const COUNT: usize = 800;
    let mut each = Vec::new();
    for (service, has_tls) in [(&plain, false), (&pair.auth, true)] {
        let address = service.address();
        let open = async |count: usize| {
            let mut open = Vec::new();
            for _ in 0..count {
                let stream: Box<dyn Stream> = if has_tls {
                    Box::new(connect(address, &config).await.unwrap())
                } else {
                    Box::new(TcpStream::connect(address).await.unwrap())
                };
                let (calls, connection) = h2::client::handshake(stream).await.unwrap();
                let connection = tokio::spawn(connection);
                let mut calls = calls.ready().await.unwrap();
                let request = http::Request::get(format!("http://{address}/openapi.json")).method("HEAD").body(()).unwrap();
                let answer = calls.send_request(request, true).unwrap().0.await.unwrap();
                drop(answer);
                open.push((calls, connection));
            }
            open
        };
        // What is taken once is taken by the first ones.
        let first = open(100).await;
        let before = service.resident_kib();
        let held = open(COUNT).await;
        each.push((service.resident_kib() - before) * 1024 / COUNT as u64);
        for (_, connection) in first.into_iter().chain(held) {
            connection.abort();
        }
    }
    println!("an idle HTTP/2 connection takes {} bytes in plaintext, and {} with TLS", each[0], each[1]);
    assert!(each[1] < each[0] + 40 * 1024, "{each:?}");
}

trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Stream for S {}

/// This process holds the other ends.
fn raise_limit() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
}
