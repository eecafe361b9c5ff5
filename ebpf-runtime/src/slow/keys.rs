//! Owns the keys that a generation's certificates are checked by, those that `generate` asks for included: made once,
//! kept in the instance's directory, and told to the data path. Never prints a private one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use lb_abi::maps::{CERTIFICATE_ACTIVE, Certificate};
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use ring::digest::{SHA256, digest};

use super::verify::Key;
use crate::error::Error;
use crate::generation::Generation;
use crate::paths::Paths;
use crate::plane::{Plane, validity};

/// Keys by dense number. One that is to be generated is made if there is none in its file, and the data path learns its
/// hash.
pub(super) fn of(paths: &Paths, content: &Generation, plane: &Plane) -> Result<Vec<(u32, Key)>, Error> {
    let mut keys = Vec::new();
    for certificate in &content.certificates {
        if let Some(point) = &certificate.key {
            let point = point.as_slice().try_into().unwrap_or([0; 65]);
            keys.push((certificate.number, Key { hash: certificate.hash, point }));
            continue;
        }
        let authority = content.authorities.get(certificate.authority as usize);
        let authority = authority.map_or("", |authority| authority.name.as_str());
        let path = paths.key(authority, certificate.id);
        let key = public(&read_or_make(&path)?);
        let (not_before, not_after) = validity(certificate.valid);
        let entry = Certificate {
            hash: key.hash,
            not_before,
            not_after,
            state: CERTIFICATE_ACTIVE,
            ..Certificate::default()
        };
        plane.set_certificate(certificate.number, entry);
        keys.push((certificate.number, key));
    }
    Ok(keys)
}

/// The point, and its SHA-256 by which trailers name it.
fn public(key: &SecretKey) -> Key {
    let point = key.public_key().to_sec1_point(false);
    let point: [u8; 65] = point.as_bytes().try_into().unwrap_or([0; 65]);
    Key { hash: digest(&SHA256, &point).as_ref().try_into().unwrap_or([0; 32]), point }
}

fn read_or_make(path: &Path) -> Result<SecretKey, Error> {
    let failed = |e| Error::file(path, e);
    match fs::read_to_string(path) {
        Ok(text) => SecretKey::from_pkcs8_pem(&text).map_err(|_| {
            let what = "it is no private key of P-256 in PKCS#8 PEM; delete it to have a new one made";
            failed(io::Error::new(io::ErrorKind::InvalidData, what))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

/// Written aside and moved into place, so that no reader finds half of it.
fn make(path: &Path) -> io::Result<SecretKey> {
    let key = random()?;
    let text = key.to_pkcs8_pem(LineEnding::LF).map_err(io::Error::other)?;
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let aside = path.with_extension("tmp");
    // A killed process may have left one.
    let _ = fs::remove_file(&aside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    Ok(key)
}

fn random() -> io::Result<SecretKey> {
    let mut source = File::open("/dev/urandom")?;
    loop {
        let mut bytes = [0; 32];
        source.read_exact(&mut bytes)?;
        // All but one in four thousand million are scalars of P-256.
        if let Ok(key) = SecretKey::from_slice(&bytes) {
            return Ok(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_generated_key_is_private_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys/edge-3.key");
        let first = public(&read_or_make(&path).unwrap());
        assert_eq!(public(&read_or_make(&path).unwrap()), first);
        assert_eq!(first.point[0], 4);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let other = public(&read_or_make(&path.with_file_name("edge-4.key")).unwrap());
        assert_ne!(first, other);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{text}");
    }

    #[test]
    fn a_damaged_key_is_told_and_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("edge-3.key");
        fs::write(&path, "nonsense").unwrap();
        let error = read_or_make(&path).unwrap_err().to_string();
        assert!(error.contains("no private key of P-256"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "nonsense");
    }
}
