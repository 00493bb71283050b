//! Page tokens: where a listing goes on, opaque to the caller.

use super::invalid;
use apron_aws::ApiError;
use apron_domain::Millis;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Writes the place behind an entry of this time and id.
pub fn token(at: Millis, id: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}/{id}", at.0))
}

/// Reads a token back.
pub fn place(token: &str) -> Result<(Millis, String), ApiError> {
    let bad = || invalid("The provided NextToken is not valid.");
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
    let text = String::from_utf8(bytes).map_err(|_| bad())?;
    let (at, id) = text.split_once('/').ok_or_else(bad)?;
    Ok((Millis(at.parse().map_err(|_| bad())?), id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_others_are_refused() {
        assert_eq!(
            place(&token(Millis(5), "abc")).unwrap(),
            (Millis(5), "abc".to_owned())
        );
        for bad in ["", "*", "YWJj", "eC95"] {
            assert_eq!(place(bad).unwrap_err().code, "InvalidRequestException");
        }
    }
}
