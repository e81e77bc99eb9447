//! Requests that were encoded beforehand and answers that are decoded afterwards, so that what is measured is the service and not the
//! load's own handling of messages, which would be another for each service.

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Messages as they are on the wire.
#[derive(Debug, Clone, Copy, Default)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        // Out of the buffer, which is far longer: an answer that is kept until the end would keep the whole of it, and the load would take
        // fresh memory for every call.
        let mut message = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut message);
        Ok(Some(message.into()))
    }
}

/// Calls a method.
pub(super) async fn call(channel: Channel, path: &'static str, request: Request<Bytes>) -> Result<Bytes, Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(client.unary(request, PathAndQuery::from_static(path), RawCodec).await?.into_inner())
}

/// An encoded message in which some bytes differ from call to call.
#[derive(Debug, Clone)]
pub(super) struct Template {
    encoded: Vec<u8>,
    /// Where each of the differing parts begins.
    places: Vec<usize>,
}

impl Template {
    /// Finds the parts in the encoded message by what stands there now, which must be there just once.
    pub(super) fn new(message: &impl Message, parts: &[&[u8]]) -> Self {
        let encoded = message.encode_to_vec();
        let place = |part: &&[u8]| {
            let mut found = encoded.windows(part.len()).enumerate().filter(|(_, window)| window == part).map(|(at, _)| at);
            let (first, second) = (found.next(), found.next());
            first.filter(|_| second.is_none()).expect("a part that is in the message once")
        };
        Self { places: parts.iter().map(place).collect(), encoded }
    }

    /// The message with other bytes in the places of its parts.
    pub(super) fn with(&self, parts: &[&[u8]]) -> Bytes {
        let mut encoded = self.encoded.clone();
        for (at, part) in self.places.iter().zip(parts) {
            encoded[*at..at + part.len()].copy_from_slice(part);
        }
        encoded.into()
    }
}

/// A number as 16 hexadecimal digits.
pub(super) fn hex_digits(number: u64) -> [u8; 16] {
    std::array::from_fn(|place| b"0123456789abcdef"[(number >> (60 - 4 * place) & 15) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Payload;

    #[test]
    fn a_template_is_the_message_with_its_parts_replaced() {
        let template = Template::new(&Payload { content: b"..one..two..".to_vec() }, &[b"one", b"two"]);
        let message = Payload::decode(template.with(&[b"ONE", b"TWO"])).unwrap();
        assert_eq!(message.content, b"..ONE..TWO..");
        assert_eq!(&hex_digits(0x0123_4567_89ab_cdef), b"0123456789abcdef");
    }
}
