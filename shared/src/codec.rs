//! How messages are written to and read from the wire: as tonic does, with smaller buffers.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::ProstCodec;

/// What each call's buffers begin with, in bytes; they grow as messages ask for it. Tonic's 8 KiB would be most of what a stream takes that is
/// silent while its model loads, and nearly all messages here are shorter than this.
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
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = <ProstCodec<T, U> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER_BYTES, WRITTEN_AT_ONCE_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER_BYTES, WRITTEN_AT_ONCE_BYTES))
    }
}
