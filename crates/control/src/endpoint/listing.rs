//! Listings that are answered in pages.

use super::page_token::{InvalidPageToken, PageToken};

/// A listing in the order of its entries' names.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    /// What is listed: its tokens are good for nothing else.
    pub kind: &'a str,
    /// The token that the page before came with.
    pub token: Option<&'a str>,
    /// Entries of one page.
    pub entries_max: usize,
}

impl Listing<'_> {
    /// The next entries, and the token of the page behind them.
    ///
    /// # Errors
    /// The token is not one of this listing.
    pub fn page<T>(
        &self,
        entries: impl IntoIterator<Item = T>,
        name: impl Fn(&T) -> &str,
    ) -> Result<(Vec<T>, Option<String>), InvalidPageToken> {
        let after = self
            .token
            .map(|text| PageToken::decode::<1>(self.kind, text))
            .transpose()?
            .map(|[name]| name);
        let behind = |entry: &T| after.as_deref().is_none_or(|after| name(entry) > after);
        // One more than is asked for tells whether there is another page.
        let mut page: Vec<T> = entries
            .into_iter()
            .filter(behind)
            .take(self.entries_max.saturating_add(1))
            .collect();
        let more = page.len() > self.entries_max;
        page.truncate(self.entries_max);
        let next = page
            .last()
            .filter(|_| more)
            .map(|last| PageToken::after([name(last)]).encode(self.kind));
        Ok((page, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(token: Option<&str>, entries_max: usize) -> (Vec<&'static str>, Option<String>) {
        let listing = Listing {
            kind: "letters",
            token,
            entries_max,
        };
        listing.page(["a", "b", "c"], |entry| *entry).unwrap()
    }

    #[test]
    fn pages_follow_one_another_to_the_end() {
        let (first, token) = page(None, 2);
        assert_eq!(first, ["a", "b"]);
        assert_eq!(page(token.as_deref(), 2), (vec!["c"], None));
        assert_eq!(page(None, 3), (vec!["a", "b", "c"], None));
        // An entry that the page before ended with may be gone meanwhile.
        let gone = PageToken::after(["aa"]).encode("letters");
        assert_eq!(page(Some(&gone), 2).0, ["b", "c"]);
    }

    #[test]
    fn a_token_of_another_listing_is_refused() {
        let token = PageToken::after(["a"]).encode("numbers");
        let listing = Listing {
            kind: "letters",
            token: Some(&token),
            entries_max: 2,
        };
        let refused = listing.page(["a"], |entry| *entry);
        assert_eq!(refused, Err(InvalidPageToken));
    }
}
