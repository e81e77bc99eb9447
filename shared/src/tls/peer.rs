//! What a caller's certificate says of the caller.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use webpki::EndEntityCert;

use super::reloaded::Made;
use super::server::{Loaded, ServerTls};

/// What the certificate of a connection's client is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificate {
    /// It showed none.
    None,
    /// One of its names is listed: it may call as a service.
    Listed,
    /// None of its names is.
    NotListed,
    /// It was good when the connection was made, and isn't by the authorities that count now, or is past its end.
    NoLongerGood,
}

/// Names of certificates whose holders may call as services. Whole names are compared: a DNS name without regard to case, a URI as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientNames(Vec<String>);

impl ClientNames {
    /// Parses a comma list of DNS names and URIs, such as `inference-service,spiffe://example.com/inference`.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.split(',').map(|name| parse_name(name.trim())).collect::<Result<_, _>>().map(Self)
    }

    fn has(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok(certificate) = EndEntityCert::try_from(certificate) else { return false };
        // A URI that reads as a DNS name does is no DNS name.
        let (uris, hosts): (Vec<_>, Vec<_>) = self.0.iter().partition(|name| name.contains("://"));
        certificate.valid_dns_names().any(|name| hosts.iter().any(|host| host.eq_ignore_ascii_case(name)))
            || certificate.valid_uri_names().any(|name| uris.iter().any(|uri| *uri == name))
    }
}

fn parse_name(name: &str) -> Result<String, String> {
    let is_uri = name.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
    let is_visible = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    let is_host = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    if name.parse::<IpAddr>().is_ok() {
        let instead = "give the certificate a DNS name or a URI, and list that";
        return Err(format!("has {name}: an address says where a client is, and not who; {instead}"));
    }
    if is_visible && (is_uri || is_host) {
        return Ok(name.to_owned());
    }
    Err(format!("must be a comma list of whole DNS names and URIs, such as inference-service or spiffe://example.com/x, and has {name:?}"))
}

/// The certificate of a connection's client.
///
/// A connection outlives a change of the authorities. So its certificate is verified again once they, or this service's own certificate,
/// were read anew. A connection whose certificate is no longer good then ends.
pub(crate) struct PeerCertificate {
    chain: Vec<CertificateDer<'static>>,
    tls: ServerTls,
    verdict: Mutex<(Arc<Made<Loaded>>, ClientCertificate)>,
}

impl fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerCertificate").finish_non_exhaustive()
    }
}

impl PeerCertificate {
    /// A certificate that a handshake has verified by these.
    pub(super) fn new(chain: Vec<CertificateDer<'static>>, tls: ServerTls, verified_by: Arc<Made<Loaded>>) -> Self {
        let listed = listed(&chain, &tls);
        Self { chain, tls, verdict: Mutex::new((verified_by, listed)) }
    }

    /// What it is worth now.
    pub(crate) fn worth(&self) -> ClientCertificate {
        let current = self.tls.current();
        let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&verdict.0, &current) {
            let worth = if self.is_good_by(&current.value) { listed(&self.chain, &self.tls) } else { ClientCertificate::NoLongerGood };
            *verdict = (current, worth);
        }
        verdict.1
    }

    /// Ready once it is no longer good.
    pub(crate) async fn lost(&self) {
        let mut changes = self.tls.changes();
        while self.worth() != ClientCertificate::NoLongerGood {
            if changes.changed().await.is_err() {
                // Nothing changes any more.
                std::future::pending().await
            }
        }
    }

    fn is_good_by(&self, loaded: &Loaded) -> bool {
        let Some((certificate, intermediates)) = self.chain.split_first() else { return false };
        let verified = loaded.clients.as_ref().map(|clients| clients.verify_client_cert(certificate, intermediates, UnixTime::now()));
        matches!(verified, Some(Ok(_)))
    }
}

fn listed(chain: &[CertificateDer<'_>], tls: &ServerTls) -> ClientCertificate {
    let is_listed = chain.first().is_some_and(|certificate| tls.names().has(certificate));
    if is_listed { ClientCertificate::Listed } else { ClientCertificate::NotListed }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(names: &[SanType]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        // The common name is no name of a certificate any more.
        params.distinguished_name.push(rcgen::DnType::CommonName, "inference-service");
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn only_whole_names_of_a_certificate_count_and_never_its_subject() {
        let names = ClientNames::parse("inference-service, spiffe://example.com/inference").unwrap();
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let uri = |name: &str| SanType::URI(name.try_into().unwrap());
        for good in [dns("inference-service"), dns("Inference-Service"), uri("spiffe://example.com/inference")] {
            assert!(names.has(&certificate(&[dns("other"), good.clone()])), "{good:?}");
        }
        for other in [
            dns("inference-service.example.com"),
            dns("x.inference-service"),
            dns("*.example.com"),
            uri("spiffe://example.com/inference/x"),
            uri("spiffe://example.com/Inference"),
            uri("inference-service"),
        ] {
            assert!(!names.has(&certificate(std::slice::from_ref(&other))), "{other:?}");
        }
        assert!(!names.has(&certificate(&[])), "a subject");
        assert!(!ClientNames::default().has(&certificate(&[dns("inference-service")])), "none is listed");
    }

    #[test]
    fn a_list_of_names_has_no_patterns_and_no_empty_ones() {
        for wrong in ["", "a,,b", "a b", "*.example.com", "://x", "a,*"] {
            assert!(ClientNames::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_address_which_would_never_match_is_refused_in_words_that_say_what_to_do() {
        for address in ["10.0.0.7", "::1", "inference-service, 2001:db8::7"] {
            let refused = ClientNames::parse(address).unwrap_err();
            assert!(refused.contains("DNS name or a URI"), "{refused}");
        }
        assert!(ClientNames::parse("10.0.0.7.example.com").is_ok());
    }
}
