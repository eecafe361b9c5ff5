//! Owns certificates, keys and hashes as files and policies write them: PEM, X.509, points of P-256, hex.
//! Never whose signatures are accepted, or when.

use p256::elliptic_curve::sec1::ToSec1Point;
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, pem};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::Fault;
use super::bytes::hex;

/// RFC 5480 section 2.1.1.
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// RFC 5480 section 2.1.1.1: secp256r1.
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// A P-256 key, and what is known of who has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// SHA-256 of the certificate's DER, or of `key` for a bare key.
    pub hash: [u8; 32],
    /// SEC 1 section 2.3.3: 4, x, y.
    pub key: [u8; 65],
    /// Seconds since 1970, ends included; none for a bare key.
    pub valid: Option<(i64, i64)>,
    /// The common name; empty where there is none.
    pub subject: String,
}

/// The one X.509 certificate (RFC 5280) of a PEM text (RFC 7468).
pub fn certificate(text: &str) -> Result<Identity, Fault> {
    let der = object(text, "CERTIFICATE", "a certificate")?;
    let certificate = Certificate::from_der(&der).map_err(|error| {
        broken(format!("it is no X.509 certificate: {error}")).help("export it again, as PEM")
    })?;
    let inner = certificate.tbs_certificate();
    let seconds =
        |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    let validity = inner.validity();
    let name = inner.subject().common_name().ok().flatten();
    Ok(Identity {
        hash: Sha256::digest(&der).into(),
        key: key_of(inner.subject_public_key_info())?,
        valid: Some((seconds(validity.not_before), seconds(validity.not_after))),
        subject: name.map(|name| name.value().into_owned()).unwrap_or_default(),
    })
}

/// The one public key of a PEM text (RFC 7468 section 13).
pub fn public_key(text: &str) -> Result<Identity, Fault> {
    let der = object(text, "PUBLIC KEY", "a public key")?;
    let info = SubjectPublicKeyInfoOwned::from_der(&der)
        .map_err(|error| broken(format!("it is no public key: {error}")).help("export it again, as PEM"))?;
    Ok(bare(key_of(&info)?))
}

/// A point of P-256 in hex, compressed or not (SEC 1 section 2.3.3).
pub(crate) fn point(text: &str) -> Result<Identity, Fault> {
    const FORM: &str =
        "write a point of P-256 in hex: 130 digits that start with 04, or 66 that start with 02 or 03";
    let bytes = hex(text).filter(|bytes| matches!(bytes.len(), 33 | 65));
    let bytes = bytes.ok_or_else(|| Fault::new("E0327", "this is not a key in hex").help(FORM))?;
    Ok(bare(on_curve(&bytes)?))
}

/// A SHA-256 hash in hex, as `openssl x509 -fingerprint -sha256` prints it or without the colons.
pub fn hash(text: &str) -> Result<[u8; 32], Fault> {
    const FORM: &str = "write 64 digits in hex, with colons between the bytes or without";
    let bytes = hex(text).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| Fault::new("E0327", format!("`{text}` is not a SHA-256 hash in hex")).help(FORM))
}

/// What stands in for the hash of a key that is yet to be generated.
pub(crate) fn stand_in(authority: &str, id: u8) -> [u8; 32] {
    Sha256::new().chain_update(authority).chain_update([0, id]).finalize().into()
}

/// What is known of a bare key: SEC 1 section 2.3.3, a point of P-256.
pub fn bare(key: [u8; 65]) -> Identity {
    Identity { hash: Sha256::digest(key).into(), key, valid: None, subject: String::new() }
}

/// What the first object of a PEM text says that it is: `CERTIFICATE`, `PUBLIC KEY`, `PRIVATE KEY`, ….
pub fn kind(text: &str) -> Option<&str> {
    let label = text.split_once("-----BEGIN ")?.1;
    Some(label.split_once("-----")?.0)
}

fn broken(message: impl Into<String>) -> Fault {
    Fault::new("E0325", message)
}

/// The bytes of the text's only PEM object, which has this label.
fn object(text: &str, label: &str, what: &str) -> Result<Vec<u8>, Fault> {
    let form = format!("give a file with one `-----BEGIN {label}-----` and its end");
    let begins = text.matches("-----BEGIN ").count();
    if begins == 0 {
        return Err(broken("it is not PEM").help(form));
    }
    if begins > 1 {
        return Err(broken(format!("it holds {begins} objects, and one is read")).help(form));
    }
    if text.starts_with('\u{feff}') {
        return Err(
            broken("it begins with a byte order mark").help("remove it: save the file as plain ASCII")
        );
    }
    let text = text.trim_end();
    let Some((_, end)) = text.split_once("-----END ") else {
        return Err(broken("its END line is missing: the file is cut off").help(form));
    };
    match end.split_once("-----") {
        None => return Err(broken("its END line is not whole: the file is cut off").help(form)),
        Some((_, behind)) if !behind.is_empty() => {
            return Err(broken("something stands behind its END line").help("remove what stands there"));
        }
        Some(_) => {}
    }
    let (found, der) = pem::decode_vec(text.as_bytes()).map_err(|_| {
        broken("it is not PEM: no base64 stands between a BEGIN and an END line of one name")
            .help(form.clone())
    })?;
    if found.ends_with("PRIVATE KEY") {
        let message = format!("it is a private key, where {what} is due");
        return Err(broken(message).help("keep private keys away from the balancer: it needs none"));
    }
    if found != label {
        return Err(broken(format!("it is a `{found}`, where {what} is due")).help(form));
    }
    Ok(der)
}

fn key_of(info: &SubjectPublicKeyInfoOwned) -> Result<[u8; 65], Fault> {
    let other = |what: String| {
        Fault::new("E0326", format!("the key is {what}, not of P-256"))
            .help("make keys with `lbctl cert new`, or `openssl ecparam -name prime256v1 -genkey`")
    };
    if info.algorithm.oid != EC_PUBLIC_KEY {
        let what = match info.algorithm.oid.to_string().as_str() {
            "1.2.840.113549.1.1.1" => "of RSA".to_owned(),
            "1.3.101.112" => "of Ed25519".to_owned(),
            other => format!("of the kind {other}"),
        };
        return Err(other(what));
    }
    let curve = info.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    match curve {
        Some(P256) => on_curve(info.subject_public_key.raw_bytes()),
        Some(curve) => Err(other(match curve.to_string().as_str() {
            "1.3.132.0.34" => "of P-384".to_owned(),
            "1.3.132.0.35" => "of P-521".to_owned(),
            "1.3.132.0.10" => "of secp256k1".to_owned(),
            curve => format!("of the curve {curve}"),
        })),
        None => Err(other("of a curve that it does not name".to_owned())),
    }
}

fn on_curve(bytes: &[u8]) -> Result<[u8; 65], Fault> {
    let key = p256::PublicKey::from_sec1_bytes(bytes)
        .map_err(|_| Fault::new("E0326", "the key is no point of P-256"))?;
    let point = key.to_sec1_point(false);
    point.as_bytes().try_into().map_err(|_| Fault::new("E0326", "the key is no point of P-256"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: &str = include_str!("../../../tests/cases/bad/types/files/device-0.pem");
    const DEVICE_KEY: &str = include_str!("../../../tests/cases/bad/types/files/device-0.pub");

    /// As `openssl x509 -noout -fingerprint -sha256` and `openssl x509 -noout -text` print them.
    #[test]
    fn a_certificate_is_what_openssl_says() {
        let device = certificate(DEVICE).expect("a certificate");
        let fingerprint =
            "06:91:0A:5E:05:8A:38:4A:F0:5F:2C:F9:22:73:2A:73:07:9E:49:27:ED:01:84:CC:DA:6A:13:47:56:15:34:46";
        assert_eq!(hash(fingerprint), Ok(device.hash));
        assert_eq!(device.subject, "device-0");
        // 2025-01-01 and the last second of 9999.
        assert_eq!(device.valid, Some((1_735_689_600, 253_402_300_799)));
        let point = "04458a01068e7858cced87ab0b89d0da67689f7450c155be338c2c24b9996be12e4f676b2b04fefb3a963f5d70d59cc197e68a55532a18749aa5cce5bec9bb85f8";
        assert_eq!(hex(point).as_deref(), Some(&device.key[..]));
    }

    #[test]
    fn a_key_is_the_same_in_each_form() {
        let file = public_key(DEVICE_KEY).expect("a key");
        assert_eq!(file.key, certificate(DEVICE).expect("a certificate").key);
        assert_eq!(file.hash, <[u8; 32]>::from(Sha256::digest(file.key)));
        assert_eq!((file.valid, file.subject.as_str()), (None, ""));
        let digits: String = file.key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(point(&digits).as_ref(), Ok(&file));
        assert_eq!(point(&format!("0x{}", digits.to_uppercase())).as_ref(), Ok(&file));
        // SEC 1: an even y is told by 02, an odd one by 03; this one ends in f8.
        assert_eq!(point(&format!("02{}", &digits[2..66])).as_ref(), Ok(&file));
        assert_ne!(point(&format!("03{}", &digits[2..66])).as_ref(), Ok(&file));
    }

    #[test]
    fn text_around_the_object_is_let_through() {
        let around = format!("issued by the factory\n\n{DEVICE}\n\n");
        assert_eq!(certificate(&around), certificate(DEVICE));
        assert_eq!(certificate(&DEVICE.replace('\n', "\r\n")), certificate(DEVICE));
    }

    #[test]
    fn damage_of_the_form_is_told_in_our_own_words() {
        let told = |text: &str| certificate(text).map_err(|fault| fault.message).err().unwrap_or_default();
        let whole = DEVICE.trim_end();
        assert_eq!(told(&DEVICE[..DEVICE.len() / 2]), "its END line is missing: the file is cut off");
        assert_eq!(told(&whole[..whole.len() - 5]), "its END line is not whole: the file is cut off");
        assert_eq!(told(&format!("{DEVICE}device 7\n")), "something stands behind its END line");
        assert_eq!(told(&format!("\u{feff}{DEVICE}")), "it begins with a byte order mark");
        let form = told(&DEVICE.replacen("MII", "M!I", 1));
        assert_eq!(form, told(&DEVICE.replace("END CERTIFICATE", "END PUBLIC KEY")));
        assert!(form.starts_with("it is not PEM: no base64"), "{form}");
    }

    #[test]
    fn what_is_not_one_is_told_by_its_code() {
        let code = |fault: Result<Identity, Fault>| fault.map_err(|fault| fault.code).err();
        assert_eq!(code(certificate("")), Some("E0325"));
        assert_eq!(code(certificate(&format!("{DEVICE}{DEVICE}"))), Some("E0325"));
        assert_eq!(code(certificate(DEVICE_KEY)), Some("E0325"));
        assert_eq!(code(public_key(DEVICE)), Some("E0325"));
        assert_eq!(code(certificate(&DEVICE.replacen("MII", "M!I", 1))), Some("E0325"));
        // 00 alone stands for the point at infinity, which is nobody's key.
        assert_eq!(code(point("00")), Some("E0327"));
        assert_eq!(code(point(&format!("04{}", "0".repeat(128)))), Some("E0326"));
        assert_eq!(code(point("04:ab:c")), Some("E0327"));
        assert!(hash(&"é".repeat(32)).is_err() && hash("0x").is_err());
    }

    proptest::proptest! {
        #[test]
        fn damage_gives_a_point_of_the_curve_or_a_finding(at in 0usize..600, byte in 0u8..128) {
            let mut bytes = DEVICE.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(device) = certificate(&String::from_utf8(bytes).expect("ASCII")) {
                proptest::prop_assert!(p256::PublicKey::from_sec1_bytes(&device.key).is_ok());
            }
        }
    }
}
