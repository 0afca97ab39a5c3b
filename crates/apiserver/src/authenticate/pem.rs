//! Key files: PEM, and the little DER that wraps keys.

use std::path::Path;

use rustls_pki_types::pem::{PemObject as _, SectionKind};
use x509_parser::prelude::{FromDer as _, SubjectPublicKeyInfo, X509Certificate};
use x509_parser::public_key::PublicKey as Parsed;

use super::Error;
use super::key::{Algorithm, PublicKey, SigningKey};

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|err| Error::Read {
        path: path.into(),
        err,
    })
}

fn unusable(path: &Path, why: impl Into<String>) -> Error {
    Error::Key {
        path: path.into(),
        why: why.into(),
    }
}

/// The private key in a file.
pub fn signing_key(path: &Path) -> Result<SigningKey, Error> {
    let bytes = read(path)?;
    let keys = sections(path, &bytes)?
        .into_iter()
        .filter_map(|(kind, der)| private(kind, &der));
    let mut keys: Vec<_> = keys.collect();
    match keys.len() {
        0 => Err(unusable(path, "there is no private key")),
        _ => keys.swap_remove(0).map_err(|why| unusable(path, why)),
    }
}

/// The public keys in a file; those of private keys, too.
pub fn public_keys(path: &Path) -> Result<Vec<PublicKey>, Error> {
    let bytes = read(path)?;
    let mut keys = Vec::new();
    for (kind, der) in sections(path, &bytes)? {
        let key = match kind {
            SectionKind::PublicKey => public(&der),
            SectionKind::Certificate => X509Certificate::from_der(&der)
                .map_err(|err| err.to_string())
                .and_then(|(_, certificate)| of_info(certificate.public_key())),
            kind => match private(kind, &der) {
                Some(key) => key.map(|key| key.public().clone()),
                None => continue,
            },
        };
        keys.push(key.map_err(|why| unusable(path, why))?);
    }
    match keys.is_empty() {
        true => Err(unusable(path, "there is none")),
        false => Ok(keys),
    }
}

fn sections(path: &Path, bytes: &[u8]) -> Result<Vec<(SectionKind, Vec<u8>)>, Error> {
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes);
    sections
        .collect::<Result<_, _>>()
        .map_err(|err| unusable(path, err.to_string()))
}

fn private(kind: SectionKind, der: &[u8]) -> Option<Result<SigningKey, String>> {
    Some(match kind {
        SectionKind::PrivateKey => SigningKey::from_pkcs8(der),
        SectionKind::RsaPrivateKey => SigningKey::from_pkcs1(der),
        SectionKind::EcPrivateKey => [P256, P384]
            .iter()
            .find_map(|curve| SigningKey::from_pkcs8(&pkcs8(curve, der)).ok())
            .ok_or_else(|| "it is no ECDSA key on P-256 or P-384".to_owned()),
        _ => return None,
    })
}

fn public(der: &[u8]) -> Result<PublicKey, String> {
    let (_, info) = SubjectPublicKeyInfo::from_der(der).map_err(|err| err.to_string())?;
    of_info(&info)
}

fn of_info(info: &SubjectPublicKeyInfo<'_>) -> Result<PublicKey, String> {
    let bytes = &info.subject_public_key.data;
    let algorithm = match info.parsed().map_err(|err| err.to_string())? {
        Parsed::RSA(_) => Algorithm::Rs256,
        Parsed::EC(point) if point.key_size() == 256 => Algorithm::Es256,
        Parsed::EC(point) if point.key_size() == 384 => Algorithm::Es384,
        _ => return Err("it is no RSA key and no ECDSA key on P-256 or P-384".to_owned()),
    };
    Ok(PublicKey::new(algorithm, bytes))
}

/// Modulus and exponent of a PKCS #1 public key.
pub fn rsa_numbers(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let info = subject_public_key_info(Algorithm::Rs256, der);
    let (_, info) = SubjectPublicKeyInfo::from_der(&info).ok()?;
    let Parsed::RSA(key) = info.parsed().ok()? else {
        return None;
    };
    let trimmed = |number: &[u8]| {
        let first = number.iter().position(|b| *b != 0).unwrap_or(number.len());
        number[first..].to_vec()
    };
    Some((trimmed(key.modulus), trimmed(key.exponent)))
}

/// AlgorithmIdentifiers (RFC 3279, 5480).
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
const P256: &[u8] =
    b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const P384: &[u8] = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

fn tagged(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match length {
        0..0x80 => out.push(length as u8),
        _ => {
            let bytes = length.to_be_bytes();
            let first = bytes.iter().position(|b| *b != 0).unwrap_or(0);
            out.push(0x80 | (bytes.len() - first) as u8);
            out.extend_from_slice(&bytes[first..]);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// A SubjectPublicKeyInfo (RFC 5280): what key names are hashes of.
pub fn subject_public_key_info(algorithm: Algorithm, key: &[u8]) -> Vec<u8> {
    let identifier = match algorithm {
        Algorithm::Rs256 => RSA,
        Algorithm::Es256 => P256,
        Algorithm::Es384 => P384,
    };
    tagged(SEQUENCE, &[identifier, &tagged(BIT_STRING, &[b"\0", key])])
}

/// A SEC 1 key as PKCS #8 (RFC 5958).
fn pkcs8(identifier: &[u8], sec1: &[u8]) -> Vec<u8> {
    tagged(
        SEQUENCE,
        &[
            &tagged(INTEGER, &[b"\0"]),
            identifier,
            &tagged(OCTET_STRING, &[sec1]),
        ],
    )
}
