//! What a command has besides its image: `RUN --mount` (Docker's reference, "RUN --mount").

use std::collections::BTreeMap;

/// Where secrets are by default.
const SECRETS: &str = "/run/secrets";

/// The mode of a secret by default.
const SECRET_MODE: &str = "0400";

/// A mount, its variables put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount {
    /// Files of the source, of a stage or of an image.
    Bind(Bind),
    /// A directory that is there again in the next build.
    Cache {
        /// Its name; directories of one name are the same.
        id: String,
        /// Where.
        target: String,
        /// Its mode when it is new.
        mode: u32,
        /// Its user when it is new.
        uid: u64,
        /// Its group when it is new.
        gid: u64,
    },
    /// A directory that is gone after the command.
    Tmpfs {
        /// Where.
        target: String,
    },
    /// A secret.
    Secret(Secret),
}

/// Files that a command sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The stage or image; the source without it.
    pub from: Option<String>,
    /// What of it.
    pub source: String,
    /// Where.
    pub target: String,
}

/// A secret that a command may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Its name.
    pub id: String,
    /// The file it is in.
    pub target: Option<String>,
    /// The variable it is in.
    pub variable: Option<String>,
    /// The mode of the file.
    pub mode: String,
    /// Whether the command is not run without it.
    pub is_required: bool,
}

/// What is known of a mount while it is read.
type Options = BTreeMap<String, String>;

/// Reads what stands after `--mount=`.
///
/// # Errors
/// With what is wrong, or not built here.
pub fn mount(text: &str) -> Result<Mount, String> {
    let mut options = options(text)?;
    let kind = options
        .remove("type")
        .unwrap_or_else(|| "bind".to_owned())
        .to_lowercase();
    // A service has one build at a time, so nothing is shared; and there is no kernel to be told how to mount.
    let without_meaning: &[&str] = match kind.as_str() {
        "bind" => &["rw", "readwrite", "ro", "readonly"],
        "cache" => &["sharing", "ro", "readonly"],
        "tmpfs" => &["size"],
        _ => &[],
    };
    for name in without_meaning {
        options.remove(*name);
    }
    let mount = match kind.as_str() {
        "bind" => Mount::Bind(Bind {
            from: options.remove("from"),
            source: either(&mut options, &["source", "src"]).unwrap_or_default(),
            target: target(&mut options)?,
        }),
        "cache" => {
            if options.contains_key("from") || options.contains_key("source") {
                return Err(
                    "a cache that begins with the files of a stage is not built here".to_owned(),
                );
            }
            let target = target(&mut options)?;
            Mount::Cache {
                id: options.remove("id").unwrap_or_else(|| target.clone()),
                target,
                mode: number(&mut options, "mode", 8, 0o755)? as u32 & 0o7777,
                uid: number(&mut options, "uid", 10, 0)?,
                gid: number(&mut options, "gid", 10, 0)?,
            }
        }
        "tmpfs" => Mount::Tmpfs {
            target: target(&mut options)?,
        },
        "secret" => Mount::Secret(secret(&mut options)?),
        other => return Err(format!("RUN --mount=type={other} is not built here")),
    };
    match options.keys().next() {
        Some(unknown) => Err(format!("RUN --mount=type={kind} has no `{unknown}`")),
        None => Ok(mount),
    }
}

fn options(text: &str) -> Result<Options, String> {
    let pairs = text.split(',').filter(|part| !part.is_empty());
    let pairs = pairs.map(|part| match part.split_once('=') {
        Some((name, value)) => (name.to_lowercase(), value.to_owned()),
        None => (part.to_lowercase(), "true".to_owned()),
    });
    let options: Options = pairs.collect();
    match options.is_empty() {
        true => Err("RUN --mount says nothing".to_owned()),
        false => Ok(options),
    }
}

fn either(options: &mut Options, names: &[&str]) -> Option<String> {
    let mut found = None;
    for name in names {
        found = options.remove(*name).or(found);
    }
    found
}

fn number(options: &mut Options, name: &str, radix: u32, default: u64) -> Result<u64, String> {
    let Some(text) = options.remove(name) else {
        return Ok(default);
    };
    let number = u32::from_str_radix(&text, radix).map(u64::from);
    number.map_err(|_| format!("RUN --mount has a {name} that is no number, `{text}`"))
}

fn target(options: &mut Options) -> Result<String, String> {
    let target = either(options, &["target", "dst", "destination"]);
    target.ok_or_else(|| "RUN --mount has no target".to_owned())
}

fn secret(options: &mut Options) -> Result<Secret, String> {
    let target = either(options, &["target", "dst", "destination"]);
    let id = either(options, &["id", "source", "src"]);
    let id = id.or_else(|| {
        let name = target.as_deref()?.rsplit('/').next()?;
        Some(name.to_owned())
    });
    let id = id.ok_or("RUN --mount=type=secret has neither an id nor a target")?;
    let variable = options.remove("env");
    let default = || format!("{SECRETS}/{id}");
    let target = match &variable {
        Some(_) => target,
        None => Some(target.unwrap_or_else(default)),
    };
    let mode = options.remove("mode");
    let mode = mode.unwrap_or_else(|| SECRET_MODE.to_owned());
    if !mode.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "RUN --mount has a mode that is no number, `{mode}`"
        ));
    }
    for name in ["uid", "gid"] {
        // The file is given to the user of the command, which is what these are for.
        options.remove(name);
    }
    Ok(Secret {
        is_required: options.remove("required").is_some_and(|it| it == "true"),
        id,
        target,
        variable,
        mode,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_have_their_kinds_and_defaults() {
        let bind = mount("type=bind,source=package.json,target=package.json,rw").unwrap();
        assert_eq!(
            bind,
            Mount::Bind(Bind {
                from: None,
                source: "package.json".to_owned(),
                target: "package.json".to_owned()
            })
        );
        assert!(matches!(mount("target=.").unwrap(), Mount::Bind(bind) if bind.target == "."));
        let cache = mount("type=cache,target=/root/.npm,sharing=locked").unwrap();
        assert!(
            matches!(cache, Mount::Cache { id, mode: 0o755, uid: 0, .. } if id == "/root/.npm")
        );
        let Mount::Secret(secret) = mount("type=secret,id=npmrc,required").unwrap() else {
            panic!()
        };
        assert_eq!(secret.target.as_deref(), Some("/run/secrets/npmrc"));
        assert!(secret.is_required);
        let Mount::Secret(secret) = mount("type=secret,id=T,env=TOKEN").unwrap() else {
            panic!()
        };
        assert_eq!(
            (secret.target, secret.variable),
            (None, Some("TOKEN".to_owned()))
        );
        for (text, expected) in [
            ("type=ssh", "type=ssh is not built here"),
            ("type=cache", "no target"),
            ("type=cache,target=/x,mode=8", "mode that is no number"),
            ("type=secret", "neither an id nor a target"),
            ("type=bind,target=/x,colour=red", "no `colour`"),
            ("type=cache,from=build,target=/x", "begins with the files"),
            ("", "says nothing"),
        ] {
            let error = mount(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
