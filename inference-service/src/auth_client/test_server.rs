//! A server on real sockets that answers as a test says, and the client under test in front of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use prost::Message;
use shared::error::reason_of;
use shared::proto::auth as wire;
use shared::secret::Secret;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::auth_urls::AuthUrls;
use super::balancer::{Balancer, Resolver, Timing};
use super::stub::Stub;

pub(super) type Reply = SendResponse<Bytes>;

/// The service credential of all clients here.
pub(super) const CREDENTIAL: &str = "5af3c1907be2486d0f9a1b7c3d5e8264907fbace13d24865fe0a9b7c81d3e542";
pub(super) const PATIENCE: Duration = Duration::from_secs(40);
pub(super) const GRPC_HEAD: &[(&str, &str)] = &[("content-type", "application/grpc")];
pub(super) const OK: &[(&str, &str)] = &[("grpc-status", "0")];

pub(super) fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

pub(super) fn head(status: u16, pairs: &[(&'static str, &'static str)]) -> Response<()> {
    let mut head = Response::new(());
    (*head.status_mut(), *head.headers_mut()) = (StatusCode::from_u16(status).unwrap(), headers(pairs));
    head
}

/// A message with its prefix.
pub(super) fn framed(message: &impl Message) -> Bytes {
    let mut framed = vec![0, 0, 0, 0, u8::try_from(message.encoded_len()).unwrap()];
    message.encode_raw(&mut framed);
    framed.into()
}

/// A settlement with this ledger entry.
pub(super) fn settled(ledger_entry_id: &str) -> Bytes {
    let receipt = wire::Receipt { ledger_entry_id: ledger_entry_id.to_owned(), ..Default::default() };
    framed(&wire::SettleResponse { receipt: Some(receipt) })
}

/// Answers as auth-service does, in so many pieces. The caller may have gone.
pub(super) async fn answer(mut reply: Reply, mut message: Bytes, pieces: usize) {
    let mut stream = reply.send_response(head(200, GRPC_HEAD), false).unwrap();
    let piece = message.len().div_ceil(pieces);
    while message.len() > piece {
        stream.send_data(message.split_to(piece), false).unwrap();
        tokio::task::yield_now().await;
    }
    stream.send_data(message, false).unwrap();
    stream.send_trailers(headers(OK)).unwrap();
}

/// All of a request's body; an error when it was cancelled.
pub(super) async fn read(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut whole = Vec::new();
    while let Some(piece) = body.data().await {
        whole.extend_from_slice(&piece?);
    }
    assert_eq!(body.trailers().await?, None);
    Ok(whole)
}

/// Serves a connection, so many calls at a time. Each call is told its number.
pub(super) async fn serve<F>(stream: TcpStream, streams: u32, mut each: impl FnMut(usize, Request<RecvStream>, Reply) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connection = h2::server::Builder::new().max_concurrent_streams(streams).handshake(stream).await.unwrap();
    let mut number = 0;
    while let Some(Ok((request, reply))) = connection.accept().await {
        tokio::spawn(each(number, request, reply));
        number += 1;
    }
}

/// Serves a listener's connections, and counts them.
pub(super) fn serve_all<F>(
    listener: TcpListener,
    each: impl FnMut(usize, Request<RecvStream>, Reply) -> F + Send + Clone + 'static,
) -> Arc<AtomicUsize>
where
    F: Future<Output = ()> + Send + 'static,
{
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(stream, 4096, each.clone()));
        }
    });
    connections
}

pub(super) fn stub(balancer: Balancer) -> Arc<Stub> {
    Arc::new(Stub::new(balancer, Some(&Secret::parse(CREDENTIAL).unwrap())).unwrap())
}

/// A client of these URLs.
pub(super) fn client_of(urls: &str) -> Arc<Stub> {
    stub(Balancer::new(AuthUrls::parse(urls).unwrap(), None))
}

/// A resolver of the test's own.
pub(super) fn client_with<F>(urls: &str, timing: Timing, resolve: impl Fn(String) -> F + Send + Sync + 'static) -> Arc<Stub>
where
    F: Future<Output = std::io::Result<Vec<std::net::SocketAddr>>> + Send + 'static,
{
    let resolver: Resolver = Arc::new(move |host, _| -> BoxFuture<'static, _> { Box::pin(resolve(host)) });
    stub(Balancer::with(AuthUrls::parse(urls).unwrap(), None, resolver, timing))
}

/// A listener on a free port, and a client of it.
pub(super) async fn listener(address: &str) -> (TcpListener, Arc<Stub>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let client = client_of(&format!("http://{}", listener.local_addr().unwrap()));
    (listener, client)
}

pub(super) async fn settle_within(client: &Stub, patience: Duration) -> Result<String, Status> {
    let message = wire::SettleRequest { hold: "h".to_owned(), ..Default::default() };
    let settled = client.settle(message, "r-1", Instant::now() + patience).await?;
    Ok(settled.receipt.unwrap().ledger_entry_id)
}

/// Settles, and answers the ledger entry of the receipt.
pub(super) async fn call(client: &Stub) -> Result<String, Status> {
    settle_within(client, PATIENCE).await
}

pub(super) fn assert_may_be_tried_again(status: &Status) {
    assert_eq!((status.code(), reason_of(status)), (Code::Unavailable, None), "{status}");
}
