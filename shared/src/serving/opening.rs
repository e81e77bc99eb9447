//! What stands between a connection's acceptance and its first HTTP: TLS where it is configured, and an answer for whom it isn't.

use std::io;

use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::either::Either;

use super::Server;
use crate::connection_slots::ConnectionState;
use crate::connections::{FirstBytes, Protocol, Socket, first_bytes, read_some, refuse_plaintext, refuse_tls, within};
use crate::seldom_said::SeldomSaid;
use crate::tls::{HANDSHAKE_RECORD, ServerTls};

/// Lines that any client can cause.
#[derive(Debug, Default)]
pub(super) struct Said {
    plaintext: SeldomSaid,
    tls: SeldomSaid,
    handshake: SeldomSaid,
}

pub(super) fn not_begun(error: &io::Error) {
    tracing::debug!(%error, "a connection ended before it began");
}

impl Server {
    /// Reads what is spoken on a connection, of which this was read already. `None`: it ended, or its client was told that it can't be so.
    pub(super) async fn open(
        &self,
        stream: TcpStream,
        read: Vec<u8>,
        deadline: Instant,
        state: &ConnectionState,
    ) -> Option<(Socket, FirstBytes)> {
        let opened = match &self.tls {
            None => self.open_plainly(stream, read, deadline, state).await,
            // In a box: a handshake's memory is no part of every connection's task.
            Some(tls) => Box::pin(self.open_tls(tls, stream, read, deadline, state)).await,
        };
        opened.inspect_err(not_begun).ok().flatten()
    }

    async fn open_plainly(
        &self,
        mut stream: TcpStream,
        read: Vec<u8>,
        deadline: Instant,
        state: &ConnectionState,
    ) -> io::Result<Option<(Socket, FirstBytes)>> {
        let first = first_bytes(&mut stream, read, deadline).await?;
        if first.protocol == Protocol::Http1 && first.read.starts_with(&HANDSHAKE_RECORD) {
            if let Some(callers) = self.said.tls.is_due() {
                let address = state.address.ip;
                let advice = "TOLLGATE_TLS_CERTIFICATE and TOLLGATE_TLS_KEY turn TLS on; without them callers use http://";
                tracing::warn!(%address, callers, advice, "somebody speaks TLS to this port, which is in plaintext");
            }
            Box::pin(refuse_tls(stream)).await?;
            return Ok(None);
        }
        Ok(Some((Either::Left(stream), first)))
    }

    async fn open_tls(
        &self,
        tls: &ServerTls,
        mut stream: TcpStream,
        mut read: Vec<u8>,
        deadline: Instant,
        state: &ConnectionState,
    ) -> io::Result<Option<(Socket, FirstBytes)>> {
        if read.is_empty() {
            within(deadline, read_some(&mut stream, &mut read)).await?;
        }
        let address = state.address.ip;
        if read[0] != HANDSHAKE_RECORD[0] {
            if let Some(callers) = self.said.plaintext.is_due() {
                tracing::warn!(%address, callers, "somebody speaks plaintext to this port, which has TLS: callers must use https://");
            }
            refuse_plaintext(stream, read, deadline).await?;
            return Ok(None);
        }
        let handshake = async {
            let _place = self.handshakes.take(&state.evicted).await;
            tls.accept(stream, read).await
        };
        let (mut stream, certificate) = within(deadline, handshake).await.inspect_err(|error| self.tell_of_handshake(error, state))?;
        if let Some(certificate) = certificate {
            state.show(certificate);
        }
        let first = first_bytes(&mut stream, Vec::new(), deadline).await?;
        Ok(Some((Either::Right(stream), first)))
    }

    /// Says that a handshake failed, if its client said something: others only went away.
    fn tell_of_handshake(&self, error: &io::Error, state: &ConnectionState) {
        if error.kind() != io::ErrorKind::InvalidData {
            return;
        }
        if let Some(failed) = self.said.handshake.is_due() {
            let address = state.address.ip;
            tracing::warn!(%address, failed, %error, "TLS handshakes fail");
        }
    }
}
