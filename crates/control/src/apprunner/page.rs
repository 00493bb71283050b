//! Pages of listings: tokens say where a listing goes on and are opaque to the caller.

use super::invalid;
use apron_aws::ApiError;
use apron_domain::Millis;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Entries on a page of configurations when the caller does not say: more than the quotas allow to exist.
pub const ENTRIES_DEFAULT: usize = 100;

/// Writes the place behind an entry of this time and id.
pub fn token(at: Millis, id: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}/{id}", at.0))
}

/// The error for a token that is not one of ours.
pub fn bad_token() -> ApiError {
    invalid("The provided NextToken is not valid.")
}

/// Reads a token back.
pub fn place(token: &str) -> Result<(Millis, String), ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad_token())?;
    let text = String::from_utf8(bytes).map_err(|_| bad_token())?;
    let (at, id) = text.split_once('/').ok_or_else(bad_token)?;
    Ok((Millis(at.parse().map_err(|_| bad_token())?), id.to_owned()))
}

/// One page of entries that have a time and an id, in that order, and the token of the next.
pub fn cut<T>(
    mut entries: Vec<T>,
    key: impl Fn(&T) -> (Millis, String),
    after: Option<&str>,
    max: Option<usize>,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let after = after.map(place).transpose()?;
    entries.sort_by_key(&key);
    entries.retain(|entry| after.as_ref().is_none_or(|after| key(entry) > *after));
    let wanted = max.unwrap_or(ENTRIES_DEFAULT);
    let more = entries.len() > wanted;
    entries.truncate(wanted);
    let next = entries.last().filter(|_| more).map(|last| {
        let (at, id) = key(last);
        token(at, &id)
    });
    Ok((entries, next))
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

    #[test]
    fn pages_cover_everything_once() {
        let all: Vec<(u64, &str)> = vec![(3, "c"), (1, "b"), (1, "a"), (2, "x"), (9, "y")];
        let key = |entry: &(u64, &str)| (Millis(entry.0), entry.1.to_owned());
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let (page, next) = cut(all.clone(), key, after.as_deref(), Some(2)).unwrap();
            seen.extend(page.into_iter().map(|entry| entry.1));
            match next {
                Some(token) => after = Some(token),
                None => break,
            }
        }
        assert_eq!(seen, ["a", "b", "x", "c", "y"]);
    }
}
