//! Certificates of every kind that a test needs, by authorities of its own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};

const DAY: Duration = Duration::from_secs(86_400);

/// How many were made: no two have one name.
static AUTHORITIES: AtomicU32 = AtomicU32::new(0);

/// An authority.
#[derive(Debug)]
pub struct TestAuthority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate in PEM.
    pub pem: String,
}

/// A certificate, and its key.
#[derive(Debug, Clone)]
pub struct TestIdentity {
    /// The certificate in PEM.
    pub certificate: String,
    /// The key in PEM.
    pub key: String,
}

impl TestAuthority {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        let number = AUTHORITIES.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("authority {number} of a test"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Certifies these names, from a day ago until tomorrow. A name with `://` is a URI.
    #[must_use]
    pub fn certify(&self, names: &[&str]) -> TestIdentity {
        let now = SystemTime::now();
        self.certify_for(names, now - DAY, now + DAY)
    }

    /// Certifies them for this time.
    #[must_use]
    pub fn certify_for(&self, names: &[&str], from: SystemTime, until: SystemTime) -> TestIdentity {
        let (uris, hosts): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains("://"));
        let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(hosts).expect("names");
        params.subject_alt_names.extend(uris.into_iter().map(|uri| SanType::URI(uri.try_into().expect("ASCII"))));
        (params.not_before, params.not_after) = (from.into(), until.into());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        TestIdentity { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Writes its certificate to a file of this folder.
    #[must_use]
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        write(folder, name, &self.pem)
    }
}

impl Default for TestAuthority {
    fn default() -> Self {
        Self::new()
    }
}

impl TestIdentity {
    /// Writes both to `NAME.pem` and `NAME.key` of this folder, the key readable by its owner alone.
    #[must_use]
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        use std::os::unix::fs::PermissionsExt;
        let key = write(folder, &format!("{name}.key"), &self.key);
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("our own file");
        (write(folder, &format!("{name}.pem"), &self.certificate), key)
    }
}

/// Writes a file whole under another name first, as careful programs do.
fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let (path, draft) = (folder.join(name), folder.join(format!(".{name}.new")));
    std::fs::write(&draft, text).expect("a file");
    std::fs::rename(&draft, &path).expect("a file");
    path
}
