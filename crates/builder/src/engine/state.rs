//! An image that is being made of a Dockerfile, and how one without a shell is.

use super::base::Base;
use super::pipeline::Changes;
use crate::dockerfile;
use apron_oci::{Layer, NewImage};

/// Where the root of an image without a shell is while files are copied into it or out of it.
pub const ROOT: &str = "/.apron-root";

/// Where programs are in an image that says nothing of it, as Docker has it.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image that is being made.
#[derive(Clone)]
pub struct State {
    /// As it is so far.
    pub image: NewImage,
    /// What it follows from: the base image and every instruction since.
    pub key: String,
    /// Present when it has no shell.
    pub bare: Option<Bare>,
    /// Whether its command is its own and not that of what it began with.
    pub has_command: bool,
}

/// What an image without a shell is put together in.
#[derive(Clone)]
pub struct Bare {
    /// An image with a shell.
    pub helper: NewImage,
    /// The layers so far, under [`ROOT`].
    pub moved: Vec<Layer>,
}

impl State {
    /// The beginning of a stage; without an image, nothing but the places of programs that every image has.
    pub fn of(base: Option<&Base>) -> State {
        let mut image = base.map(|base| base.image.clone()).unwrap_or_default();
        if base.is_none() {
            image.config.env = vec![PATH.to_owned()];
        }
        State {
            image,
            key: base.map_or(dockerfile::SCRATCH.to_owned(), |base| {
                base.digest.to_string()
            }),
            bare: None,
            has_command: false,
        }
    }

    /// Where the image's root is in [`State::sandbox`].
    pub fn root(&self) -> &'static str {
        match self.bare {
            Some(_) => ROOT,
            None => "",
        }
    }

    /// The image that commands run in.
    pub fn sandbox(&self) -> NewImage {
        let Some(bare) = &self.bare else {
            return self.image.clone();
        };
        let mut image = bare.helper.clone();
        image.config.user.clear();
        image.config.working_dir.clear();
        image.layers.extend(bare.moved.iter().cloned());
        image
    }

    /// Puts on top what a command changed.
    pub fn add(&mut self, changes: Changes) {
        match &mut self.bare {
            Some(bare) => {
                bare.moved.extend(changes.rest);
                self.image.layers.extend(changes.app);
            }
            None => self.image.layers.extend(changes.rest),
        }
    }
}

/// Has an owner in `$o` as numbers, `user` or `user:group`, by the names of the image, whose root is in `root`. A user without a
/// group has the group of the same number (Docker's reference, "COPY --chown").
pub fn owner_command(owner: &str, root: &str) -> String {
    let id = |name: &str, file: &str, into: &str| {
        let name = shlex::try_quote(name).map(|text| text.into_owned());
        format!(
            "; n={}; case \"$n\" in *[!0-9]*) n=$(while IFS=: read -r a x i y || [ -n \"$a\" ]; do [ \"$a\" != \"$n\" ] || echo \"$i\"; \
             done < {root}/etc/{file});; esac; [ -n \"$n\" ] || {{ echo \"{file} of the image has no such name\"; exit 1; }}; {into}=\"$n\"",
            name.unwrap_or_default()
        )
    };
    let (user, group) = match owner.split_once(':') {
        Some((user, group)) => (id(user, "passwd", "u"), id(group, "group", "g")),
        None => (id(owner, "passwd", "u"), "; g=\"$u\"".to_owned()),
    };
    format!(":{user}{group}; o=\"$u:$g\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn owners_are_those_of_the_image_that_is_made() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        std::fs::write(
            etc.join("passwd"),
            "root:x:0:0::/:\nnonroot:x:65532:65532::/:\n",
        )
        .unwrap();
        std::fs::write(
            etc.join("group"),
            "root:x:0:\nnonroot:x:65532:\nstaff:x:50:",
        )
        .unwrap();
        let root = root.path().to_string_lossy();
        for (owner, expected) in [
            ("nonroot", Some("65532:65532")),
            ("nonroot:staff", Some("65532:50")),
            ("7:8", Some("7:8")),
            ("9", Some("9:9")),
            ("daemon", None),
            ("0:$(touch no)", None),
        ] {
            let command = format!("set -e; {}; echo \"$o\"", owner_command(owner, &root));
            let output = Command::new("sh").args(["-c", &command]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            match expected {
                Some(expected) => assert_eq!(said, expected, "{owner}"),
                None => assert!(
                    !output.status.success() && said.contains("no such name"),
                    "{owner}: {said}"
                ),
            }
        }
    }
}
