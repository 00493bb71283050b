//! The tools that people push and pull with. They have to be installed: `skopeo`, `buildah`, `podman`. Building needs
//! root.

use crate::images::{TestImage, tar_of};
use crate::server::{TestGate, TestServer};
use apron_oci::{DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Reference, UnpackBounds, unpack};
use std::path::Path;
use std::process::{Command, Output};

const AUTH: &str = "Basic dXNlcjpzZWNyZXQ=";

/// Runs a tool with its own storage, without touching the machine's.
struct Tools {
    directory: tempfile::TempDir,
}

impl Tools {
    fn new() -> Tools {
        let directory = tempfile::tempdir().unwrap();
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        std::fs::write(directory.path().join("policy.json"), policy).unwrap();
        std::fs::write(directory.path().join("auth.json"), "{}").unwrap();
        Tools { directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory
            .path()
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }

    async fn output(&self, program: &str, arguments: &[&str]) -> Output {
        let (root, run) = (self.path("root"), self.path("run"));
        let mut command = Command::new(program);
        command.env("REGISTRY_AUTH_FILE", self.path("auth.json"));
        match program {
            "skopeo" => command.args(["--policy", &self.path("policy.json")]),
            _ => command.args([
                "--root",
                &root,
                "--runroot",
                &run,
                "--storage-driver",
                "vfs",
            ]),
        };
        command.args(arguments);
        let shown = format!("{program} {arguments:?}");
        let ran = tokio::task::spawn_blocking(move || command.output())
            .await
            .unwrap();
        ran.unwrap_or_else(|error| {
            panic!("{shown}: {error}; this test needs {shown} to be installed")
        })
    }

    #[track_caller]
    fn text(output: Output, shown: &str) -> String {
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{shown}\n{out}\n{err}");
        out.trim().to_owned()
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> String {
        Tools::text(
            self.output(program, arguments).await,
            &format!("{program} {arguments:?}"),
        )
    }
}

async fn secured() -> TestServer {
    TestServer::with_gate(TestGate {
        credentials: Some("user:secret".to_owned()),
        ..TestGate::default()
    })
    .await
}

/// An OCI layout directory with a small image, made with buildah from nothing.
async fn build(tools: &Tools, content: &str) -> String {
    let context = tools.path("context");
    std::fs::create_dir_all(&context).unwrap();
    std::fs::write(Path::new(&context).join("hello"), content).unwrap();
    std::fs::write(
        Path::new(&context).join("Dockerfile"),
        "FROM scratch\nCOPY hello /hello\nUSER 1000\nCMD [\"/hello\"]\n",
    )
    .unwrap();
    let layout = format!("oci:{}:v1", tools.path("layout"));
    tools
        .run(
            "buildah",
            &["build", "--isolation", "chroot", "--tag", "built", &context],
        )
        .await;
    tools.run("buildah", &["push", "built", &layout]).await;
    layout
}

/// Copies an image to the server in one form, unpacks what arrived, and copies it back.
async fn copy_and_check(
    server: &TestServer,
    tools: &Tools,
    layout: &str,
    tag: &str,
    options: &[&str],
    media_type: &str,
) {
    let host = server.host();
    let target = format!("docker://{host}/team/app:{tag}");
    let mut arguments = vec!["copy", "--dest-tls-verify=false"];
    arguments.extend_from_slice(options);
    arguments.extend([layout, target.as_str()]);
    tools.run("skopeo", &arguments).await;
    let reference = Reference::parse(tag).unwrap();
    let digest = server
        .store
        .resolve("team/app", &reference)
        .await
        .unwrap()
        .unwrap();
    let (found, _) = server
        .store
        .manifest_bytes(digest.as_str())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found, media_type, "{tag}");
    let image = server.store.image(digest.as_str()).await.unwrap();
    assert_eq!(
        (image.config.user.as_str(), &image.config.cmd[..]),
        ("1000", &["/hello".to_owned()][..])
    );
    let destination = tools.directory.path().join(tag).join("layer");
    unpack(
        &server.store,
        &image.layers[0],
        &destination,
        &UnpackBounds::default(),
    )
    .await
    .unwrap();
    assert_eq!(
        std::fs::read_to_string(destination.join("hello")).unwrap(),
        "hello"
    );
    let back = format!("dir:{}", tools.path(&format!("back-{tag}")));
    tools
        .run(
            "skopeo",
            &["copy", "--src-tls-verify=false", &target, &back],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skopeo_copies_in_every_form_and_back() {
    let (server, tools) = (secured().await, Tools::new());
    let layout = build(&tools, "hello").await;
    let host = server.host();
    let login = [
        "login",
        "--tls-verify=false",
        "--username",
        "user",
        "--password",
        "secret",
        &host,
    ];
    tools.run("skopeo", &login).await;
    for (tag, options, media_type) in [
        ("oci", &["--format", "oci"][..], OCI_MANIFEST),
        ("docker", &["--format", "v2s2"], DOCKER_MANIFEST),
        (
            "zstd",
            &[
                "--format",
                "oci",
                "--dest-compress",
                "--dest-compress-format",
                "zstd",
            ],
            OCI_MANIFEST,
        ),
    ] {
        copy_and_check(&server, &tools, &layout, tag, options, media_type).await;
    }
    let listed = tools
        .run(
            "skopeo",
            &[
                "list-tags",
                "--tls-verify=false",
                &format!("docker://{host}/team/app"),
            ],
        )
        .await;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["Tags"], serde_json::json!(["docker", "oci", "zstd"]));
    let target = format!("docker://{host}/team/app:oci");
    let inspected = tools
        .run("skopeo", &["inspect", "--tls-verify=false", &target])
        .await;
    assert!(
        inspected.contains("\"Architecture\": \"amd64\""),
        "{inspected}"
    );
    tools
        .run("skopeo", &["delete", "--tls-verify=false", &target])
        .await;
    let gone = tools
        .output("skopeo", &["inspect", "--tls-verify=false", &target])
        .await;
    assert!(!gone.status.success() && String::from_utf8_lossy(&gone.stderr).contains("manifest"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_said_to_be_wrong() {
    let (server, tools) = (secured().await, Tools::new());
    let host = server.host();
    let login = [
        "login",
        "--tls-verify=false",
        "--username",
        "user",
        "--password",
        "wrong",
        &host,
    ];
    let output = tools.output("skopeo", &login).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && text.contains("invalid username/password"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman_and_buildah_push_pull_and_build_on_what_they_pushed() {
    let (server, tools) = (secured().await, Tools::new());
    build(&tools, "from podman").await;
    let host = server.host();
    for program in ["podman", "buildah"] {
        let login = [
            "login",
            "--tls-verify=false",
            "--username",
            "user",
            "--password",
            "secret",
            &host,
        ];
        tools.run(program, &login).await;
        let target = format!("{host}/{program}/app:v1");
        let push = ["push", "--tls-verify=false", "built", &target];
        tools.run(program, &push).await;
        // Again: every layer is there already.
        tools.run(program, &push).await;
        tools
            .run(program, &["pull", "--tls-verify=false", &target])
            .await;
        let digest = server
            .store
            .resolve(&format!("{program}/app"), &Reference::parse("v1").unwrap())
            .await;
        assert!(digest.unwrap().is_some());
    }
    let context = tools.path("context");
    let dockerfile = format!("FROM {host}/podman/app:v1\nCOPY hello /second\n");
    std::fs::write(Path::new(&context).join("Dockerfile"), dockerfile).unwrap();
    let build = [
        "build",
        "--isolation",
        "chroot",
        "--tls-verify=false",
        "--tag",
        "second",
        &context,
    ];
    tools.run("buildah", &build).await;
    let target = format!("{host}/second:v1");
    tools
        .run(
            "buildah",
            &["push", "--tls-verify=false", "second", &target],
        )
        .await;
    let digest = server
        .store
        .resolve("second", &Reference::parse("v1").unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        server
            .store
            .image(digest.as_str())
            .await
            .unwrap()
            .layers
            .len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman_pushes_a_manifest_list() {
    let (server, tools) = (TestServer::start().await, Tools::new());
    let host = server.host();
    for (architecture, seed) in [("amd64", 1), ("arm64", 2)] {
        let image = TestImage::new(architecture, seed, 1000);
        image
            .push(server.address, "app", architecture, "")
            .await
            .expect(201);
    }
    tools.run("podman", &["manifest", "create", "list"]).await;
    for architecture in ["amd64", "arm64"] {
        let source = format!("docker://{host}/app:{architecture}");
        tools
            .run(
                "podman",
                &["manifest", "add", "--tls-verify=false", "list", &source],
            )
            .await;
    }
    let target = format!("docker://{host}/app:all");
    tools
        .run(
            "podman",
            &[
                "manifest",
                "push",
                "--all",
                "--tls-verify=false",
                "--format",
                "oci",
                "list",
                &target,
            ],
        )
        .await;
    let digest = server
        .store
        .resolve("app", &Reference::parse("all").unwrap())
        .await
        .unwrap()
        .unwrap();
    let (media_type, _) = server
        .store
        .manifest_bytes(digest.as_str())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(media_type, OCI_INDEX);
    let image = server.store.image(digest.as_str()).await.unwrap();
    assert_eq!(
        image.manifest_digest,
        TestImage::new("amd64", 1, 1000).digest()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_are_mounted_between_repositories() {
    let (server, tools) = (secured().await, Tools::new());
    let host = server.host();
    let image = TestImage::new("amd64", 1, 200_000);
    image
        .push(server.address, "base", "v1", AUTH)
        .await
        .expect(201);
    let login = [
        "login",
        "--tls-verify=false",
        "--username",
        "user",
        "--password",
        "secret",
        &host,
    ];
    tools.run("skopeo", &login).await;
    let (from, to) = (
        format!("docker://{host}/base:v1"),
        format!("docker://{host}/copy:v1"),
    );
    tools
        .run(
            "skopeo",
            &[
                "copy",
                "--src-tls-verify=false",
                "--dest-tls-verify=false",
                &from,
                &to,
            ],
        )
        .await;
    let found = server
        .store
        .resolve("copy", &Reference::parse("v1").unwrap())
        .await
        .unwrap();
    assert_eq!(found, Some(image.digest()));
}

/// An archive whose layer was made with other tools than ours comes out as it went in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_docker_archive_is_pushed() {
    let (server, tools) = (TestServer::start().await, Tools::new());
    let layout = build(&tools, "archived").await;
    let archive = format!("docker-archive:{}:app:v1", tools.path("image.tar"));
    tools.run("skopeo", &["copy", &layout, &archive]).await;
    let target = format!("docker://{}/app:v1", server.host());
    tools
        .run(
            "skopeo",
            &["copy", "--dest-tls-verify=false", &archive, &target],
        )
        .await;
    let digest = server
        .store
        .resolve("app", &Reference::parse("v1").unwrap())
        .await
        .unwrap()
        .unwrap();
    let image = server.store.image(digest.as_str()).await.unwrap();
    let destination = tools.directory.path().join("unpacked/layer");
    unpack(
        &server.store,
        &image.layers[0],
        &destination,
        &UnpackBounds::default(),
    )
    .await
    .unwrap();
    assert_eq!(
        std::fs::read_to_string(destination.join("hello")).unwrap(),
        "archived"
    );
    // The same content in another archive is another layer.
    assert_ne!(
        image.layers[0].diff_id,
        apron_oci::Digest::of(&tar_of(&[("hello", b"archived")]))
    );
}
