//! The baseline of a whole chat: a bare tonic service that has a script run before and after it relays the model server's lines.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::baseline::{announce, incoming};
use crate::http_client::http_client;
use crate::proto::baseline_client::BaselineClient;
use crate::proto::chain_server::{Chain, ChainServer};
use crate::proto::{ChainChatRequest, Payload};

/// Lines that wait for the caller to read them.
const BUFFERED_LINES: usize = 64;

#[derive(Clone)]
struct Relay(Arc<Parts>);

struct Parts {
    /// Of the one-script baseline.
    scripts: BaselineClient<Channel>,
    http: reqwest::Client,
    upstream: String,
    request_bytes: usize,
    /// Tells this process's calls from every other's.
    nonce: u64,
    calls: AtomicU64,
}

/// Serves the chain on a free loopback port, and says on standard error where. Never returns.
pub async fn serve(scripts: &str, upstream: &str, request_bytes: usize) {
    let channel = Endpoint::from_shared(scripts.to_owned())
        .expect("a URL")
        .tcp_nodelay(true)
        .connect()
        .await
        .expect("the one-script service answers");
    let http = http_client();
    let relay = Relay(Arc::new(Parts {
        scripts: BaselineClient::new(channel),
        http,
        upstream: upstream.to_owned(),
        request_bytes,
        nonce: fastrand::u64(..),
        calls: AtomicU64::new(0),
    }));
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    announce(&listener);
    let server = tonic::transport::Server::builder().tcp_nodelay(true).add_service(ChainServer::new(relay));
    server.serve_with_incoming(incoming(listener)).await.expect("the chain serves");
}

impl Parts {
    async fn run_script(&self) -> Result<(), Status> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut content = (u128::from(self.nonce) << 64 | u128::from(number)).to_le_bytes().to_vec();
        content.resize(self.request_bytes, b'q');
        self.scripts.clone().run_script(Payload { content }).await.map(drop)
    }

    async fn relay(&self, asked: ChainChatRequest, lines: &mpsc::Sender<Result<Payload, Status>>) -> Result<(), Status> {
        self.run_script().await?;
        let body = serde_json::json!({
            "model": asked.model, "messages": [{ "role": "user", "content": "hi" }], "options": { "num_predict": asked.tokens },
        });
        let failed = |error: reqwest::Error| Status::unavailable(error.to_string());
        let request = self.http.post(format!("{}/api/chat", self.upstream)).body(body.to_string());
        let mut pieces = request.send().await.map_err(failed)?.bytes_stream();
        let mut partial = Vec::new();
        while let Some(piece) = pieces.next().await {
            partial.extend_from_slice(&piece.map_err(failed)?);
            while let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
                let rest = partial.split_off(end + 1);
                let line = Payload { content: std::mem::replace(&mut partial, rest) };
                lines.send(Ok(line)).await.map_err(|_| Status::cancelled("the caller has gone"))?;
            }
        }
        self.run_script().await
    }
}

#[tonic::async_trait]
impl Chain for Relay {
    type ChatStream = Pin<Box<dyn Stream<Item = Result<Payload, Status>> + Send>>;

    async fn chat(&self, request: Request<ChainChatRequest>) -> Result<Response<Self::ChatStream>, Status> {
        let (parts, asked) = (Arc::clone(&self.0), request.into_inner());
        let (sender, lines) = mpsc::channel(BUFFERED_LINES);
        // Ends with the call: a caller who has gone takes no more lines.
        tokio::spawn(async move {
            if let Err(status) = parts.relay(asked, &sender).await {
                // Nobody reads it when the caller has gone.
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(lines))))
    }
}
