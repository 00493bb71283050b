//! Header fields as slices of the head they came in.

use super::HEADERS_MAX;
use arrayvec::ArrayVec;

/// A header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'b> {
    /// The name, a token, as it was written.
    pub name: &'b [u8],
    /// The value, without blanks around it.
    pub value: &'b [u8],
}

/// Room for the fields of one head.
pub type Room<'b> = ArrayVec<Header<'b>, HEADERS_MAX>;

impl Header<'_> {
    /// Whether this is the field's name, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

impl<'b> From<&httparse::Header<'b>> for Header<'b> {
    fn from(parsed: &httparse::Header<'b>) -> Header<'b> {
        Header {
            name: parsed.name.as_bytes(),
            value: parsed.value,
        }
    }
}
