//! Issuers' identities.

use prost::Message;

use super::{VERSION, Versioned, decode};
use crate::identity::Identity;

versioned!(StoredIdentity);

/// An identity, by SHA-256 of its issuer and subject.
#[derive(Clone, PartialEq, Message)]
struct StoredIdentity {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    issuer: String,
    #[prost(string, tag = "3")]
    subject: String,
    #[prost(string, tag = "4")]
    email: String,
    #[prost(int64, tag = "5")]
    linked_at_ms: i64,
    #[prost(bytes = "vec", tag = "6")]
    linked_by: Vec<u8>,
}

pub(in crate::store) fn identity_bytes(identity: &Identity) -> Vec<u8> {
    let Identity { issuer, subject, email, linked_at_ms, linked_by } = identity.clone();
    StoredIdentity { version: VERSION, issuer, subject, email, linked_at_ms, linked_by: linked_by.to_vec() }.encode_to_vec()
}

pub(in crate::store) fn identity(bytes: &[u8]) -> Option<Identity> {
    let StoredIdentity { issuer, subject, email, linked_at_ms, linked_by, .. } = decode(bytes)?;
    Some(Identity { issuer, subject, email, linked_at_ms, linked_by: linked_by.try_into().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_as_it_was_written() {
        let one = Identity {
            issuer: "https://issuer.example".to_owned(),
            subject: "né \"x\"\n".to_owned(),
            email: "ada@example.com".to_owned(),
            linked_at_ms: 7,
            linked_by: [9; 32],
        };
        assert_eq!(identity(&identity_bytes(&one)), Some(one));
        assert_eq!(identity(b""), None);
    }
}
