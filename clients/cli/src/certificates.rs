//! Certificates for the services, of an authority of their own: where there is neither openssl nor a shell.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::json;
use shared::tls::{Identity, Validity, client_config, in_words, server_name};

use crate::arguments::Tls;
use crate::failure::Failure;
use crate::output::Output;

/// The services, as Compose and their certificates name them.
const SERVICES: [&str; 2] = ["auth-service", "inference-service"];
/// How the services are reached on their own host.
const OWN_HOST: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// What an authority's name begins with.
const AUTHORITY: &str = "Tollgate CA";
const AUTHORITY_LIVES: Duration = Duration::from_secs(3650 * 86_400);
/// Before now, since clocks differ.
const BEGAN_BEFORE: Duration = Duration::from_secs(3600);

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readers {
    Owner,
    Everybody,
}

pub(crate) fn run(command: &Tls, output: &mut Output) -> Result<(), Failure> {
    let Tls::MakeCertificates { folder, names, valid_for } = command;
    let names = SERVICES.map(|service| names_of(service, names));
    let [auth, inference] = names;
    let names = [auth?, inference?];
    let authority = Authority::open(&folder.join("ca"), *valid_for)?;
    if authority.is_new && !output.is_json() {
        output.line(&format!("made a new authority: whoever calls must trust {}", authority.file.display()))?;
    }
    write(&folder.join("public"), "ca.pem", &authority.certificate, Readers::Everybody)?;
    let mut records = Vec::new();
    for (service, names) in SERVICES.into_iter().zip(names) {
        let (certificate, key) = authority.certify(&names, *valid_for)?;
        let folder = folder.join(service);
        write(&folder, "ca.pem", &authority.certificate, Readers::Everybody)?;
        // The key first: a service that looks between the two goes on with what it has.
        write(&folder, "key.pem", &key, Readers::Owner)?;
        write(&folder, "certificate.pem", &certificate, Readers::Everybody)?;
        let file = folder.join("certificate.pem");
        records.push(json!({"service": service, "file": file, "names": names}));
        if !output.is_json() {
            output.line(&format!("{}: {}, for {}", file.display(), names.join(", "), in_words(*valid_for)))?;
        }
    }
    if output.is_json() {
        return output.document(&json!({"authority": authority.file, "isNewAuthority": authority.is_new, "certificates": records}));
    }
    Ok(())
}

/// The names in a service's certificate: its own, those of its host, and the given ones that are meant for it. `SERVICE=NAME` is meant for
/// that service alone: whoever has the other one's key can't stand in for it there.
fn names_of(service: &str, given: &[String]) -> Result<Vec<String>, Failure> {
    let mut names: Vec<String> = [service].into_iter().chain(OWN_HOST).map(str::to_owned).collect();
    for given in given {
        let (meant_for, name) = given.split_once('=').map_or((None, given.as_str()), |(service, name)| (Some(service), name));
        if meant_for.is_some_and(|meant_for| !SERVICES.contains(&meant_for)) {
            return Err(Failure::Usage(format!("{given:?} names no service: {} and {}", SERVICES[0], SERVICES[1])));
        }
        if server_name(name).is_none() {
            return Err(Failure::Usage(format!("{name:?} is neither a DNS name nor an IP address")));
        }
        if meant_for.is_none_or(|meant_for| meant_for == service) && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    file: PathBuf,
    is_new: bool,
}

impl Authority {
    /// The authority of this folder, or a new one where there is none or it ends before what it would sign.
    fn open(folder: &Path, valid_for: Duration) -> Result<Self, Failure> {
        let (file, key_file) = (folder.join("ca.pem"), folder.join("ca.key"));
        let known = match (read(&file)?, read(&key_file)?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(Failure::Usage(format!("{} has only one of ca.pem and ca.key: bring the other back", folder.display()))),
        };
        if let Some((certificate, key)) = known {
            let unusable = |why: String| Failure::Usage(format!("{} {why}", file.display()));
            let identity = Identity { certificate: certificate.as_bytes(), key: key.as_bytes() };
            // It compares the two.
            client_config(Some(certificate.as_bytes()), Some(identity), &[]).map_err(|error| unusable(error.to_string()))?;
            if Validity::of_pem(certificate.as_bytes()).map_err(unusable)?.remaining() > valid_for {
                let key = KeyPair::from_pem(&key).map_err(|error| failed(&error))?;
                return Ok(Self { issuer: Issuer::new(authority(&key), key), certificate, file, is_new: false });
            }
        }
        let key = KeyPair::generate().map_err(|error| failed(&error))?;
        let certificate = authority(&key).self_signed(&key).map_err(|error| failed(&error))?.pem();
        write(folder, "ca.key", &key.serialize_pem(), Readers::Owner)?;
        write(folder, "ca.pem", &certificate, Readers::Everybody)?;
        Ok(Self { issuer: Issuer::new(authority(&key), key), certificate, file, is_new: true })
    }

    /// A certificate for a server that is also a client, and its key.
    fn certify(&self, names: &[String], valid_for: Duration) -> Result<(String, String), Failure> {
        let key = KeyPair::generate().map_err(|error| failed(&error))?;
        let mut params = CertificateParams::new(names).map_err(|error| failed(&error))?;
        params.distinguished_name = named(&names[0]);
        (params.not_before, params.not_after) = lasting(valid_for);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(|error| failed(&error))?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

/// An authority with this key. Its name follows from the key: so two have different names, and one is known again.
fn authority(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    let number: String = params.key_identifier(key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name = named(&format!("{AUTHORITY} {number}"));
    (params.not_before, params.not_after) = lasting(AUTHORITY_LIVES);
    // It signs servers' and clients' certificates, and no other authority's.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// From a little before now.
fn lasting<T: From<SystemTime>>(time: Duration) -> (T, T) {
    let now = SystemTime::now();
    ((now - BEGAN_BEFORE).into(), (now + time).into())
}

fn failed(error: &rcgen::Error) -> Failure {
    Failure::Usage(format!("no certificate can be made: {error}"))
}

fn read(file: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Failure::Io { what: format!("{} can't be read", file.display()), source }),
    }
}

/// Writes a file whole under another name, and gives it its own then: who reads it meanwhile reads the old one or the new one.
fn write(folder: &Path, name: &str, text: &str, readers: Readers) -> Result<(), Failure> {
    let file = folder.join(name);
    let written = || {
        fs::create_dir_all(folder)?;
        let draft = folder.join(format!(".{name}.new"));
        if let Err(error) = fs::remove_file(&draft)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut draft_file = options(readers).open(&draft)?;
        draft_file.write_all(text.as_bytes())?;
        draft_file.sync_all()?;
        fs::rename(&draft, &file)
    };
    written().map_err(|source| Failure::Io { what: format!("{} can't be written", file.display()), source })
}

fn options(readers: Readers) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, if readers == Readers::Owner { 0o600 } else { 0o644 });
    #[cfg(not(unix))]
    let _ = readers;
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(folder: &Path, valid_for: Duration) -> Result<(), Failure> {
        let names = vec!["gate.example".to_owned(), "10.0.0.7".to_owned()];
        run(&Tls::MakeCertificates { folder: folder.to_owned(), names, valid_for }, &mut Output::stdout(false))
    }

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn made_again_the_authority_stays_and_the_services_certificates_and_keys_are_others() {
        let folder = tempfile::tempdir().unwrap();
        let all = || {
            let services = SERVICES.map(|service| ["certificate.pem", "key.pem", "ca.pem"].map(|file| format!("{service}/{file}")));
            let files = services.into_iter().flatten().chain(["ca/ca.pem", "ca/ca.key", "public/ca.pem"].map(str::to_owned));
            files.map(|file| (fs::read_to_string(folder.path().join(&file)).unwrap(), file)).collect::<Vec<_>>()
        };
        make(folder.path(), DAY * 90).unwrap();
        let first = all();
        make(folder.path(), DAY * 90).unwrap();
        for ((before, file), (after, _)) in first.iter().zip(all()) {
            assert_eq!(*before == after, file.contains("ca."), "{file}");
        }
        // One that would end before what it signs is replaced.
        make(folder.path(), AUTHORITY_LIVES).unwrap();
        assert!(all().iter().zip(&first).all(|((after, _), (before, _))| after != before));
    }

    #[test]
    #[cfg(unix)]
    fn nobody_but_the_owner_reads_the_keys() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), DAY).unwrap();
        make(folder.path(), DAY).unwrap();
        for file in ["ca/ca.key", "auth-service/key.pem", "inference-service/key.pem"] {
            assert_eq!(fs::metadata(folder.path().join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
        }
    }

    #[test]
    fn a_name_is_of_both_services_or_of_the_one_that_it_is_given_to() {
        let given =
            ["gate.example", "auth-service=auth.example", "inference-service=10.0.0.7", "auth-service=localhost"].map(str::to_owned);
        let names = |service| names_of(service, &given).unwrap();
        assert_eq!(names("auth-service"), ["auth-service", "localhost", "127.0.0.1", "::1", "gate.example", "auth.example"]);
        assert_eq!(names("inference-service"), ["inference-service", "localhost", "127.0.0.1", "::1", "gate.example", "10.0.0.7"]);
        for wrong in ["auth=auth.example", "=auth.example", "auth-service=", "auth-service=a b", "auth-service=a=b"] {
            assert!(matches!(names_of("inference-service", &[wrong.to_owned()]), Err(Failure::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_name_and_half_an_authority_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let names = vec!["not a name".to_owned()];
        let refused = run(&Tls::MakeCertificates { folder: folder.path().to_owned(), names, valid_for: DAY }, &mut Output::stdout(false));
        assert!(matches!(refused, Err(Failure::Usage(_))));
        make(folder.path(), DAY).unwrap();
        fs::remove_file(folder.path().join("ca/ca.key")).unwrap();
        assert!(matches!(make(folder.path(), DAY), Err(Failure::Usage(_))));
        assert!(fs::exists(folder.path().join("ca/ca.pem")).unwrap(), "nothing is replaced");
    }
}
