//! The opaque tokens of paged answers.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

/// Characters of a token we read back.
const TOKEN_CHARS_MAX: usize = 4096;

/// Where a paged answer goes on. It carries the kind of listing it belongs to, so that a token of one listing is refused
/// by another. It is no secret and proves nothing: listings check what they find in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageToken {
    /// The parts of the key of the last entry that was answered.
    pub parts: Vec<String>,
}

/// A text that is no token of that listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token is not one of this listing")]
pub struct InvalidPageToken;

impl PageToken {
    /// A token behind the entry with this key.
    pub fn after<const N: usize>(parts: [&str; N]) -> PageToken {
        PageToken {
            parts: parts.map(str::to_owned).to_vec(),
        }
    }

    /// The token's text for a listing.
    pub fn encode(&self, kind: &str) -> String {
        let parts: Vec<&str> = std::iter::once(kind)
            .chain(self.parts.iter().map(String::as_str))
            .collect();
        BASE64_URL_SAFE_NO_PAD.encode(Value::from(parts).to_string())
    }

    /// Reads a token of a listing back; `N` is how many parts its key has.
    ///
    /// # Errors
    /// The text is not a token of this listing.
    pub fn decode<const N: usize>(kind: &str, text: &str) -> Result<[String; N], InvalidPageToken> {
        if text.len() > TOKEN_CHARS_MAX {
            return Err(InvalidPageToken);
        }
        let bytes = BASE64_URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| InvalidPageToken)?;
        let mut parts: Vec<String> =
            serde_json::from_slice(&bytes).map_err(|_| InvalidPageToken)?;
        if parts.first().is_none_or(|first| first != kind) {
            return Err(InvalidPageToken);
        }
        parts.remove(0);
        parts.try_into().map_err(|_| InvalidPageToken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_to_their_own_listing_only() {
        let text = PageToken::after(["a/é", "7"]).encode("images");
        assert_eq!(
            PageToken::decode("images", &text),
            Ok(["a/é".to_owned(), "7".to_owned()])
        );
        assert_eq!(
            PageToken::decode::<2>("repositories", &text),
            Err(InvalidPageToken)
        );
        assert_eq!(
            PageToken::decode::<1>("images", &text),
            Err(InvalidPageToken)
        );
        for garbage in ["", "!", "bm90IGpzb24", &"A".repeat(TOKEN_CHARS_MAX + 1)] {
            assert_eq!(
                PageToken::decode::<1>("images", garbage),
                Err(InvalidPageToken),
                "{garbage:.20}"
            );
        }
    }
}
