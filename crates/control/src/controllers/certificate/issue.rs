//! Certificates from the cluster's authority: X.509 (RFC 5280) with exactly the subject, key and names of the request.
//!
//! The certificate is written here and not by a library, because subjects have several organizations (a user's groups),
//! which must all be kept, in their order.

use base64::Engine as _;
use k8s_openapi::jiff::{SignedDuration, Timestamp, tz::TimeZone};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::request::Asked;

/// As upstream's `--cluster-signing-duration`.
const LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);
const LIFE_MIN: SignedDuration = SignedDuration::from_mins(10);
/// Clocks of others may be late.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);
/// The end of a certificate that lives no longer is not moved with its beginning.
const SHORT: SignedDuration = SignedDuration::from_hours(8);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The authority's files are none.
    #[error("read the cluster's authority: {0}")]
    Authority(&'static str),
    /// The key can't sign.
    #[error("sign with the key of the cluster's authority")]
    Sign,
    /// A usage that certificates don't know.
    #[error("unrecognized usage {0:?}")]
    Usage(String),
}

/// The cluster's authority.
pub struct Authority {
    /// Its subject, DER.
    issuer: Vec<u8>,
    key_id: Option<Vec<u8>>,
    ends: Timestamp,
    key: Key,
}

enum Key {
    Ecdsa(Box<EcdsaKeyPair>),
    Rsa(Box<RsaKeyPair>),
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// From a certificate and a PKCS #8 key, PEM.
    ///
    /// # Errors
    /// When they are none.
    pub fn new(certificate: &[u8], key: &[u8]) -> Result<Authority, Error> {
        let der = CertificateDer::from_pem_slice(certificate)
            .map_err(|_| Error::Authority("no certificate"))?;
        let (_, parsed) = X509Certificate::from_der(&der)
            .map_err(|_| Error::Authority("no X.509 certificate"))?;
        let key_id = parsed
            .extensions()
            .iter()
            .find_map(|e| match e.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            });
        let PrivateKeyDer::Pkcs8(pkcs8) =
            PrivateKeyDer::from_pem_slice(key).map_err(|_| Error::Authority("no private key"))?
        else {
            return Err(Error::Authority("its key is not PKCS #8"));
        };
        let pkcs8 = pkcs8.secret_pkcs8_der();
        let ecdsa =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, &SystemRandom::new());
        let key = match (ecdsa, RsaKeyPair::from_pkcs8(pkcs8)) {
            (Ok(pair), _) => Key::Ecdsa(Box::new(pair)),
            (_, Ok(pair)) => Key::Rsa(Box::new(pair)),
            _ => {
                return Err(Error::Authority(
                    "its key is neither ECDSA on P-256 nor RSA",
                ));
            }
        };
        let ends = Timestamp::from_second(parsed.validity().not_after.timestamp());
        Ok(Authority {
            issuer: parsed.subject().as_raw().to_vec(),
            key_id,
            ends: ends.map_err(|_| Error::Authority("it has no end"))?,
            key,
        })
    }

    /// A certificate for a request, PEM.
    pub(super) fn issue(
        &self,
        asked: &Asked,
        seconds: Option<i32>,
        now: Timestamp,
    ) -> Result<String, Error> {
        let life = seconds.map_or(LIFE, |s| {
            SignedDuration::from_secs(s.into()).clamp(LIFE_MIN, LIFE)
        });
        let begins = now - BACKDATE;
        let ends = if life <= SHORT {
            now + life
        } else {
            begins + life
        };
        let algorithm = match &self.key {
            Key::Ecdsa(_) => der::ECDSA_SHA256,
            Key::Rsa(_) => der::RSA_SHA256,
        };
        let mut serial = [0; 16];
        SystemRandom::new()
            .fill(&mut serial)
            .map_err(|_| Error::Sign)?;
        // Positive, and as long as it looks.
        serial[0] = serial[0] & 0x7f | 0x40;
        let validity = der::sequence(&[&time(begins), &time(ends.min(self.ends))]);
        let extensions = der::tagged(0xa3, &[&der::sequence(&[&self.extensions(asked)?])]);
        let parts: [&[u8]; 8] = [
            b"\xa0\x03\x02\x01\x02",
            &der::tagged(der::INTEGER, &[&serial]),
            algorithm,
            &self.issuer,
            &validity,
            &asked.subject,
            &asked.key,
            &extensions,
        ];
        let to_sign = der::sequence(&parts);
        let signature = self.sign(&to_sign)?;
        let signature = der::tagged(der::BIT_STRING, &[b"\0", &signature]);
        Ok(pem(&der::sequence(&[&to_sign, algorithm, &signature])))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Ecdsa(pair) => pair.sign(&random, message).map(|s| s.as_ref().to_vec()),
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let signed = pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature);
                signed.map(|()| signature)
            }
        }
        .map_err(|_| Error::Sign)
    }

    /// Usages, that it is no authority, whose it is, and other names.
    fn extensions(&self, asked: &Asked) -> Result<Vec<u8>, Error> {
        let (bits, purposes) = usages(&asked.usages)?;
        let mut out = Vec::new();
        if bits != 0 {
            let [high, low] = bits.reverse_bits().to_be_bytes();
            let bytes: &[u8] = if low == 0 { &[high] } else { &[high, low] };
            let unused = bytes.last().map_or(0, |last| last.trailing_zeros() as u8);
            out.extend(der::extension(
                15,
                true,
                &der::tagged(der::BIT_STRING, &[&[unused], bytes]),
            ));
        }
        if !purposes.is_empty() {
            let purposes: Vec<&[u8]> = purposes.iter().map(Vec::as_slice).collect();
            out.extend(der::extension(37, false, &der::sequence(&purposes)));
        }
        out.extend(der::extension(19, true, &der::sequence(&[])));
        if let Some(id) = &self.key_id {
            out.extend(der::extension(
                35,
                false,
                &der::sequence(&[&der::tagged(0x80, &[id])]),
            ));
        }
        if let Some(names) = &asked.alternative_names {
            out.extend(der::extension(17, false, names));
        }
        Ok(out)
    }
}

/// Bits of keyUsage (bit 0 first) and purposes of extKeyUsage.
fn usages(usages: &[String]) -> Result<(u16, Vec<Vec<u8>>), Error> {
    const BITS: [&str; 9] = [
        "digital signature",
        "content commitment",
        "key encipherment",
        "data encipherment",
        "key agreement",
        "cert sign",
        "crl sign",
        "encipher only",
        "decipher only",
    ];
    const PURPOSES: [(&str, &[u8]); 13] = [
        ("any", b"\x06\x04\x55\x1d\x25\x00"),
        ("server auth", b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01"),
        ("client auth", b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02"),
        ("code signing", b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x03"),
        (
            "email protection",
            b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x04",
        ),
        ("s/mime", b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x04"),
        (
            "ipsec end system",
            b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x05",
        ),
        ("ipsec tunnel", b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x06"),
        ("ipsec user", b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x07"),
        ("timestamping", b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x08"),
        ("ocsp signing", b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x09"),
        (
            "microsoft sgc",
            b"\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x0a\x03\x03",
        ),
        (
            "netscape sgc",
            b"\x06\x09\x60\x86\x48\x01\x86\xf8\x42\x04\x01",
        ),
    ];
    let (mut bits, mut purposes) = (0, Vec::new());
    for usage in usages {
        let name = if usage == "signing" {
            "digital signature"
        } else {
            usage
        };
        if let Some(bit) = BITS.iter().position(|b| *b == name) {
            bits |= 1 << bit;
        } else if let Some((_, oid)) = PURPOSES.iter().find(|(purpose, _)| purpose == usage) {
            purposes.push(oid.to_vec());
        } else {
            return Err(Error::Usage(usage.clone()));
        }
    }
    purposes.sort();
    purposes.dedup();
    Ok((bits, purposes))
}

/// UTCTime up to 2049, GeneralizedTime after it.
fn time(at: Timestamp) -> Vec<u8> {
    let at = at.to_zoned(TimeZone::UTC);
    match at.year() < 2050 {
        true => der::tagged(0x17, &[at.strftime("%y%m%d%H%M%SZ").to_string().as_bytes()]),
        false => der::tagged(0x18, &[at.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes()]),
    }
}

fn pem(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap_or_default())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

/// The little DER that a certificate needs.
mod der {
    pub(super) const INTEGER: u8 = 0x02;
    pub(super) const BIT_STRING: u8 = 0x03;
    const OCTET_STRING: u8 = 0x04;
    const SEQUENCE: u8 = 0x30;
    pub(super) const ECDSA_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    pub(super) const RSA_SHA256: &[u8] =
        b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00";

    pub(super) fn tagged(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut out = vec![tag];
        if length < 0x80 {
            out.push(length as u8);
        } else {
            let bytes = length.to_be_bytes();
            let first = bytes.iter().position(|b| *b != 0).unwrap_or(0);
            out.push(0x80 | (bytes.len() - first) as u8);
            out.extend_from_slice(&bytes[first..]);
        }
        parts.iter().for_each(|part| out.extend_from_slice(part));
        out
    }

    pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
        tagged(SEQUENCE, parts)
    }

    /// An extension of the arc id-ce.
    pub(super) fn extension(number: u8, critical: bool, value: &[u8]) -> Vec<u8> {
        let oid = [0x06, 0x03, 0x55, 0x1d, number];
        let critical: &[u8] = if critical { b"\x01\x01\xff" } else { b"" };
        sequence(&[&oid, critical, &tagged(OCTET_STRING, &[value])])
    }
}

#[cfg(test)]
mod tests;
