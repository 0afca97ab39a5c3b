//! Keys that sign and verify tokens: RSA (RS256) and ECDSA (ES256, ES384).

use ring::rand::SystemRandom;
use ring::signature::{self, KeyPair as _};
use serde_json::{Value, json};

use super::jwt::encode_base64;
use super::pem;

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA with SHA-256.
    Rs256,
    /// ECDSA on P-256.
    Es256,
    /// ECDSA on P-384.
    Es384,
}

impl Algorithm {
    /// Its name in tokens.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
        }
    }

    fn verifier(self) -> &'static dyn signature::VerificationAlgorithm {
        match self {
            Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
        }
    }
}

/// A key that verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// How it verifies.
    pub algorithm: Algorithm,
    /// Its name: a hash of the key, as upstream makes it.
    pub id: String,
    /// The point of an ECDSA key, or the PKCS #1 form of an RSA key.
    bytes: Vec<u8>,
}

impl PublicKey {
    pub(super) fn new(algorithm: Algorithm, bytes: &[u8]) -> PublicKey {
        let info = pem::subject_public_key_info(algorithm, bytes);
        let hash = ring::digest::digest(&ring::digest::SHA256, &info);
        PublicKey {
            algorithm,
            id: encode_base64(hash),
            bytes: bytes.to_vec(),
        }
    }

    /// Whether the signature is of this key.
    pub fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        let key = signature::UnparsedPublicKey::new(self.algorithm.verifier(), &self.bytes);
        key.verify(signed, signature).is_ok()
    }

    /// As a JSON web key (RFC 7517).
    pub fn jwk(&self) -> Value {
        let (id, alg) = (&self.id, self.algorithm.as_str());
        let curve = match self.algorithm {
            Algorithm::Rs256 => {
                let (n, e) = pem::rsa_numbers(&self.bytes).unwrap_or_default();
                return json!({"use": "sig", "kty": "RSA", "kid": id, "alg": alg, "n": encode_base64(n), "e": encode_base64(e)});
            }
            Algorithm::Es256 => "P-256",
            Algorithm::Es384 => "P-384",
        };
        // The point begins with the byte that says it is not compressed.
        let (x, y) = self.bytes[1..].split_at((self.bytes.len() - 1) / 2);
        json!({"use": "sig", "kty": "EC", "kid": id, "crv": curve, "alg": alg, "x": encode_base64(x), "y": encode_base64(y)})
    }
}

/// A key that signs.
#[derive(Debug)]
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
}

#[derive(Debug)]
enum Pair {
    Rsa(Box<signature::RsaKeyPair>),
    Ecdsa(Box<signature::EcdsaKeyPair>),
}

impl SigningKey {
    /// From a PKCS #8 key.
    pub(super) fn from_pkcs8(der: &[u8]) -> Result<SigningKey, String> {
        let random = SystemRandom::new();
        if let Ok(pair) = signature::RsaKeyPair::from_pkcs8(der) {
            return Ok(SigningKey::rsa(pair));
        }
        let curves = [
            (
                Algorithm::Es256,
                &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            ),
            (
                Algorithm::Es384,
                &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            ),
        ];
        for (algorithm, signing) in curves {
            if let Ok(pair) = signature::EcdsaKeyPair::from_pkcs8(signing, der, &random) {
                let public = PublicKey::new(algorithm, pair.public_key().as_ref());
                let pair = Pair::Ecdsa(Box::new(pair));
                return Ok(SigningKey { pair, public });
            }
        }
        Err("it is no RSA key of 2048 bits or more and no ECDSA key on P-256 or P-384".to_owned())
    }

    /// From a PKCS #1 key.
    pub(super) fn from_pkcs1(der: &[u8]) -> Result<SigningKey, String> {
        signature::RsaKeyPair::from_der(der)
            .map(SigningKey::rsa)
            .map_err(|err| err.to_string())
    }

    fn rsa(pair: signature::RsaKeyPair) -> SigningKey {
        let public = PublicKey::new(Algorithm::Rs256, pair.public_key().as_ref());
        let pair = Pair::Rsa(Box::new(pair));
        SigningKey { pair, public }
    }

    /// The key that verifies.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> Result<String, String> {
        let header = json!({"alg": self.public.algorithm.as_str(), "kid": self.public.id});
        let signed = format!(
            "{}.{}",
            encode_base64(header.to_string()),
            encode_base64(claims.to_string())
        );
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Ecdsa(pair) => pair
                .sign(&random, signed.as_bytes())
                .map(|s| s.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let padding = &signature::RSA_PKCS1_SHA256;
                pair.sign(padding, &random, signed.as_bytes(), &mut signature)
                    .map(|()| signature)
            }
        };
        let signature = signature.map_err(|_| "the key does not sign".to_owned())?;
        Ok(format!("{signed}.{}", encode_base64(signature)))
    }
}
