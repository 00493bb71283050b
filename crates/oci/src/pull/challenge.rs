//! What a registry asks for with `WWW-Authenticate` (RFC 9110, section 11.6.1; Docker registry token authentication).

/// A way to authenticate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token from another server.
    Bearer {
        /// The URL that gives tokens.
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// Chooses among the challenges of a header's values: a token is preferred.
pub(super) fn choose<'a>(values: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut found: Vec<Challenge> = values.flat_map(challenges).collect();
    let bearer = found
        .iter()
        .position(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    match bearer {
        Some(index) => Some(found.swap_remove(index)),
        None => found.pop(),
    }
}

fn challenges(value: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = value.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let (scheme, after) = rest.split_at(rest.find([' ', ',']).unwrap_or(rest.len()));
        let (params, after) = parameters(after);
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => found.push(Challenge::Basic),
            "bearer" => {
                let get = |name: &str| {
                    params
                        .iter()
                        .find(|(key, _)| key.eq_ignore_ascii_case(name))
                        .map(|(_, value)| value.clone())
                };
                if let Some(realm) = get("realm") {
                    found.push(Challenge::Bearer {
                        realm,
                        service: get("service"),
                        scope: get("scope"),
                    });
                }
            }
            _ => {}
        }
        rest = after;
    }
    found
}

/// Reads `key=value` pairs up to the next scheme.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut params = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',', '\t']);
    loop {
        let end = rest.find([' ', ',', '=', '\t']).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let Some(after) = after.strip_prefix('=').filter(|_| !key.is_empty()) else {
            return (params, rest);
        };
        let (value, after) = value(after);
        params.push((key.to_owned(), value));
        rest = after.trim_start_matches([' ', ',', '\t']);
    }
}

/// Reads a token or a quoted string.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, rest) = text.split_at(text.find([',', ' ']).unwrap_or(text.len()));
        return (token.to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        })
    }

    #[test]
    fn challenges_are_read() {
        for (values, expect) in [
            (vec!["Basic realm=\"x\""], Some(Challenge::Basic)),
            (vec!["basic"], Some(Challenge::Basic)),
            (
                vec![
                    "Bearer realm=\"https://a.example/token\",service=\"a.example\",scope=\"repository:b/c:pull,push\"",
                ],
                bearer(
                    "https://a.example/token",
                    Some("a.example"),
                    Some("repository:b/c:pull,push"),
                ),
            ),
            (
                vec!["Bearer realm=https://a.example/t, service=s"],
                bearer("https://a.example/t", Some("s"), None),
            ),
            (
                vec!["Basic realm=\"x\", Bearer realm=\"r\""],
                bearer("r", None, None),
            ),
            (
                vec!["Basic realm=\"x\"", "Bearer realm=\"a\\\"b\""],
                bearer("a\"b", None, None),
            ),
            (vec!["Negotiate", "Digest realm=\"x\""], None),
            (vec!["Bearer service=\"no realm\""], None),
            (vec![], None),
        ] {
            assert_eq!(choose(values.iter().copied()), expect, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_an_end(text in "[ ,=\"\\\\a-zB]{0,40}") {
            let _ = choose([text.as_str()].into_iter());
        }
    }
}
