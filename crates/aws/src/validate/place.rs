//! Where in an input something stands, as AWS writes it: `sourceConfiguration.imageRepository`, `tags.1.member.key`.

use std::fmt;

/// A place, which points at the one around it; it is written only when something is wrong there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// The whole input.
    Top,
    /// A member of a structure, by its name.
    Member(&'a Place<'a>, &'a str),
    /// An item of a list, from zero.
    Item(&'a Place<'a>, usize),
    /// The key of an entry of a map, from zero.
    Key(&'a Place<'a>, usize),
    /// The value of an entry of a map, from zero.
    Entry(&'a Place<'a>, usize),
}

impl Place<'_> {
    /// Whether it is the whole input.
    pub(super) fn is_top(&self) -> bool {
        matches!(self, Place::Top)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Place::Member(around, _)
        | Place::Item(around, _)
        | Place::Key(around, _)
        | Place::Entry(around, _)) = self
        else {
            return Ok(());
        };
        if !around.is_top() {
            write!(f, "{around}.")?;
        }
        match self {
            Place::Top => Ok(()),
            Place::Member(_, name) => {
                let mut chars = name.chars();
                let first = chars.next().map(|first| first.to_ascii_lowercase());
                first.map_or(Ok(()), |first| write!(f, "{first}{}", chars.as_str()))
            }
            Place::Item(_, index) => write!(f, "{}.member", index + 1),
            Place::Key(_, index) => write!(f, "{}.key", index + 1),
            Place::Entry(_, index) => write!(f, "{}.value", index + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn places_are_written_as_aws_does() {
        let tags = Place::Member(&Place::Top, "Tags");
        assert_eq!(tags.to_string(), "tags");
        let item = Place::Item(&tags, 0);
        assert_eq!(Place::Member(&item, "Key").to_string(), "tags.1.member.key");
        assert_eq!(Place::Key(&tags, 1).to_string(), "tags.2.key");
        assert_eq!(Place::Entry(&Place::Top, 1).to_string(), "2.value");
        assert_eq!(Place::Top.to_string(), "");
    }
}
