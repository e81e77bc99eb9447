//! Handshakes that are slow, long, resumed or behind a proxy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use integration::certificates::TestAuthority;
use integration::polling::SOON;
use integration::processes::ServiceProcess;
use integration::stack::PASSWORD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::{HandshakeKind, ProtocolVersion};

use crate::stage::{TlsPair, certified, connect, set, tls_environment, trusting};

const REQUEST: &[u8] = b"GET /openapi.json HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn no_session_is_resumed_and_nothing_is_taken_before_a_handshake_is_over() {
    let pair = TlsPair::start().await;
    let mut config = trusting(&pair.authority.pem, &[b"http/1.1"]);
    config.resumption = Resumption::in_memory_sessions(16);
    config.enable_early_data = true;
    let config = Arc::new(config);
    for _ in 0..3 {
        let stream = TcpStream::connect(pair.auth.address()).await.unwrap();
        let mut stream = TlsConnector::from(Arc::clone(&config)).connect("127.0.0.1".try_into().unwrap(), stream).await.unwrap();
        stream.write_all(REQUEST).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        let session = stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(session.handshake_kind(), Some(HandshakeKind::Full));
        assert!(!session.is_early_data_accepted());
    }
}

/// Passes a connection on, a byte at a time towards the service.
async fn byte_by_byte(target: std::net::SocketAddr) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (near, far) = (listener.accept().await.unwrap().0, TcpStream::connect(target).await.unwrap());
        far.set_nodelay(true).unwrap();
        let ((mut near_read, mut near_write), (mut far_read, mut far_write)) = (near.into_split(), far.into_split());
        let there = async {
            while let Ok(byte) = near_read.read_u8().await {
                if far_write.write_u8(byte).await.is_err() {
                    break;
                }
            }
        };
        tokio::join!(there, async { tokio::io::copy(&mut far_read, &mut near_write).await.ok() });
    });
    address
}

#[tokio::test]
async fn a_handshake_that_comes_byte_by_byte_is_whole_all_the_same() {
    let pair = TlsPair::start().await;
    let address = byte_by_byte(pair.auth.address()).await;
    let mut stream = connect(address, &trusting(&pair.authority.pem, &[]).into()).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200") && answer.len() > 10_000, "{}", answer.len());
}

/// Until the service closes a connection on which this was said.
async fn closed_after(pair: &TlsPair, said: &[u8]) -> Duration {
    let (started, mut stream) = (Instant::now(), TcpStream::connect(pair.auth.address()).await.unwrap());
    stream.write_all(said).await.unwrap();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut Vec::new()).await;
    started.elapsed()
}

#[tokio::test]
async fn a_handshake_that_is_not_over_in_10_s_ends_its_connection_whatever_was_said() {
    let pair = TlsPair::start().await;
    let hello = client_hello(&pair).await;
    let half = &hello[..hello.len() / 2];
    let all = async {
        tokio::join!(
            closed_after(&pair, b""),
            closed_after(&pair, &hello[..1]),
            closed_after(&pair, half),
            closed_after(&pair, &hello),
            finished_and_silent(&pair),
        )
    };
    let ended = timeout(SOON, all).await.expect("each is closed");
    for after in [ended.0, ended.1, ended.2, ended.3, ended.4] {
        assert!(after > Duration::from_secs(8), "{after:?}");
    }
}

/// Whose handshake is over, and who says no more.
async fn finished_and_silent(pair: &TlsPair) -> Duration {
    let started = Instant::now();
    let mut stream = connect(pair.auth.address(), &trusting(&pair.authority.pem, &[b"h2"]).into()).await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
    started.elapsed()
}

/// What a client says first.
pub(crate) async fn client_hello(pair: &TlsPair) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, config) = (listener.local_addr().unwrap(), Arc::new(trusting(&pair.authority.pem, &[b"h2"])));
    let client = tokio::spawn(async move { connect(address, &config).await.map(drop) });
    let mut stream = listener.accept().await.unwrap().0;
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.unwrap();
    let mut rest = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut rest).await.unwrap();
    client.abort();
    [&head[..], &rest].concat()
}

#[tokio::test]
async fn a_handshake_of_more_than_32_kib_is_broken_off() {
    let pair = TlsPair::start().await;
    // One handshake message that says it has 60 KiB, in records as they are allowed.
    let mut said = Vec::new();
    let message = [&[1, 0, 0xf0, 0][..], &vec![0; 0xf000]].concat();
    for record in message.chunks(16_000) {
        said.extend_from_slice(&[0x16, 3, 1]);
        said.extend_from_slice(&u16::try_from(record.len()).unwrap().to_be_bytes());
        said.extend_from_slice(record);
    }
    let mut stream = TcpStream::connect(pair.auth.address()).await.unwrap();
    let started = Instant::now();
    let _ = stream.write_all(&said).await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
    // Long before the time that a handshake has.
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_proxys_header_stands_before_tls_and_says_who_calls() {
    let authority = TestAuthority::new();
    let folder = certified(&authority);
    let mut environment = tls_environment(folder.path());
    set(&mut environment, &[("TOLLGATE_TRUSTED_PROXIES", "127.0.0.1")]);
    let service = ServiceProcess::start("auth-service", &environment);
    let config = Arc::new(trusting(&authority.pem, &[b"http/1.1"]));
    let sign_up = async |name: &str, header: &[u8]| {
        let mut stream = TcpStream::connect(service.address()).await.unwrap();
        stream.write_all(header).await.unwrap();
        let mut stream = shared::tls::connect(Arc::clone(&config), "127.0.0.1".try_into().unwrap(), stream).await.unwrap();
        let body = format!("{{\"userName\":\"{name}\",\"password\":\"{PASSWORD}\"}}");
        let head = "POST /tollgate.auth.v1.Accounts/SignUp HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json";
        let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let header = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[203, 0, 113, 9, 10, 0, 0, 1, 0x10, 0x92, 0xc3, 0x84]].concat();
    let refused = sign_up("ada", &header).await;
    assert!(refused.contains("SIGN_UP_CLOSED"), "{refused}");
    // Inside of TLS it is no header of a proxy.
    let mut inside = connect(service.address(), &config).await.unwrap();
    inside.write_all(&[&header[..], REQUEST].concat()).await.unwrap();
    let mut answer = String::new();
    inside.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

/// What an HTTP/2 client says by itself: frame by frame, so that nothing is written that a test doesn't write.
struct Frames {
    stream: TlsStream<TcpStream>,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// `END_STREAM` of DATA and HEADERS, `ACK` of SETTINGS and PING.
const FLAG: u8 = 1;
const END_HEADERS: u8 = 4;
/// What a client takes that says nothing of it.
const WINDOW: usize = 65_535;

struct Frame {
    kind: u8,
    is_flagged: bool,
    content: Vec<u8>,
}

fn frame(kind: u8, flags: u8, stream: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], content].concat()
}

impl Frames {
    /// Asks for `/openapi.json`.
    async fn ask(mut stream: TlsStream<TcpStream>) -> Self {
        // `:method: GET`, `:scheme: https`, `:path` and `:authority`.
        let head = [&[0x82, 0x87, 0x04, 13][..], b"/openapi.json", &[0x01, 1], b"a"].concat();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        stream
            .write_all(&[&preface[..], &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, FLAG | END_HEADERS, 1, &head)].concat())
            .await
            .unwrap();
        Self { stream }
    }

    /// The next frame; `None`: the service has said goodbye in TLS. An end without that is an error.
    async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        if self.stream.read(&mut head[..1]).await.expect("a goodbye in TLS before the connection's end") == 0 {
            return None;
        }
        self.stream.read_exact(&mut head[1..]).await.unwrap();
        let mut content = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        self.stream.read_exact(&mut content).await.unwrap();
        Some(Frame { kind: head[3], is_flagged: head[4] & FLAG != 0, content })
    }
}

#[tokio::test]
async fn a_drain_lets_an_answer_over_tls_end_and_says_goodbye_in_tls() {
    let mut pair = TlsPair::start().await;
    let mut whole = Vec::new();
    let mut other = connect(pair.auth.address(), &trusting(&pair.authority.pem, &[b"http/1.1"]).into()).await.unwrap();
    other.write_all(REQUEST).await.unwrap();
    other.read_to_end(&mut whole).await.unwrap();
    let head = whole.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let whole = whole.split_off(head + 4);
    assert!(whole.len() > 2 * WINDOW, "{}", whole.len());

    let stream = connect(pair.auth.address(), &trusting(&pair.authority.pem, &[b"h2"]).into()).await.unwrap();
    let mut connection = Frames::ask(stream).await;
    let mut answer = Vec::new();
    // The answer is under way: more of it is held back by the window.
    while answer.len() < WINDOW {
        let frame = connection.next().await.unwrap();
        match frame.kind {
            DATA => answer.extend(frame.content),
            SETTINGS if !frame.is_flagged => connection.stream.write_all(&self::frame(SETTINGS, FLAG, 0, &[])).await.unwrap(),
            _ => {}
        }
    }
    let stopped = tokio::task::spawn_blocking(move || pair.auth.stop());
    let mut is_told = false;
    let ping = loop {
        let frame = connection.next().await.unwrap();
        is_told |= frame.kind == GO_AWAY;
        if is_told && frame.kind == PING && !frame.is_flagged {
            break frame.content;
        }
    };
    // All that is said from now on, in one piece: nothing crosses the goodbye.
    let room = (16_u32 << 20).to_be_bytes();
    let last = [frame(PING, FLAG, 0, &ping), frame(WINDOW_UPDATE, 0, 0, &room), frame(WINDOW_UPDATE, 0, 1, &room)];
    connection.stream.write_all(&last.concat()).await.unwrap();
    let mut has_ended = false;
    while let Some(frame) = connection.next().await {
        if frame.kind == DATA {
            answer.extend(frame.content);
            has_ended |= frame.is_flagged;
        }
    }
    assert!(has_ended && answer == whole, "{has_ended} {} of {}", answer.len(), whole.len());
    drop(connection);
    assert_eq!(stopped.await.unwrap().code(), Some(0));
}
