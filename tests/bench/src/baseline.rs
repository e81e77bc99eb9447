//! The baselines of Check: a bare tonic service that does the least that a service of this kind can do.

use std::net::SocketAddr;

use redis::Script;
use redis::aio::MultiplexedConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::proto::Payload;
use crate::proto::baseline_server::{Baseline, BaselineServer};

/// The script: a GET of an account's figures and two SETs, of the figures and of a record of this call, each as long as Check's.
const SCRIPT: &str = "\
local figures = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], figures or ARGV[1])
redis.call('SET', KEYS[2], ARGV[2])
return figures";

/// Bytes of an account's figures, as Check packs them.
const FIGURES_BYTES: usize = 89;

struct Service {
    answer: Vec<u8>,
    figures: String,
    record: String,
    script: Script,
    redis: MultiplexedConnection,
}

/// Serves both baselines on a free loopback port, and says on standard error where. Never returns.
pub async fn serve(redis: &str, answer_bytes: usize, record_bytes: usize) {
    let client = redis::Client::open(redis).expect("a Redis URL");
    let connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
    let service = Service {
        answer: vec![b'a'; answer_bytes],
        figures: "f".repeat(FIGURES_BYTES),
        record: "r".repeat(record_bytes),
        script: Script::new(SCRIPT),
        redis: connection,
    };
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    announce(&listener);
    let server = tonic::transport::Server::builder().tcp_nodelay(true).add_service(BaselineServer::new(service));
    server.serve_with_incoming(incoming(listener)).await.expect("the baselines serve");
}

/// Connections, with TCP_NODELAY.
pub(crate) fn incoming(listener: TcpListener) -> impl Stream<Item = std::io::Result<TcpStream>> {
    StreamExt::map(TcpListenerStream::new(listener), |stream| {
        let stream = stream?;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
}

/// Says where a listener is, as Tollgate's services do.
pub(crate) fn announce(listener: &TcpListener) {
    eprintln!("{}", serde_json::json!({ "address": listener.local_addr().expect("it listens") }));
}

#[tonic::async_trait]
impl Baseline for Service {
    async fn echo(&self, _: Request<Payload>) -> Result<Response<Payload>, Status> {
        Ok(Response::new(Payload { content: self.answer.clone() }))
    }

    async fn run_script(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        // The caller names its calls in the first bytes, each differently: a record for each call, as a hold is.
        let name = request.get_ref().content.first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes));
        let mut call = self.script.key("bench:{1}:figures");
        call.key(format!("bench:{{1}}:{name:032x}")).arg(&self.figures).arg(&self.record);
        let figures: Result<Option<String>, _> = call.invoke_async(&mut self.redis.clone()).await;
        match figures {
            Ok(_) => Ok(Response::new(Payload { content: self.answer.clone() })),
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }
}
