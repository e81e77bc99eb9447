//! How messages are written to and read from the wire: as tonic does, with smaller buffers, and counted before they are decoded.

use std::marker::PhantomData;

use bytes::Buf;
use prost::{Message, Name};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::ProstCodec;

use crate::counted_message;
use crate::error::CallError;
use crate::runtime::work_through;

/// The largest message that is taken: a conversation with a few pictures in it.
pub const MAX_MESSAGE_BYTES: usize = 32 * 1024 * 1024;

/// What each call's buffers begin with, in bytes; they grow as messages ask for it. Tonic's 8 KiB would be most of what a stream takes that
/// is silent while its model loads, and nearly all messages here are shorter than this.
const BUFFER_BYTES: usize = 512;
/// What is written at once while more is there.
const WRITTEN_AT_ONCE_BYTES: usize = 32 << 10;

/// The codec of the generated code.
#[derive(Debug, Clone)]
pub struct LeanCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for LeanCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for LeanCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = CountingDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER_BYTES, WRITTEN_AT_ONCE_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        CountingDecoder(PhantomData)
    }
}

/// Decodes messages whose elements it has counted first. A long message doesn't keep other calls from its thread meanwhile.
#[derive(Debug)]
pub struct CountingDecoder<U>(PhantomData<U>);

impl<U: Message + Name + Default> Decoder for CountingDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let bytes = buffer.chunk();
        let length = bytes.len();
        if length != buffer.remaining() {
            return Err(CallError::internal().into());
        }
        let decoded = work_through(length, || {
            counted_message::check_type::<U>(bytes).map_err(CallError::from)?;
            U::decode(bytes).map_err(|error| CallError::message_malformed(format!("the bytes are no message of this method: {error}")))
        });
        buffer.advance(length);
        Ok(Some(decoded?))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, WRITTEN_AT_ONCE_BYTES)
    }
}
