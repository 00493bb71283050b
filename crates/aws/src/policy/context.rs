//! What is known about a request: values by condition key.

use std::collections::BTreeMap;

/// The values of condition keys. Names are compared without case
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html>).
///
/// A key that is not there and a key with an empty list are the same: the value is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    values: BTreeMap<String, Vec<String>>,
}

/// The form of a key in which it is compared.
pub(super) fn normal(key: &str) -> String {
    key.to_lowercase()
}

impl Context {
    /// Nothing known.
    pub fn new() -> Context {
        Context::default()
    }

    /// Sets the one value of a key, in place of what was there.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.values.insert(normal(key), vec![value.into()]);
    }

    /// Sets the values of a multivalued key, in place of what was there.
    pub fn set_all<V: Into<String>>(&mut self, key: &str, values: impl IntoIterator<Item = V>) {
        let values = values.into_iter().map(Into::into).collect();
        self.values.insert(normal(key), values);
    }

    /// The same with one more key; see [`Context::set`].
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Context {
        self.set(key, value);
        self
    }

    /// The same with one more multivalued key; see [`Context::set_all`].
    #[must_use]
    pub fn with_all<V: Into<String>>(
        mut self,
        key: &str,
        values: impl IntoIterator<Item = V>,
    ) -> Context {
        self.set_all(key, values);
        self
    }

    /// The time of the request: `aws:CurrentTime` and `aws:EpochTime`. `now` is in seconds since 1970.
    pub fn set_time(&mut self, now: i64) {
        self.set("aws:EpochTime", now.to_string());
        self.set("aws:CurrentTime", super::value::written_date(now));
    }

    /// Tags as keys `prefix/name`, for example `aws:ResourceTag/team`. Tags whose names differ only in case become one key
    /// with several values, since the names of condition keys have no case.
    pub fn set_tags<'a>(
        &mut self,
        prefix: &str,
        tags: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) {
        let prefix = format!("{}/", normal(prefix));
        self.values.retain(|key, _| !key.starts_with(&prefix));
        for (name, value) in tags {
            let key = format!("{prefix}{}", normal(name));
            self.values.entry(key).or_default().push(value.to_owned());
        }
    }

    /// The tags a request sets: `aws:RequestTag/…` and `aws:TagKeys`.
    pub fn set_request_tags<'a>(&mut self, tags: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let tags: Vec<(&str, &str)> = tags.into_iter().collect();
        self.set_all("aws:TagKeys", tags.iter().map(|(name, _)| *name));
        self.set_tags("aws:RequestTag", tags);
    }

    /// Takes over everything of another context, whose values win.
    pub fn extend(&mut self, other: Context) {
        self.values.extend(other.values);
    }

    /// The values of a key; none when it is missing.
    pub fn get(&self, key: &str) -> Option<&[String]> {
        self.get_normal(&normal(key))
    }

    /// [`Context::get`] for a key that is in its normal form.
    pub(super) fn get_normal(&self, key: &str) -> Option<&[String]> {
        self.values
            .get(key)
            .filter(|values| !values.is_empty())
            .map(Vec::as_slice)
    }
}
