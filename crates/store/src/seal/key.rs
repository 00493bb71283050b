//! One key and what it does: AES-256-GCM-SIV (RFC 8452), which keeps its promises even when a nonce repeats.

use super::SealError;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use std::fmt::Write as _;

/// Bytes of a key.
pub(crate) const KEY_LEN: usize = 32;

/// A key with the id that envelopes name it by.
pub(crate) struct Key {
    pub id: Vec<u8>,
    cipher: LessSafeKey,
}

impl Key {
    /// A key from its bytes; none when they are not as many as a key has.
    pub fn new(id: &[u8], bytes: &[u8]) -> Option<Key> {
        let bytes: &[u8; KEY_LEN] = bytes.try_into().ok()?;
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, bytes).ok()?);
        Some(Key {
            id: id.to_vec(),
            cipher,
        })
    }

    /// An envelope: `form (1 byte) | key id | nonce (12) | cipher text | tag (16)`. Form, id and `bound` are authenticated
    /// with it.
    pub fn seal(&self, form: u8, bound: &[u8], value: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0u8; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SealError::Cipher)?;
        let head = 1 + self.id.len() + NONCE_LEN;
        let mut envelope = Vec::with_capacity(head + value.len() + AES_256_GCM_SIV.tag_len());
        envelope.push(form);
        envelope.extend_from_slice(&self.id);
        envelope.extend_from_slice(&nonce);
        let mut body = value.to_vec();
        let aad = Aad::from(self.associated(form, bound));
        self.cipher
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut body)
            .map_err(|_| SealError::Cipher)?;
        envelope.append(&mut body);
        Ok(envelope)
    }

    /// Opens what [`Key::seal`] made with the same form and `bound`.
    pub fn open(&self, bound: &[u8], envelope: &[u8]) -> Result<Vec<u8>, SealError> {
        let form = *envelope.first().ok_or(SealError::Forged)?;
        let head = 1 + self.id.len();
        let rest = envelope.get(head..).ok_or(SealError::Forged)?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::Forged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Forged)?;
        let mut body = body.to_vec();
        let aad = Aad::from(self.associated(form, bound));
        let length = self
            .cipher
            .open_in_place(nonce, aad, &mut body)
            .map_err(|_| SealError::Forged)?
            .len();
        body.truncate(length);
        Ok(body)
    }

    fn associated(&self, form: u8, bound: &[u8]) -> Vec<u8> {
        let mut data = vec![form];
        data.extend_from_slice(&self.id);
        data.extend_from_slice(bound);
        data
    }
}

/// `N` random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0u8; N];
    rand::fill(&mut bytes).map_err(|_| SealError::Cipher)?;
    Ok(bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
            text
        })
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
    match rest.is_empty() {
        true => pairs.iter().map(byte).collect(),
        false => None,
    }
}
