//! The same Dockerfiles built here and by buildah, on the same base image: the images have the same files and say the same of
//! themselves.

use crate::dockerfiles::dockerfile;
use crate::machine::{Machine, on_a_machine, random, state};
use apron_builder::{BuildRequest, BuilderOptions};
use apron_domain::ServiceId;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// What buildah calls the base image.
const BASE: &str = "localhost/base:1";

/// What either makes by the way and not for the image.
const NOT_COMPARED: &[&str] = &[
    "dev",
    "proc",
    "sys",
    "run",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/mtab",
    // Has the day of the build there, and one that is always the same here.
    "etc/shadow",
];

/// Files below this are compared by everything but their content: they are those of the base image.
const BASE_FILES: &str = "usr/";

/// buildah with storage of its own, and the base image in it.
struct Peer {
    storage: TempDir,
}

impl Peer {
    fn new(base: &str) -> Peer {
        let peer = Peer {
            storage: tempfile::tempdir().unwrap(),
        };
        let image = peer.pulled(base);
        peer.run(&["tag", &image, BASE]);
        peer
    }

    /// In its storage: buildah makes an image's name of the path it comes from, which may have no capitals.
    fn command(&self) -> Command {
        let mut command = Command::new("buildah");
        command
            .current_dir(self.storage.path())
            .arg("--root")
            .arg(self.storage.path().join("root"))
            .arg("--runroot")
            .arg(self.storage.path().join("run"));
        command
    }

    /// Once in a while one of its commands fails and does not when it is run again: it is not the peer that is tested here.
    fn run(&self, arguments: &[&str]) -> String {
        let mut failures = Vec::new();
        while failures.len() < 3 {
            let output = self.command().args(arguments).output().unwrap();
            if output.status.success() {
                return String::from_utf8_lossy(&output.stdout).trim().to_owned();
            }
            println!("{arguments:?}: {output:?}");
            failures.push(output);
        }
        panic!("{arguments:?}: {failures:?}");
    }

    /// Takes an image of ours in.
    fn pulled(&self, digest: &str) -> String {
        let name = format!("layout-{}", &digest[7..19]);
        let layout = self.storage.path().join(&name);
        write_layout(digest, &layout);
        let pulled = self.run(&["pull", "--quiet", &format!("oci:{name}")]);
        fs::remove_dir_all(layout).unwrap();
        pulled
    }

    fn built(&self, context: &Path, secrets: &[(&str, &str)]) -> String {
        let text = fs::read_to_string(context.join("Dockerfile")).unwrap();
        let file = self.storage.path().join("Dockerfile");
        fs::write(&file, text.replace("apron/python311", BASE)).unwrap();
        let mut arguments = vec![
            "build".to_owned(),
            "--quiet".to_owned(),
            "--isolation=chroot".to_owned(),
            "--network=host".to_owned(),
            "--no-cache".to_owned(),
            "--format=docker".to_owned(),
            "--pull=never".to_owned(),
            format!("--file={}", file.display()),
        ];
        for (name, value) in secrets {
            let path = self.storage.path().join(name);
            fs::write(&path, value).unwrap();
            arguments.push(format!("--secret=id={name},src={}", path.display()));
        }
        arguments.push(context.display().to_string());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.run(&arguments)
    }

    /// What an image says of itself.
    fn config(&self, image: &str) -> BTreeMap<String, Value> {
        let said = self.run(&["inspect", "--type=image", image]);
        let said: Value = serde_json::from_str(&said).unwrap();
        let config = said["OCIv1"]["config"].as_object().unwrap().clone();
        let mut config: BTreeMap<String, Value> = config.into_iter().collect();
        if let Some(labels) = config.get_mut("Labels").and_then(Value::as_object_mut) {
            labels.retain(|name, _| !name.starts_with("io."));
        }
        if let Some(env) = config.get_mut("Env").and_then(Value::as_array_mut) {
            env.sort_by_key(Value::to_string);
        }
        config.retain(|_, value| !value.as_object().is_some_and(serde_json::Map::is_empty));
        config
    }

    /// Every file of an image, and what it is.
    fn files(&self, image: &str) -> BTreeMap<String, String> {
        let container = self.run(&["from", "--pull-never", image]);
        let root = PathBuf::from(self.run(&["mount", &container]));
        let mut files = BTreeMap::new();
        list(&root, &root, &mut files);
        self.run(&["rm", &container]);
        files
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for arguments in [["rm", "--all"], ["rmi", "--all"]] {
            let _ = self.command().args(arguments).output();
        }
    }
}

fn list(root: &Path, directory: &Path, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        if NOT_COMPARED.contains(&name.as_str()) {
            continue;
        }
        let about = fs::symlink_metadata(&path).unwrap();
        let kind = about.file_type();
        let what = if kind.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else if kind.is_file() && (!name.starts_with(BASE_FILES) || name.contains("local")) {
            format!("{:?}", String::from_utf8_lossy(&fs::read(&path).unwrap()))
        } else if kind.is_file() {
            about.len().to_string()
        } else {
            String::new()
        };
        let mode = if kind.is_symlink() { 0 } else { about.mode() };
        files.insert(
            name,
            format!("{mode:o} {}:{} {what}", about.uid(), about.gid()),
        );
        if kind.is_dir() {
            list(root, &path, files);
        }
    }
}

/// Writes an image of the store as an OCI image layout.
fn write_layout(digest: &str, into: &Path) {
    let blobs = state().join("images/blobs/sha256");
    let blob = |digest: &str| blobs.join(digest.trim_start_matches("sha256:"));
    let manifest = fs::read(blob(digest)).unwrap();
    let parsed: Value = serde_json::from_slice(&manifest).unwrap();
    let copies = into.join("blobs/sha256");
    fs::create_dir_all(&copies).unwrap();
    let parts = parsed["layers"].as_array().unwrap().iter();
    let parts = parts.chain([&parsed["config"]]);
    let names = parts.filter_map(|part| part["digest"].as_str());
    for name in names.chain([digest]) {
        fs::hard_link(blob(name), copies.join(&name[7..]))
            .or_else(|_| fs::copy(blob(name), copies.join(&name[7..])).map(drop))
            .unwrap();
    }
    let kind = &parsed["mediaType"];
    let index = json!({ "schemaVersion": 2, "manifests": [{ "mediaType": kind, "digest": digest, "size": manifest.len() }] });
    fs::write(into.join("index.json"), index.to_string()).unwrap();
    fs::write(into.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// The files that all are built from.
fn context() -> TempDir {
    let context = tempfile::tempdir().unwrap();
    let at = |path: &str| context.path().join(path);
    for directory in [
        "src/deep/er",
        "rootfs/usr/local/bin",
        "rootfs/etc/app",
        "empty",
    ] {
        fs::create_dir_all(at(directory)).unwrap();
    }
    for (path, text) in [
        ("src/main.py", "print('main')\n"),
        ("src/deep/er/data.txt", "data\n"),
        ("src/.hidden", "hidden\n"),
        ("src/run.sh", "#!/bin/sh\necho run\n"),
        ("rootfs/usr/local/bin/tool", "#!/bin/sh\necho tool\n"),
        ("rootfs/etc/app/app.conf", "a=1\n"),
        ("requirements.txt", "flask\n"),
        ("a name.txt", "with a space\n"),
        ("plain.tar.gz", "this is no archive\n"),
    ] {
        fs::write(at(path), text).unwrap();
    }
    for path in ["src/run.sh", "rootfs/usr/local/bin/tool"] {
        fs::set_permissions(at(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    symlink("main.py", at("src/link.py")).unwrap();
    symlink("deep", at("src/link")).unwrap();
    let packed = Command::new("tar")
        .args(["--owner=5", "--group=6", "--numeric-owner", "-czf"])
        .args([at("packed.tar.gz"), "-C".into(), at("src"), ".".into()])
        .status()
        .unwrap();
    assert!(packed.success());
    context
}

/// Builds a file with both and compares.
async fn alike(
    machine: &Machine,
    peer: &Peer,
    context: &TempDir,
    text: &str,
    secrets: &[(&str, &str)],
) -> Vec<String> {
    fs::write(context.path().join("Dockerfile"), text).unwrap();
    for (name, value) in secrets {
        let mut known = machine.secrets.lock().unwrap();
        known.insert((*name).to_owned(), (*value).to_owned());
    }
    // A service that was never built before: nothing is kept of it.
    let request = BuildRequest {
        service: ServiceId::from_random(random()),
        ..dockerfile(machine, context.path())
    };
    let built = machine.built(&request).await;
    let ours = peer.pulled(built.image.as_str());
    let theirs = peer.built(context.path(), secrets);
    let mut differences = Vec::new();
    let (our_config, their_config) = (peer.config(&ours), peer.config(&theirs));
    for name in our_config.keys().chain(their_config.keys()) {
        let (our, their) = (our_config.get(name), their_config.get(name));
        if our != their {
            differences.push(format!("{name}: ours {our:?}, theirs {their:?}"));
        }
    }
    let (our_files, their_files) = (peer.files(&ours), peer.files(&theirs));
    for name in our_files.keys().chain(their_files.keys()) {
        let (our, their) = (our_files.get(name), their_files.get(name));
        if our != their {
            differences.push(format!("/{name}: ours {our:?}, theirs {their:?}"));
        }
    }
    differences.sort();
    differences.dedup();
    peer.run(&["rmi", "--force", &ours, &theirs]);
    differences
}

const COPIES: &str = r#"FROM apron/python311
WORKDIR /srv/app
COPY requirements.txt .
COPY requirements.txt ./other.txt
COPY src ./
COPY src/*.py src/run.sh /opt/tools/
COPY --chown=7:8 src /home/owned
COPY --chown=www-data requirements.txt /home/owned/deep/
COPY --chmod=600 requirements.txt /srv/secret.txt
COPY ["a name.txt", "/srv/a name"]
COPY rootfs/ /
COPY src/link.py /srv/followed.py
COPY src/deep /srv/app/deep
COPY empty /srv/empty
RUN mkdir -m 0750 /srv/mine && chown 9:9 /srv/mine && ln -s /srv/mine /srv/to-mine
COPY src /srv/mine
COPY requirements.txt /srv/to-mine/
COPY requirements.txt /srv/mine/deep/er/data.txt
COPY --chown=5:6 --chmod=750 src/deep /srv/mine
USER 1000
COPY requirements.txt /srv/by-user/
"#;

const WORDS: &str = r#"ARG BASE=apron/python311
ARG VERSION=1.2.3
FROM apron/python311 AS first
ARG VERSION
ARG MAJOR=${VERSION:-9}
ARG UNSET
ARG HIDDEN=argument
ENV HIDDEN=image
ENV PATH="/venv/bin:$PATH" QUOTED='$PATH' TWO=two\ words
ENV OLD form of two  words
ENV A=1
ENV A=2 B=${A} C=${NONE:-otherwise} D=${A:+set} E="a \"b\" \$A"
WORKDIR /srv/${VERSION}
WORKDIR deeper
RUN echo "$PATH|$QUOTED|$TWO|$OLD|$A$B$C$D|$HIDDEN|$MAJOR|${UNSET-unset}|$VERSION" > words.txt
RUN printf '%s\n' "$E" one \
    # a comment
    two > "quoted.txt"
LABEL version=$VERSION about="more words" "quoted.name"='single $A'
EXPOSE 80 ${A}00/udp
STOPSIGNAL SIGINT
CMD ["of", "its", "own"]
ENTRYPOINT ["run", "$A"]
FROM first
ARG VERSION=4
RUN echo "$VERSION $B" > /srv/second.txt
CMD echo $A | cat
USER daemon:nogroup
"#;

const COMMANDS: &str = r#"FROM apron/python311
RUN echo "one\ttwo" > /srv/echo.txt
RUN ["sh", "-c", "echo \"$0 $1\" > /srv/exec.txt", "zero", "$HOME"]
RUN ["/bin/touch", "/srv/a b"]
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN [[ -n "$BASH_VERSION" ]] && (false | true || echo failed) > /srv/shell.txt
RUN mkdir -p /srv/replaced/old && touch /srv/replaced/old/x
RUN rm -rf /srv/replaced && mkdir -m 1777 /srv/replaced && touch /srv/replaced/new
RUN rm /etc/issue && mv /etc/debian_version /srv/ && ln /srv/exec.txt /srv/hard.txt
RUN chmod u+s /srv/a\ b && ln -s nowhere /srv/dangling
RUN useradd --uid 1234 --create-home app
USER app
WORKDIR /home/app
RUN touch mine && id -un > who.txt && echo $HOME > home.txt
USER root
RUN chmod 0700 /srv && rm -rf /home/app/mine
"#;

const STAGES: &str = r#"FROM apron/python311 AS build
WORKDIR /out
RUN mkdir -p tree/sub && touch tree/sub/file && chown -R 3:4 tree && chmod 0640 tree/sub/file && ln -s sub tree/link
COPY src /out/src
FROM apron/python311 AS middle
COPY --from=build /out/tree /copied
COPY --from=0 /out/tree/sub/file /out/src/*.py /several/
COPY --from=build --chown=1:2 /out/tree/ /owned/
FROM middle
COPY --from=middle /copied/sub /from-middle/
COPY --from=build /out/src/run.sh /usr/local/bin/run
COPY --from=build /out/tree/link /followed
"#;

const WHOLE: &str = r#"FROM apron/python311 AS build
RUN rm -rf /usr/share/doc /etc/issue && mkdir -m 0700 /srv/private
FROM scratch
COPY --from=build / /
"#;

const ADDED: &str = r#"FROM apron/python311
ADD packed.tar.gz /unpacked
ADD plain.tar.gz /plain/
ADD src /added/
ADD requirements.txt plain.tar.gz /two/
"#;

const MOUNTED: &str = r#"FROM apron/python311 AS build
RUN mkdir /wheels && echo wheel > /wheels/a.whl
FROM apron/python311
WORKDIR /srv
RUN --mount=type=bind,source=requirements.txt,target=/run/requirements.txt \
    --mount=type=cache,target=/root/.cache/pip \
    cp /run/requirements.txt copied.txt && echo cached > /root/.cache/pip/x
RUN --mount=type=bind,source=src,target=/source ls -A /source | sort > listed.txt
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels cat /wheels/a.whl > wheel.txt
RUN --mount=from=build,target=/all cat /all/wheels/a.whl > all.txt
RUN --mount=type=tmpfs,target=/scratch echo x > /scratch/x && ls /scratch > scratch.txt
RUN --mount=type=secret,id=token test "$(cat /run/secrets/token)" = s3cret-word && echo "$(wc -c < /run/secrets/token)" > length.txt
RUN --mount=type=secret,id=none test ! -e /run/secrets/none
"#;

#[test]
fn privileged_images_are_what_buildah_makes_of_the_same_dockerfile() {
    on_a_machine(BuilderOptions::default(), async |machine| {
        let context = context();
        fs::write(context.path().join("Dockerfile"), "FROM apron/python311\n").unwrap();
        machine.built(&dockerfile(&machine, context.path())).await;
        let pins = machine.content.pins().await.unwrap();
        let base = pins
            .iter()
            .find(|(name, _)| name.starts_with("build-base-python311-"));
        let peer = Peer::new(base.unwrap().1.as_str());
        let mut all = String::new();
        for (name, text, secrets) in [
            ("copies", COPIES, &[][..]),
            ("words", WORDS, &[]),
            ("commands", COMMANDS, &[]),
            ("stages", STAGES, &[]),
            ("whole", WHOLE, &[]),
            ("added", ADDED, &[]),
            ("mounted", MOUNTED, &[("token", "s3cret-word")]),
        ] {
            for difference in alike(&machine, &peer, &context, text, secrets).await {
                all.push_str(&format!("{name}: {difference}\n"));
            }
        }
        assert!(all.is_empty(), "{all}");
        machine.nothing_left().await;
    });
}
