//! Paths of archive entries: cleaning, and the names that mean something to layers (OCI image specification, whiteouts).

use super::Stop;

const WHITEOUT: &[u8] = b".wh.";
/// Names that start so are for the storage driver: of them only the opaque mark means something.
const RESERVED: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// A clean path: components that are neither empty nor `.` nor `..`, without zero bytes; none is the root.
pub(super) type CleanPath = Vec<Vec<u8>>;

/// What an entry's path means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A file of the layer.
    Path(CleanPath),
    /// The directory hides everything below it in lower layers.
    Opaque(CleanPath),
    /// The path is removed from lower layers.
    Whiteout(CleanPath),
}

/// Cleans a path as if the layer were `/`, except that `..` above it is refused.
pub(super) fn clean(path: &[u8]) -> Result<CleanPath, Stop> {
    if path.contains(&0) {
        return Err(Stop::Invalid(format!(
            "`{}` contains a zero byte",
            shown(path)
        )));
    }
    let mut components: CleanPath = Vec::new();
    for component in path.split(|b| *b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                if components.pop().is_none() {
                    return Err(Stop::Invalid(format!(
                        "`{}` leads out of the layer",
                        shown(path)
                    )));
                }
            }
            name => components.push(name.to_owned()),
        }
    }
    Ok(components)
}

/// What an entry's path means; `None` for storage driver leftovers that are to be ignored.
pub(super) fn target(path: &[u8]) -> Result<Option<Target>, Stop> {
    let mut components = clean(path)?;
    let Some(last) = components.pop() else {
        return Ok(Some(Target::Path(components)));
    };
    if last == OPAQUE && !components.iter().any(|name| name.starts_with(WHITEOUT)) {
        return Ok(Some(Target::Opaque(components)));
    }
    if last.starts_with(RESERVED) || components.iter().any(|name| name.starts_with(RESERVED)) {
        return Ok(None);
    }
    if components.iter().any(|name| name.starts_with(WHITEOUT)) {
        return Err(Stop::Invalid(format!(
            "`{}` is below a whiteout",
            shown(path)
        )));
    }
    match last.strip_prefix(WHITEOUT) {
        Some(b"" | b"." | b"..") => Err(Stop::Invalid(format!(
            "`{}` is a whiteout of nothing",
            shown(path)
        ))),
        Some(name) => {
            components.push(name.to_owned());
            Ok(Some(Target::Whiteout(components)))
        }
        None => {
            components.push(last);
            Ok(Some(Target::Path(components)))
        }
    }
}

/// A path for messages.
pub(super) fn shown(path: &[u8]) -> String {
    crate::reference::excerpt(&path.escape_ascii().to_string())
}

/// A clean path for messages and for the kernel, relative; empty for the root.
pub(super) fn joined(path: &[Vec<u8>]) -> Vec<u8> {
    path.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> CleanPath {
        text.split('/')
            .filter(|part| !part.is_empty())
            .map(|part| part.as_bytes().to_owned())
            .collect()
    }

    fn check(text: &str, expect: Option<Option<Target>>) {
        assert_eq!(target(text.as_bytes()).ok(), expect, "{text}");
    }

    #[test]
    fn paths_are_cleaned_and_whiteouts_known() {
        check("./a//b/./c/", Some(Some(Target::Path(path("a/b/c")))));
        check("/a", Some(Some(Target::Path(path("a")))));
        check("a/../b", Some(Some(Target::Path(path("b")))));
        check("./", Some(Some(Target::Path(path("")))));
        check("a/.wh.b", Some(Some(Target::Whiteout(path("a/b")))));
        check("a/.wh..wh..opq", Some(Some(Target::Opaque(path("a")))));
        check(".wh..wh..opq", Some(Some(Target::Opaque(path("")))));
        check(".wh..wh.plnk/1.2", Some(None));
        check("a/.wh..wh.aufs", Some(None));
        for bad in [
            "..",
            "../a",
            "a/../../b",
            "/..",
            ".wh.",
            "a/.wh..",
            "a/.wh...",
            ".wh.a/b",
            "a\0b",
        ] {
            check(bad, None);
        }
    }

    proptest! {
        #[test]
        fn clean_paths_never_climb(bytes in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'/'), any::<u8>()], 0..60)) {
            if let Ok(components) = clean(&bytes) {
                for part in components {
                    prop_assert!(!part.is_empty() && part != b"." && part != b".." && !part.contains(&b'/') && !part.contains(&0));
                }
            }
        }
    }
}
