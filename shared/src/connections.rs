//! A connection from its acceptance to its first frames: what a listed proxy's PROXY header says, whether it speaks TLS, which HTTP it
//! speaks, and a time limit until HTTP/2 has begun, or until the head of an HTTP/1.1 request is whole.

mod other_protocol;
mod request_heads;

use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ppp::v2;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_util::either::Either;

pub(crate) use self::other_protocol::{refuse_plaintext, refuse_tls};
pub(crate) use self::request_heads::MAX_HEADERS;
use self::request_heads::RequestHeads;
use crate::connection_slots::ConnectionState;
use crate::gathered_writes::GatheredWrites;
use crate::tls::ServerStream;

/// How long a client may take until its HTTP/2 preface and its first SETTINGS are here, or the head of its first HTTP/1.1 request.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection is read on that we have closed.
const LINGER: Duration = Duration::from_secs(2);
/// How often that is read without giving others their turn.
const READS_AT_ONCE: usize = 16;
/// What is kept of what comes while a request is answered. Behind more of it nobody sees that the caller is gone.
const MAX_KEPT_BYTES: usize = 16 << 10;
/// Between two probes of an HTTP/1.1 connection on which nothing is said: it has no pings.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// How long what was sent may be unacknowledged.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_FOR: Duration = Duration::from_secs(40);
/// The longest PROXY header that is read: addresses, and what proxies add to them.
const MAX_PROXY_HEADER_BYTES: usize = 1024;
/// The fixed part of a PROXY header: signature, version, family, and the length of the rest.
const PROXY_HEAD_BYTES: usize = 16;
const PROXY_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// What an HTTP/2 client says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The head of a frame: three bytes of length, type, flags, four bytes of stream.
const FRAME_HEAD_BYTES: usize = 9;
const SETTINGS: u8 = 4;
/// The longest first SETTINGS: all that there are, several times.
const MAX_SETTINGS_BYTES: usize = 1024;

/// What carries a connection's bytes: itself, or TLS on it.
pub(crate) type Socket = Either<TcpStream, Box<ServerStream>>;

/// The beginning of a connection.
#[derive(Debug)]
pub(crate) struct Beginning {
    /// Whom the connection's PROXY header (version 2) names, if it began with one.
    pub(crate) proxied: Option<IpAddr>,
    /// What was read behind that.
    pub(crate) read: Vec<u8>,
}

/// The first bytes of what is spoken on a connection.
#[derive(Debug)]
pub(crate) struct FirstBytes {
    /// What they are of.
    pub(crate) protocol: Protocol,
    /// What was read.
    pub(crate) read: Vec<u8>,
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// What these first bytes belong to; `None`: they may become either.
fn protocol(read: &[u8]) -> Option<Protocol> {
    let begun = read.len().min(PREFACE.len());
    if read[..begun] != PREFACE[..begun] {
        return Some(Protocol::Http1);
    }
    (begun == PREFACE.len()).then_some(Protocol::Http2)
}

/// Reads the beginning of a connection, and takes a PROXY header off.
pub(crate) async fn beginning(stream: &mut TcpStream, deadline: Instant) -> io::Result<Beginning> {
    let mut read = Vec::with_capacity(256);
    let proxied = within(deadline, read_proxy_header(stream, &mut read)).await?;
    Ok(Beginning { proxied, read })
}

/// Reads what is spoken, of which this was read already.
pub(crate) async fn first_bytes(stream: &mut (impl AsyncRead + Unpin), read: Vec<u8>, deadline: Instant) -> io::Result<FirstBytes> {
    within(deadline, read_first_bytes(stream, read)).await
}

async fn read_first_bytes(stream: &mut (impl AsyncRead + Unpin), mut read: Vec<u8>) -> io::Result<FirstBytes> {
    loop {
        if let Some(protocol) = protocol(&read) {
            return Ok(FirstBytes { protocol, read });
        }
        read_some(stream, &mut read).await?;
    }
}

/// Reads at least one byte more.
pub(crate) async fn read_some(stream: &mut (impl AsyncRead + Unpin), read: &mut Vec<u8>) -> io::Result<()> {
    if stream.read_buf(read).await? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// What must be there by the deadline.
pub(crate) async fn within<T>(deadline: Instant, reading: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout_at(deadline, reading).await.map_err(|_| timed_out())?
}

/// Whom a PROXY header names, which is taken off what was read.
async fn read_proxy_header(stream: &mut TcpStream, read: &mut Vec<u8>) -> io::Result<Option<IpAddr>> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "the PROXY header can't be read");
    let mut needed = PROXY_HEAD_BYTES;
    loop {
        let ended = stream.read_buf(read).await? == 0;
        let begun = read.len().min(PROXY_SIGNATURE.len());
        if ended || read[..begun] != PROXY_SIGNATURE[..begun] {
            return Ok(None);
        }
        if let Some(length) = read.get(PROXY_HEAD_BYTES - 2..PROXY_HEAD_BYTES) {
            needed = PROXY_HEAD_BYTES + usize::from(u16::from_be_bytes([length[0], length[1]]));
        }
        if needed > MAX_PROXY_HEADER_BYTES {
            return Err(malformed());
        }
        if read.len() >= needed {
            break;
        }
    }
    let rest = read.split_off(needed);
    let header = std::mem::replace(read, rest);
    let header = v2::Header::try_from(header.as_slice()).map_err(|_| malformed())?;
    Ok(match header.addresses {
        // The proxy's own connection, such as its health check.
        _ if header.command == v2::Command::Local => None,
        v2::Addresses::IPv4(addresses) => Some(addresses.source_address.into()),
        v2::Addresses::IPv6(addresses) => Some(addresses.source_address.into()),
        v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
    })
}

/// Has the operating system notice that nobody is there any more, in about the time in which pings would tell it of HTTP/2.
pub(crate) fn notice_silence(socket: &Socket) -> io::Result<()> {
    let socket = SockRef::from(match socket {
        Either::Left(stream) => stream,
        Either::Right(tls) => tls.get_ref().0.connection(),
    });
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_EVERY).with_interval(PROBE_EVERY).with_retries(3))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_FOR))?;
    Ok(())
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the connection didn't begin in time")
}

/// A connection that must begin in time.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: GatheredWrites<Socket>,
    /// What was read before, to be read first.
    before: Vec<u8>,
    timing: Timing,
}

/// What a connection must do in time.
#[derive(Debug)]
enum Timing {
    /// HTTP/2 must begin.
    Preface(Preface),
    /// It has. From here on pings tell whether the other side is there.
    Begun,
    /// The head of an HTTP/1.1 request must become whole.
    Heads(RequestHeads),
    /// We have closed it, and its other side must do so as well.
    Lingering(Pin<Box<Sleep>>),
}

#[derive(Debug)]
struct Preface {
    timeout: Pin<Box<Sleep>>,
    /// The first bytes, as far as they matter.
    read: Vec<u8>,
}

impl Connection {
    /// Goes on behind the first bytes. By the deadline HTTP/2 must have begun, or the head of a first HTTP/1.1 request be whole.
    pub(crate) fn new(stream: Socket, first: FirstBytes, deadline: Instant, connection: &Arc<ConnectionState>) -> Self {
        let timeout = Box::pin(tokio::time::sleep_until(deadline));
        let timing = match first.protocol {
            Protocol::Http2 => Timing::Preface(Preface { timeout, read: Vec::new() }),
            Protocol::Http1 => Timing::Heads(RequestHeads::new(Arc::clone(connection), timeout)),
        };
        Self { stream: GatheredWrites::new(stream), before: first.read, timing }
    }
}

/// Whether preface and first SETTINGS are whole. What can't become so has begun as well: HTTP/2 refuses it.
fn has_begun(read: &[u8]) -> bool {
    let preface = read.len().min(PREFACE.len());
    if read[..preface] != PREFACE[..preface] {
        return true;
    }
    let Some(frame) = read.get(PREFACE.len()..).filter(|frame| frame.len() >= FRAME_HEAD_BYTES) else { return false };
    let length = usize::from(frame[0]) << 16 | usize::from(frame[1]) << 8 | usize::from(frame[2]);
    frame[3] != SETTINGS || length > MAX_SETTINGS_BYTES || frame.len() >= FRAME_HEAD_BYTES + length
}

impl Connection {
    /// Reads on, and forgets what comes, until the other side closes as well or its time is over. Closed with something unread, a
    /// connection is reset, and what is still on its way to the client is lost. A client that is refused may still be sending, and one of
    /// HTTP/2 gives room back for what it reads, or pings.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Timing::Lingering(ends) = &mut self.timing else { return Poll::Ready(Ok(())) };
        for _ in 0..READS_AT_ONCE {
            let mut bytes = [0; 4096];
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return ends.as_mut().poll(cx).map(Ok),
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
            }
        }
        if ends.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Connection {
    /// Whether the other side has closed. What it said before that is kept, to be read next. If it hasn't closed, the task is woken when it
    /// says something.
    fn is_closed_by_other_side(&mut self, cx: &mut Context<'_>) -> bool {
        while self.before.len() < MAX_KEPT_BYTES {
            let mut bytes = [MaybeUninit::uninit(); 4096];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.before.extend_from_slice(buffer.filled());
                    // Whoever reads the connection found nothing before, and would not look again.
                    cx.waker().wake_by_ref();
                }
                Poll::Ready(_) => return true,
            }
        }
        false
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = if self.before.is_empty() {
            Pin::new(&mut self.stream).poll_read(cx, buffer)
        } else {
            let length = self.before.len().min(buffer.remaining());
            buffer.put_slice(&self.before[..length]);
            self.before.drain(..length);
            Poll::Ready(Ok(()))
        };
        let new = &buffer.filled()[before..];
        match &mut self.timing {
            Timing::Begun | Timing::Lingering(_) => {}
            Timing::Preface(preface) => {
                let room = (PREFACE.len() + FRAME_HEAD_BYTES + MAX_SETTINGS_BYTES).saturating_sub(preface.read.len());
                preface.read.extend(new.iter().take(room));
                if has_begun(&preface.read) {
                    self.timing = Timing::Begun;
                } else if preface.timeout.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(timed_out()));
                }
            }
            Timing::Heads(heads) => {
                if heads.is_late(new, cx) {
                    return Poll::Ready(Err(timed_out()));
                }
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
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        // hyper looks for the end of what it reads only while it has nothing left to parse: a byte behind the request would hide from it
        // that its caller is gone. It flushes whenever it is polled, so the end is looked for here.
        let has_running_call = matches!(&self.timing, Timing::Heads(heads) if heads.has_running_call());
        if has_running_call && self.is_closed_by_other_side(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !matches!(self.timing, Timing::Lingering(_)) {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.timing = Timing::Lingering(Box::pin(tokio::time::sleep(LINGER)));
        }
        self.poll_linger(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::caller_address::CallerAddress;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    fn settings(parameters: usize) -> Vec<u8> {
        let length = u8::try_from(parameters * 6).unwrap();
        [&PREFACE[..], &[0, 0, length, SETTINGS, 0, 0, 0, 0, 0], &vec![0; parameters * 6]].concat()
    }

    async fn connection(said: &[u8], timeout: Duration) -> (TcpStream, io::Result<Connection>) {
        let (mut client, server) = pair().await;
        client.write_all(said).await.unwrap();
        let deadline = Instant::now() + timeout;
        let begun = begin(server, deadline).await;
        (client, begun.map(|(_, connection)| connection))
    }

    /// What a plaintext connection goes through.
    async fn begin(mut server: TcpStream, deadline: Instant) -> io::Result<(Option<IpAddr>, Connection)> {
        let Beginning { proxied, read } = beginning(&mut server, deadline).await?;
        let first = first_bytes(&mut server, read, deadline).await?;
        Ok((proxied, Connection::new(Either::Left(server), first, deadline, &state())))
    }

    fn state() -> Arc<ConnectionState> {
        Arc::new(ConnectionState::new(CallerAddress { ip: IpAddr::from([192, 0, 2, 1]), through_proxy: false }))
    }

    #[tokio::test]
    async fn a_connection_that_does_not_begin_is_closed_whatever_it_has_said() {
        let whole = settings(2);
        for said in [0, 1, 23, 24, 30, whole.len() - 1] {
            let (_client, connection) = connection(&whole[..said], Duration::from_millis(20)).await;
            let error = match connection {
                Ok(mut connection) => connection.read_to_end(&mut Vec::new()).await.unwrap_err(),
                Err(error) => error,
            };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "after {said} bytes");
        }
    }

    #[tokio::test]
    async fn one_that_has_begun_is_kept() {
        for said in [settings(0), settings(2), [&PREFACE[..], &[0; 9]].concat()] {
            let (_client, connection) = connection(&said, HANDSHAKE_TIMEOUT).await;
            let (mut connection, mut read) = (connection.unwrap(), vec![0; said.len()]);
            connection.read_exact(&mut read).await.unwrap();
            assert_eq!(read, said);
            assert!(matches!(connection.timing, Timing::Begun), "{said:?}");
        }
    }

    #[tokio::test]
    async fn what_was_written_last_arrives_though_its_client_still_talks_when_we_have_closed() {
        let get = b"GET / HTTP/1.1\r\n\r\n";
        for said in [settings(2), get.to_vec()] {
            let (mut client, connection) = connection(&said, HANDSHAKE_TIMEOUT).await;
            let (mut connection, mut read, answer) = (connection.unwrap(), vec![0; said.len()], vec![7; 100_000]);
            connection.read_exact(&mut read).await.unwrap();
            let closed = async {
                connection.write_all(&answer).await.unwrap();
                connection.shutdown().await.unwrap();
                drop(connection);
            };
            let mut closed = Box::pin(closed);
            assert!(closed.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(), "its client has not closed");
            // As of a client that gives room back.
            client.write_all(&[0; 13]).await.unwrap();
            let answered = async {
                let mut answered = Vec::new();
                client.read_to_end(&mut answered).await.map(|_| drop(client)).unwrap();
                answered
            };
            let (answered, ()) = tokio::join!(answered, closed);
            assert!(answered == answer, "{}", answered.len());
        }
    }

    fn proxy_header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u8::try_from(rest.len()).unwrap();
        [&PROXY_SIGNATURE[..], &[0x20 | command, family, 0, length], rest].concat()
    }

    #[tokio::test]
    async fn a_proxy_header_names_the_address_and_is_taken_off() {
        let v4 = proxy_header(1, 0x11, &[203, 0, 113, 9, 10, 0, 0, 1, 0x10, 0x92, 0xc3, 0x84]);
        let v6 = proxy_header(1, 0x21, &[&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..], &[0; 20]].concat());
        let local = proxy_header(0, 0, &[]);
        let cases = [(v4, Some("203.0.113.9")), (v6, Some("2001:db8::7")), (local, None), (Vec::new(), None)];
        for (header, expected) in cases {
            let said = [&header[..], &settings(1)].concat();
            // Split at every place: a header needn't come in one read.
            for cut in (1..said.len()).step_by(7) {
                let (mut client, server) = pair().await;
                let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
                client.write_all(&said[..cut]).await.unwrap();
                let (begun, ()) = tokio::join!(begin(server, deadline), async { client.write_all(&said[cut..]).await.unwrap() });
                let (proxied, mut connection) = begun.unwrap();
                assert_eq!(proxied.map(|ip| ip.to_string()).as_deref(), expected);
                let mut read = vec![0; settings(1).len()];
                connection.read_exact(&mut read).await.unwrap();
                assert_eq!(read, settings(1));
            }
        }
    }

    #[tokio::test]
    async fn a_proxy_header_that_is_cut_or_absurd_ends_the_connection() {
        let absurd = [&PROXY_SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat();
        let wrong = [&PROXY_SIGNATURE[..], &[0x51, 0x11, 0, 0]].concat();
        for said in [absurd, wrong, proxy_header(1, 0x11, &[1, 2, 3])] {
            assert!(connection(&said, HANDSHAKE_TIMEOUT).await.1.is_err(), "{said:?}");
        }
        let (_client, cut) = connection(&PROXY_SIGNATURE[..7], Duration::from_millis(20)).await;
        assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
