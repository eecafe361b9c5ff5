//! Owns private keys and certificates as files: made so that only their owner can read them, and read in no other state.
//! Never whose signatures are accepted, and never a private key on a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use p256::SecretKey;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::elliptic_curve::Generate;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};
use policy_lang::certificate::{self, Fault, Identity};
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder, CertificateBuilder};
use x509_cert::certificate::TbsCertificate;
use x509_cert::der::flagset::FlagSet;
use x509_cert::der::{DateTime, EncodePem};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{SubjectPublicKeyInfo, SubjectPublicKeyInfoRef};
use x509_cert::time::Validity;

use crate::console::Failure;
use crate::files;

/// Of a file with a key or a certificate.
const MAX_BYTES: u64 = 1 << 20;

/// What a file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Certificate,
    PublicKey,
    PrivateKey,
}

/// A new private key.
pub fn generate() -> Result<SecretKey, Failure> {
    SecretKey::try_generate().map_err(|error| Failure::new(format!("no random number is to be had: {error}")))
}

/// Writes a private key (PKCS #8, RFC 5958, in PEM) to a file that was not there and that its owner alone can read.
pub fn create_key(path: &Path, key: &SecretKey) -> Result<(), Failure> {
    let text = key.to_pkcs8_pem(LineEnding::LF);
    let text = text.map_err(|error| Failure::new(format!("the key cannot be written down: {error}")))?;
    create(path, text.as_bytes(), 0o600)
}

/// Writes a file that was not there.
pub fn create(path: &Path, content: &[u8], mode: u32) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let why = match error.kind() {
            std::io::ErrorKind::AlreadyExists => "is there already, and is not overwritten".to_owned(),
            _ => files::said(&error),
        };
        Failure::new(format!("{}: {why}", path.display()))
    };
    let mut file = File::options().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)
}

/// Reads a private key of P-256: PKCS #8 or SEC 1 (RFC 5915) in PEM, as `openssl ecparam -genkey` writes it too. A file that
/// others than its owner may touch is refused.
pub fn read_key(path: &Path) -> Result<SecretKey, Failure> {
    let (text, mode) = read(path)?;
    key(path, &text, mode)
}

fn key(path: &Path, text: &str, mode: u32) -> Result<SecretKey, Failure> {
    let name = path.display();
    // In front of a key of its own, openssl names the curve.
    let from = text.find("-----BEGIN EC PRIVATE KEY").or_else(|| text.find("-----BEGIN "));
    let text = from.and_then(|at| text.get(at..)).unwrap_or(text).trim_end();
    if text.matches("-----BEGIN ").count() > 1 {
        return Err(Failure::new(format!(
            "{name}: it holds more than one key; keep each in a file of its own"
        )));
    }
    match certificate::kind(text) {
        Some("PRIVATE KEY" | "EC PRIVATE KEY") => {}
        Some("ENCRYPTED PRIVATE KEY") => {
            let cure = format!("openssl pkcs8 -in {name} takes the password off");
            return Err(Failure::new(format!("{name}: the key is encrypted: {cure}")));
        }
        Some(other) => {
            return Err(Failure::new(format!("{name}: is a `{other}`, where a private key is due")));
        }
        None => return Err(Failure::new(format!("{name}: is no PEM file; `lbctl cert new` makes a key"))),
    }
    if mode & 0o077 != 0 {
        return Err(Failure::new(format!(
            "{name}: others than its owner may use this private key (mode {:03o}): chmod 600 {name}",
            mode & 0o777
        )));
    }
    // What stands in the file is never repeated: part of it is the key.
    SecretKey::from_pem(text)
        .map_err(|_| Failure::new(format!("{name}: is no private key of P-256; `lbctl cert new` makes one")))
}

/// What is public of the certificate or key in a file.
pub fn read_identity(path: &Path) -> Result<(Kind, Identity), Failure> {
    let (text, mode) = read(path)?;
    let told = |fault: Fault| {
        let cure = fault.help.map_or(String::new(), |help| format!("; {help}"));
        Failure::new(format!("{}: {}{cure}", path.display(), fault.message))
    };
    match certificate::kind(&text) {
        Some(kind) if kind.ends_with("PRIVATE KEY") || kind == "EC PARAMETERS" => {
            Ok((Kind::PrivateKey, bare(&key(path, &text, mode)?)))
        }
        Some("PUBLIC KEY") => Ok((Kind::PublicKey, certificate::public_key(&text).map_err(told)?)),
        Some("CERTIFICATE") => Ok((Kind::Certificate, certificate::certificate(&text).map_err(told)?)),
        Some(other) => Err(Failure::new(format!(
            "{}: is a `{other}`, and neither a certificate nor a key",
            path.display()
        ))),
        None => Err(Failure::new(format!("{}: is no PEM file", path.display()))),
    }
}

fn read(path: &Path) -> Result<(String, u32), Failure> {
    let failed = |why: String| Failure::new(format!("{}: {why}", path.display()));
    let file = files::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(|error| failed(files::said(&error)))?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|error| failed(files::said(&error)))?;
    let text = String::from_utf8(bytes).map_err(|_| failed("is no PEM file: it is no text".to_owned()))?;
    Ok((text, mode))
}

/// What is known of a key that has no certificate.
pub fn bare(key: &SecretKey) -> Identity {
    let point = key.public_key().to_sec1_point(false);
    certificate::bare(point.as_bytes().try_into().unwrap_or([0; 65]))
}

/// The public key in PEM (RFC 7468, section 13).
pub fn public_key(key: &SecretKey) -> Result<String, Failure> {
    let text = key.public_key().to_public_key_pem(LineEnding::LF);
    text.map_err(|error| Failure::new(format!("the public key cannot be written down: {error}")))
}

/// A self-signed certificate in PEM, valid from the one second since 1970 to the other, ends included.
pub fn issue(key: &SecretKey, name: &str, from: i64, until: i64) -> Result<String, Failure> {
    let failed =
        |error: String| Failure::new(format!("the certificate for `{name}` cannot be made: {error}"));
    let time = |seconds: i64| {
        let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        DateTime::from_unix_duration(since).map(Into::into).map_err(|error| failed(error.to_string()))
    };
    let mut serial = <[u8; 16]>::try_generate()
        .map_err(|error| failed(format!("no random number is to be had: {error}")))?;
    // RFC 5280, section 4.1.2.2: positive, of one form.
    serial[0] = serial[0] & 0x7f | 0x40;
    let validity = Validity::new(time(from)?, time(until)?);
    let signer = SigningKey::from(key);
    let made = || -> x509_cert::builder::Result<String> {
        let builder = CertificateBuilder::new(
            Own { name: Name::from_str(&format!("CN={name}"))? },
            SerialNumber::new(&serial)?,
            validity,
            SubjectPublicKeyInfo::from_key(signer.verifying_key())?,
        )?;
        Ok(builder.build::<_, DerSignature>(&signer)?.to_pem(LineEnding::LF)?)
    };
    made().map_err(|error| failed(error.to_string()))
}

/// A common name that `issue` takes: what would have to be escaped is not worth it.
pub fn name(text: &str) -> Result<String, String> {
    const LONGEST: usize = 64;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@');
    let sound = !text.is_empty() && text.len() <= LONGEST && text.chars().all(plain);
    sound.then(|| text.to_owned()).ok_or_else(|| {
        format!("a name has letters and digits of ASCII, `-`, `_`, `.`, `:` and `@`, {LONGEST} at most")
    })
}

/// Certificates that sign nothing but payloads.
struct Own {
    name: Name,
}

impl BuilderProfile for Own {
    fn get_issuer(&self, subject: &Name) -> Name {
        subject.clone()
    }

    fn get_subject(&self) -> Name {
        self.name.clone()
    }

    fn build_extensions(
        &self,
        _: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let subject = tbs.subject();
        let constraints = BasicConstraints { ca: false, path_len_constraint: None };
        let usage = KeyUsage(FlagSet::from(KeyUsages::DigitalSignature));
        Ok(vec![constraints.to_extension(subject, &[])?, usage.to_extension(subject, &[])?])
    }
}
