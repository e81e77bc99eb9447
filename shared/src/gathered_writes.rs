//! Connections on which what is ready at the same time leaves in the same write.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// What is written without waiting for more, in bytes: some ten answers of a Check. With more, the two ends would take turns in place of
/// working at the same time.
const ENOUGH_BYTES: usize = 4096;

/// A connection that lets every task which can run now run once before it writes a little.
///
/// When many calls share a connection, what wakes them comes in one read, and each of them has its part to write. Tokio runs a task that
/// was just woken first, so the connection's own task would run, and write, once for each part: a system call, and a wake-up of the other
/// end, in which most of a small call's cost lies. A connection of which nobody else has a part to write loses nothing but one turn of its
/// task.
#[derive(Debug)]
pub struct GatheredWrites<S> {
    stream: S,
    /// Whether the write that is asked for has waited for its turn.
    waited: bool,
}

impl<S> GatheredWrites<S> {
    /// Gathers what is written to this stream.
    pub fn new(stream: S) -> Self {
        Self { stream, waited: false }
    }

    /// Whether so many bytes are to be written now; if not, the task is woken at its next turn.
    fn is_due(&mut self, bytes: usize, cx: &Context<'_>) -> bool {
        self.waited = !self.waited && bytes < ENOUGH_BYTES;
        if self.waited {
            cx.waker().wake_by_ref();
        }
        !self.waited
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GatheredWrites<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GatheredWrites<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.is_due(bytes.len(), cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if !self.is_due(slices.iter().map(|slice| slice.len()).sum(), cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: Connected> Connected for GatheredWrites<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> S::ConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::task::Wake;

    use tokio::sync::mpsc;

    use super::*;

    /// Notes how long each write was.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<usize>>>);

    impl AsyncWrite for Written {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.0.lock().unwrap().push(bytes.len());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_little_waits_for_one_turn_and_much_for_none() {
        let (written, wakes) = (Written::default(), Arc::new(Wakes::default()));
        let waker = wakes.clone().into();
        let mut cx = Context::from_waker(&waker);
        let mut gathered = GatheredWrites::new(written.clone());
        for turn in 1..=2 {
            assert!(Pin::new(&mut gathered).poll_write(&mut cx, b"little").is_pending());
            assert_eq!(wakes.0.load(Ordering::Relaxed), turn, "it is woken for its turn");
            assert!(matches!(Pin::new(&mut gathered).poll_write(&mut cx, b"little more"), Poll::Ready(Ok(11))));
        }
        let much = [0; ENOUGH_BYTES];
        assert!(matches!(Pin::new(&mut gathered).poll_write(&mut cx, &much), Poll::Ready(Ok(ENOUGH_BYTES))));
        assert_eq!(*written.0.lock().unwrap(), [11, 11, ENOUGH_BYTES]);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
    }

    /// As a connection does it: whenever it is woken, it takes what there is to write, and writes.
    async fn write_parts(mut parts: mpsc::UnboundedReceiver<Vec<u8>>, stream: impl AsyncWrite) {
        let (mut stream, mut bytes) = (std::pin::pin!(stream), Vec::new());
        std::future::poll_fn(|cx| {
            loop {
                let mut is_over = false;
                while let Poll::Ready(part) = parts.poll_recv(cx) {
                    let Some(part) = part else {
                        is_over = true;
                        break;
                    };
                    bytes.extend(part);
                }
                if bytes.is_empty() {
                    return if is_over { Poll::Ready(()) } else { Poll::Pending };
                }
                let count = std::task::ready!(stream.as_mut().poll_write(cx, &bytes)).unwrap();
                bytes.drain(..count);
            }
        })
        .await;
    }

    #[test]
    fn what_many_tasks_have_to_write_at_the_same_time_leaves_in_one_write() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let written = Written::default();
        let stream = GatheredWrites::new(written.clone());
        let all_written = runtime.block_on(async {
            tokio::spawn(async {
                let (write, parts) = mpsc::unbounded_channel();
                let connection = tokio::spawn(write_parts(parts, stream));
                // The connection waits for parts by now: from here on, each of them wakes it.
                tokio::task::yield_now().await;
                for _ in 0..8 {
                    let write = write.clone();
                    tokio::spawn(async move { write.send(vec![0; 100]) });
                }
                drop(write);
                connection.await
            })
            .await
        });
        all_written.unwrap().unwrap();
        assert_eq!(*written.0.lock().unwrap(), [800]);
    }
}
