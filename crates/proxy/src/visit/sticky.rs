//! Keeping a client at one instance by a cookie. The cookie names the instance by its tag, which says nothing about it. It
//! is set when the client has none, or when the instance it names is not routed to any more; a request that another
//! instance takes because the client's is full does not move the client.

use crate::h1::request::Request;
use crate::instance::{Instance, Tag};
use crate::route::Route;

/// The cookie's name.
const NAME: &[u8] = b"apron-instance";

/// How a client is kept at one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// What its cookie says.
    pub tag: Option<Tag>,
    /// It came with TLS, so its cookie must not go without.
    pub secure: bool,
}

/// A `Set-Cookie` value that names an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    tag: Tag,
    secure: bool,
}

impl Sticky {
    /// What a request says.
    pub fn of(request: &Request<'_, '_>, secure: bool) -> Sticky {
        let cookies = request.headers.iter().filter(|header| header.is("cookie"));
        let mut pairs = cookies.flat_map(|header| header.value.split(|byte| *byte == b';'));
        let tag = pairs.find_map(|pair| {
            let value = pair.trim_ascii().strip_prefix(NAME)?.strip_prefix(b"=")?;
            Tag::try_from(value).ok()
        });
        Sticky { tag, secure }
    }

    /// The cookie a client is given whose request went to this instance, if it is given one.
    pub fn cookie(self, route: Option<&Route>, instance: &Instance) -> Option<Cookie> {
        let named = |it: &std::sync::Arc<Instance>| Some(it.tag) == self.tag;
        let routed = route.is_some_and(|route| route.instances.iter().any(named));
        let cookie = Cookie {
            tag: instance.tag,
            secure: self.secure,
        };
        (!routed && self.tag != Some(instance.tag)).then_some(cookie)
    }
}

impl Cookie {
    /// The value of the `Set-Cookie` field. A script has no business with it, and other sites' requests need not stick.
    pub fn value(&self) -> Vec<u8> {
        let secure = if self.secure { &b"; Secure"[..] } else { b"" };
        let parts = [
            NAME,
            b"=",
            &self.tag,
            b"; Path=/; HttpOnly; SameSite=Lax",
            secure,
        ];
        parts.concat()
    }

    /// Adds the field to a response head that was written to its end.
    pub fn add_to_head(&self, head: &mut Vec<u8>) {
        debug_assert!(head.ends_with(b"\r\n\r\n"));
        head.truncate(head.len() - 2);
        crate::h1::rewrite::field(head, b"set-cookie", &self.value());
        head.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::field::Room;
    use crate::h1::request::parse;

    fn tag(cookies: &str) -> Option<Tag> {
        let head = format!("GET / HTTP/1.1\r\nhost: a\r\n{cookies}\r\n");
        let mut room = Room::new();
        Sticky::of(&parse(head.as_bytes(), &mut room).unwrap(), true).tag
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let expected = Some(*b"0123456789abcdef");
        assert_eq!(tag("cookie: apron-instance=0123456789abcdef\r\n"), expected);
        assert_eq!(
            tag("Cookie: a=b; apron-instance=0123456789abcdef; c=d\r\n"),
            expected
        );
        assert_eq!(
            tag("cookie: a=b\r\ncookie: apron-instance=0123456789abcdef\r\n"),
            expected
        );
        for none in [
            "",
            "cookie: xapron-instance=0123456789abcdef\r\n",
            "cookie: apron-instance=0123\r\n",
        ] {
            assert_eq!(tag(none), None, "{none:?}");
        }
    }

    #[test]
    fn the_cookie_is_closed_to_scripts_and_goes_into_heads() {
        let cookie = Cookie {
            tag: *b"0123456789abcdef",
            secure: true,
        };
        let mut head = b"HTTP/1.1 200 OK\r\na: b\r\n\r\n".to_vec();
        cookie.add_to_head(&mut head);
        let expected = "HTTP/1.1 200 OK\r\na: b\r\nset-cookie: apron-instance=0123456789abcdef; Path=/; HttpOnly; SameSite=Lax; Secure\r\n\r\n";
        assert_eq!(String::from_utf8(head).unwrap(), expected);
    }
}
