//! What is said to a client that speaks TLS to a port in plaintext, or plaintext to a port with TLS.
//!
//! A credential that was sent in the clear can't be called back. What waits for our answer first keeps it to itself: HTTP/2 is answered
//! without the SETTINGS that gRPC's own libraries wait for.

use std::io;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{FRAME_HEAD_BYTES, FirstBytes, LINGER, Protocol, first_bytes, read_some};

/// The frame that ends an HTTP/2 connection, and its reason.
const GOAWAY: u8 = 7;
const INADEQUATE_SECURITY: u32 = 12;
/// What is read on of such a client, so that it reads our answer before its connection is reset.
const MOST_BYTES: usize = 64 << 10;

const SPEAK_TLS: &str = "this port speaks TLS: use https:// (grpcurl: without -plaintext)";
const SPEAK_PLAINTEXT: &str = "this port speaks no TLS: use http:// (grpcurl: with -plaintext)";

/// Answers a client in plaintext at a port with TLS.
pub(crate) async fn refuse_plaintext(mut stream: TcpStream, read: Vec<u8>, deadline: Instant) -> io::Result<()> {
    let FirstBytes { protocol, .. } = first_bytes(&mut stream, read, deadline).await?;
    let answer = match protocol {
        Protocol::Http1 => refusal(SPEAK_TLS),
        Protocol::Http2 => go_away(SPEAK_TLS),
    };
    say_last(stream, &answer).await
}

/// Answers a client with TLS at a port in plaintext: such clients show what speaks plaintext to them.
pub(crate) async fn refuse_tls(stream: TcpStream) -> io::Result<()> {
    say_last(stream, &refusal(SPEAK_PLAINTEXT)).await
}

fn refusal(why: &str) -> Vec<u8> {
    let length = why.len() + 1;
    let head = format!("HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    format!("{head}{why}\n").into_bytes()
}

fn go_away(why: &str) -> Vec<u8> {
    let length = u8::try_from(8 + why.len()).unwrap_or(u8::MAX);
    let mut frame = Vec::with_capacity(FRAME_HEAD_BYTES + 8 + why.len());
    frame.extend_from_slice(&[0, 0, length, GOAWAY, 0, 0, 0, 0, 0]);
    // No stream was taken.
    frame.extend_from_slice(&0_u32.to_be_bytes());
    frame.extend_from_slice(&INADEQUATE_SECURITY.to_be_bytes());
    frame.extend_from_slice(why.as_bytes());
    frame
}

/// Writes this, and reads on for a while: a connection that is closed with something unread is reset, and the answer could be lost.
async fn say_last(mut stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + LINGER;
    let saying = async {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        let (mut forgotten, mut most) = (Vec::new(), MOST_BYTES);
        while most > 0 && read_some(&mut stream, &mut forgotten).await.is_ok() {
            most = most.saturating_sub(forgotten.len());
            forgotten.clear();
        }
        Ok(())
    };
    timeout_at(deadline, saying).await.unwrap_or(Ok(()))
}
