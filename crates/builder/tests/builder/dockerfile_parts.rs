//! Parts of Dockerfiles that buildah does not have, or not in this way: texts, addresses, secrets, caches, triggers.

use crate::dockerfiles::dockerfile;
use crate::machine::{Machine, on_a_machine, random};
use crate::private_repository::Repository;
use apron_builder::{BuildRequest, BuilderOptions, Built};
use apron_domain::{Failure, ServiceId};
use std::path::Path;

/// A service that was never built before: nothing is kept of it.
fn new_service(machine: &Machine, source: &Path) -> BuildRequest {
    BuildRequest {
        service: ServiceId::from_random(random()),
        ..dockerfile(machine, source)
    }
}

async fn build(
    machine: &Machine,
    request: &BuildRequest,
    text: &str,
) -> (Result<Built, Failure>, String) {
    std::fs::write(request.source.join("Dockerfile"), text).unwrap();
    let (result, lines) = machine.build(request).await;
    (result, lines.text())
}

const TEXTS: &str = r#"FROM apron/python311 AS base
ONBUILD ARG NAME=world
ONBUILD RUN echo "triggered $NAME" > /srv/triggered.txt
FROM base
COPY --chown=7:8 <<EOF <<"RAW" /srv/texts/
hello $NAME "quoted"
EOF
$NAME
RAW
COPY <<-EOF /srv/one.txt
	no tab
	EOF
RUN <<EOF
#!/usr/bin/env python3
import os
assert open("/srv/triggered.txt").read() == "triggered world\n"
assert open("/srv/texts/EOF").read() == 'hello world "quoted"\n'
assert open("/srv/texts/RAW").read() == "$NAME\n"
assert os.stat("/srv/texts/RAW").st_gid == 8 and os.stat("/srv/texts").st_uid == 7
assert open("/srv/one.txt").read() == "no tab\n"
EOF
"#;

#[test]
fn privileged_files_are_made_of_texts_and_triggers_run_in_what_is_built_on_an_image() {
    on_a_machine(BuilderOptions::default(), async |machine| {
        let source = tempfile::tempdir().unwrap();
        let request = new_service(&machine, source.path());
        let (result, said) = build(&machine, &request, TEXTS).await;
        let built = result.expect(&said);
        let image = machine.content.image(built.image.as_str());
        assert!(image.await.unwrap().config.on_build.is_empty());
        machine.nothing_left().await;
    });
}

#[test]
fn privileged_files_are_fetched_from_addresses_by_their_digest() {
    let repository = Repository::start();
    let options = BuilderOptions {
        trust: Some(repository.trust(true)),
        ..BuilderOptions::default()
    };
    on_a_machine(options, async move |machine| {
        let (file, version) = (repository.file(), &repository.version);
        let add = |checksum: &str| {
            format!(
                "FROM apron/python311\nADD --checksum=sha256:{checksum} {file} /srv/\n\
                 RUN test \"$(stat -c %a /srv/parent-{version}.pom)\" = 600 && grep -q {version} /srv/*\n"
            )
        };
        let source = tempfile::tempdir().unwrap();
        let request = new_service(&machine, source.path());
        let (result, said) = build(&machine, &request, &add(&"0".repeat(64))).await;
        let evidence = result.unwrap_err().evidence.join("\n");
        let found = evidence.split("has the digest sha256:").nth(1);
        let digest = found.unwrap_or_else(|| panic!("{evidence}\n{said}"));
        let (result, said) = build(&machine, &request, &add(&digest[..64])).await;
        result.expect(&said);
        let missing = format!("ADD {file}.none /srv/");
        for (wrong, expected) in [
            (missing.as_str(), ".none cannot be fetched: HTTP Error 404"),
            (
                "ADD https://git.example.com/team/repository.git /srv/",
                "use RUN git clone",
            ),
            ("ADD https://example.com/ /srv/", "names no file"),
        ] {
            let text = format!("FROM apron/python311\n{wrong}\n");
            let (result, said) = build(&machine, &request, &text).await;
            let failure = format!("{:?}", result.expect_err(&said));
            let is_told = failure.contains(expected) && failure.contains(wrong);
            assert!(is_told, "{failure}");
        }
        machine.nothing_left().await;
    });
}

const SECRET: &str = "//registry.example.com/:_authToken=s3cret-word";

#[test]
fn privileged_a_secret_is_for_the_command_that_asks_and_nowhere_else() {
    on_a_machine(BuilderOptions::default(), async |machine| {
        let source = tempfile::tempdir().unwrap();
        let request = new_service(&machine, source.path());
        let known = [("npmrc", SECRET), ("TOKEN", "an0ther-word")];
        let known = known.map(|(name, value)| (name.to_owned(), value.to_owned()));
        machine.secrets.lock().unwrap().extend(known);
        let text = "FROM apron/python311\nRUN useradd --create-home app\nUSER app\nWORKDIR /home/app\n\
             RUN --mount=type=secret,id=npmrc,target=.npmrc,required=true,mode=0440 \\\n    \
             --mount=type=secret,id=TOKEN,env=TOKEN \\\n    \
             cat .npmrc && echo \"with $TOKEN\" && sed 's/.*=//' .npmrc && stat -Lc '%a %U' .npmrc > about.txt\n\
             RUN test ! -e .npmrc && test -z \"$TOKEN\" && test \"$(cat about.txt)\" = '440 app'\n";
        let (result, said) = build(&machine, &request, text).await;
        let built = result.expect(&said);
        assert!(said.contains("with ********"), "{said}");
        assert!(
            !said.contains("s3cret-word") && !said.contains("an0ther-word"),
            "{said}"
        );
        let image = machine.content.image(built.image.as_str()).await.unwrap();
        assert!(!format!("{:?}", image.config).contains("word"));
        for layer in &image.layers {
            let mut is_there =
                |path: &str| path.contains("npmrc") || path.starts_with("run/secrets");
            assert!(!machine.content.layer_paths(layer, &mut is_there).unwrap());
        }
        let text = "FROM apron/python311\nRUN --mount=type=secret,id=none,required echo x\n";
        let (result, _) = build(&machine, &request, text).await;
        let failure = result.unwrap_err().message;
        assert!(
            failure.contains("the service has no secret none"),
            "{failure}"
        );
        machine.nothing_left().await;
    });
}

#[test]
fn privileged_a_cache_is_there_in_the_next_build_and_not_in_the_image() {
    on_a_machine(BuilderOptions::default(), async |machine| {
        let source = tempfile::tempdir().unwrap();
        let request = new_service(&machine, source.path());
        let text = "FROM apron/python311\nCOPY version.txt /srv/\n\
             RUN --mount=type=cache,target=/srv/cache test -e /srv/cache/x && echo again || echo first; touch /srv/cache/x\n\
             RUN test ! -e /srv/cache/x\nRUN useradd app\nUSER app\n\
             RUN --mount=type=cache,target=/srv/own,uid=1000,mode=0700 touch /srv/own/y && test \"$(stat -c %a /srv/own)\" = 700\n";
        for (version, expected) in [("1", "[Build] first"), ("2", "[Build] again")] {
            std::fs::write(source.path().join("version.txt"), version).unwrap();
            let (result, said) = build(&machine, &request, text).await;
            result.expect(&said);
            assert!(said.contains(expected), "{said}");
        }
        machine.nothing_left().await;
    });
}

const OF_NOTHING: &str = r#"FROM apron/python311 AS packages
RUN apt-get -q update && apt-get -q install -y busybox-static
WORKDIR /root-of-it
RUN mkdir -p bin etc tmp var/run && cp /bin/busybox bin/ && chmod 1777 tmp
RUN for name in $(bin/busybox --list); do [ -e bin/$name ] || ln -s busybox bin/$name; done
RUN printf 'root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n' > etc/passwd && echo 'app:x:1000:' > etc/group
FROM scratch AS small
COPY --from=packages /root-of-it /
FROM small
RUN test "$(readlink /bin/sh)" = busybox && mkdir -p /srv/there && chmod 0700 /srv/there
COPY --chown=app files /srv/there
COPY --chown=app --chmod=640 files/*.txt version.txt /home/app/
COPY <<EOF /etc/motd
small
EOF
USER app
WORKDIR /home/app
RUN --mount=type=secret,id=word,required test "$(cat /run/secrets/word)" = s3cret-word
RUN test "$(stat -c '%a %U' one.txt)" = '640 app' && test "$(cat /etc/motd)" = small && test ! -e /usr
USER root
RUN test "$(stat -c '%a %u' /srv/there)" = '700 0' && test "$(stat -c %u /srv/there/sub/two.txt)" = 1000
"#;

#[test]
fn privileged_an_image_from_nothing_is_used_once_it_has_a_shell_also_a_small_one() {
    on_a_machine(BuilderOptions::default(), async |machine| {
        let source = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(source.path().join("files/sub")).unwrap();
        for file in ["version.txt", "files/one.txt", "files/sub/two.txt"] {
            std::fs::write(source.path().join(file), "text").unwrap();
        }
        let word = ("word".to_owned(), "s3cret-word".to_owned());
        machine.secrets.lock().unwrap().extend([word]);
        let request = new_service(&machine, source.path());
        let (result, said) = build(&machine, &request, OF_NOTHING).await;
        result.expect(&said);
        let text = "FROM scratch\nCOPY version.txt /\nRUN cat /version.txt\n";
        let (result, _) = build(&machine, &request, text).await;
        let failure = result.unwrap_err().message;
        assert!(
            failure.contains("RUN cat /version.txt: the image has no shell"),
            "{failure}"
        );
        machine.nothing_left().await;
    });
}
