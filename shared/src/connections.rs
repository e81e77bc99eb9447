//! Accepting connections: at most so many at a time, and none that stays silent. Without this, whoever can reach the port could use up the
//! process's file descriptors without a credential.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::gathered_writes::GatheredWrites;

/// Connections at a time. The next ones wait in the operating system's queue.
const MAX_CONNECTIONS: usize = 10_000;
/// How long a new connection may say nothing. HTTP/2 begins with the client's preface.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept, which is as a rule that the process has no file descriptor left: trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The connections of a listener, for ever.
pub(crate) fn accepted(listener: TcpListener) -> impl Stream<Item = io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    stream::unfold((listener, places), |(listener, places)| async move {
        let place = Arc::clone(&places).acquire_owned().await.ok()?;
        let stream = loop {
            match listener.accept().await {
                Ok((stream, _)) => break stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection can't be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was closed before it was used");
        }
        let silence = Some(Box::pin(tokio::time::sleep(FIRST_BYTE_TIMEOUT)));
        Some((Ok(Connection { stream: GatheredWrites::new(stream), silence, _place: place }), (listener, places)))
    })
}

/// A TCP connection that has a place among those there may be, and must say something soon.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: GatheredWrites<TcpStream>,
    /// `None` once it has said something.
    silence: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Some(silence) = &mut self.silence {
            if read.is_ready() {
                self.silence = None;
            } else if silence.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the connection said nothing")));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_closed_and_one_that_speaks_is_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut connections = Box::pin(accepted(listener));
        let mut next = async || futures_util::StreamExt::next(&mut connections).await.unwrap().unwrap();

        let _silent = TcpStream::connect(address).await.unwrap();
        let mut guarded = next().await;
        guarded.silence = Some(Box::pin(tokio::time::sleep(Duration::ZERO)));
        assert_eq!(guarded.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);

        let mut speaking = TcpStream::connect(address).await.unwrap();
        let mut guarded = next().await;
        speaking.write_u8(7).await.unwrap();
        assert_eq!(guarded.read_u8().await.unwrap(), 7);
        assert!(guarded.silence.is_none());
    }
}
