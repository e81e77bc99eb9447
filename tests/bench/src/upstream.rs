//! A scripted Ollama that is as fast as can be: what it says was written before it is asked, and each write goes out at once. The model's
//! name says how it answers, `num_predict` how many tokens.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use integration::scripted_upstream::{chat_line, done_line};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// As many tokens as were asked for, as fast as they are read.
pub const SATURATED: &str = "saturated";
/// The same, with a write of its own for each token, as Ollama does it.
pub const SINGLY: &str = "singly";
/// A token each [`PACE`].
pub const PACED: &str = "paced";
/// One token, and then nothing until the caller goes away.
pub const IDLE: &str = "idle";

/// Between two tokens of [`PACED`].
pub const PACE: Duration = Duration::from_millis(10);
/// Tokens in one write of [`SATURATED`]: about 36 KiB.
const TOKENS_AT_ONCE: usize = 256;

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Serves on a free loopback port, and says on standard error where. Never returns.
pub async fn serve() {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    crate::baseline::announce(&listener);
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // A connection that breaks is its caller's to notice.
        tokio::spawn(async move { answer_requests(stream).await.ok() });
    }
}

async fn answer_requests(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let token: Bytes = chunk(&chat_line(" token")).into();
    let many: Bytes = token.repeat(TOKENS_AT_ONCE).into();
    let mut buffer = BytesMut::with_capacity(4096);
    while let Some(request) = read_request(&mut stream, &mut buffer).await? {
        // Asked before a model's first answer: whether it is there, and what it is; and all the time, for the version. No more than its own
        // context, so that requests are as they always were.
        if request["options"].is_null() {
            let facts = match request["model"].as_str() {
                None => {
                    let models = [SATURATED, SINGLY, PACED, IDLE].map(|name| json!({ "name": name, "model": name }));
                    json!({ "version": "0.32.15", "models": models })
                }
                Some(_) => json!({ "capabilities": ["completion"], "parameters": "num_ctx 4096" }),
            }
            .to_string();
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{facts}", facts.len()).as_bytes()).await?;
            continue;
        }
        let tokens = request["options"]["num_predict"].as_u64().and_then(|tokens| usize::try_from(tokens).ok()).unwrap_or(1);
        match request["model"].as_str().unwrap_or_default() {
            SATURATED => {
                // The head and the first tokens in one write.
                let mut first = HEAD.to_vec();
                first.extend_from_slice(&token.repeat(tokens % TOKENS_AT_ONCE));
                stream.write_all(&first).await?;
                for _ in 0..tokens / TOKENS_AT_ONCE {
                    stream.write_all(&many).await?;
                }
            }
            SINGLY => {
                stream.write_all(HEAD).await?;
                for _ in 0..tokens {
                    stream.write_all(&token).await?;
                }
            }
            PACED => {
                stream.write_all(HEAD).await?;
                let mut ticks = tokio::time::interval(PACE);
                for _ in 0..tokens {
                    ticks.tick().await;
                    stream.write_all(&token).await?;
                }
            }
            IDLE => {
                stream.write_all(&[HEAD, &token].concat()).await?;
                // Ends when the caller goes away.
                while stream.read_buf(&mut buffer).await? > 0 {}
                return Ok(());
            }
            other => {
                let body = json!({ "error": format!("model '{other}' not found") }).to_string();
                let head = format!("HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(head.as_bytes()).await?;
                continue;
            }
        }
        let last = [chunk(&done_line("stop", 14, tokens)), b"0\r\n\r\n".to_vec()].concat();
        stream.write_all(&last).await?;
    }
    Ok(())
}

/// A line as one HTTP chunk.
fn chunk(line: &Value) -> Vec<u8> {
    let line = format!("{line}\n");
    format!("{:x}\r\n{line}\r\n", line.len()).into_bytes()
}

/// The body of the next request; `None` when the caller has gone away.
async fn read_request(stream: &mut TcpStream, buffer: &mut BytesMut) -> std::io::Result<Option<Value>> {
    let head_end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).to_ascii_lowercase();
    buffer.advance(head_end);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).and_then(|length| length.trim().parse().ok());
    let length: usize = length.unwrap_or(0);
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let body = buffer.split_to(length);
    Ok(Some(serde_json::from_slice(&body).unwrap_or(Value::Null)))
}
