//! Images without a shell, from a registry: files are copied out of them and into them.

use crate::dockerfiles::dockerfile;
use crate::machine::on_a_machine;
use apron_builder::BuilderOptions;
use apron_oci::Digest;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What the registry has: a path's end, the type and the content.
type Content = Vec<(String, &'static str, Vec<u8>)>;

/// An image with two layers and no shell: a user, a directory, a file that the second layer replaces.
fn image() -> Content {
    let layers = [
        archive(&[
            ("app/", ""),
            ("etc/", ""),
            ("etc/passwd", "nonroot:x:65532:65532::/:\n"),
            ("tool", "old"),
        ]),
        archive(&[("tool", "#!/bin/sh\necho tool\n")]),
    ];
    let diff_ids: Vec<String> = layers.iter().map(|it| Digest::of(it).to_string()).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"User": "nonroot", "WorkingDir": "/app"},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = config.to_string().into_bytes();
    let about = |kind: &str, bytes: &[u8]| serde_json::json!({"mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len()});
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": about(CONFIG, &config),
        "layers": layers.iter().map(|layer| about(LAYER, layer)).collect::<Vec<_>>(),
    });
    let blob = |bytes: Vec<u8>| {
        let path = format!("/blobs/{}", Digest::of(&bytes));
        (path, "application/octet-stream", bytes)
    };
    let mut content: Content = layers.into_iter().map(blob).collect();
    content.push(blob(config));
    content.push((
        "/manifests/v1".to_owned(),
        MANIFEST,
        manifest.to_string().into_bytes(),
    ));
    content
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        let is_directory = path.ends_with('/');
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        if is_directory {
            header.set_entry_type(tar::EntryType::Directory);
        }
        builder
            .append_data(&mut header, path, content.as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

/// A registry that has one image under every name, until the process ends.
fn registry(content: Content) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(&content, stream);
        }
    });
    address
}

fn answer(content: &Content, mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let path = first.split(' ').nth(1).unwrap_or_default();
    let known = content.iter().find(|(end, ..)| path.ends_with(end));
    let nothing = (String::new(), "text/plain", Vec::new());
    let status = if known.is_some() || path == "/v2/" {
        "200 OK"
    } else {
        "404 Not Found"
    };
    let (_, kind, bytes) = known.unwrap_or(&nothing);
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        bytes.len()
    )?;
    if first.starts_with("GET") {
        stream.write_all(bytes)?;
    }
    Ok(())
}

const SERVER: &str = "package main\nimport (\"fmt\"; \"net/http\"; \"os\"; \"syscall\")\n\
     func main() {\n\
     http.HandleFunc(\"/\", func(w http.ResponseWriter, _ *http.Request) {\n\
     info, _ := os.Stat(\"/app/server\")\n\
     said, _ := os.ReadFile(\"said.txt\")\n\
     fmt.Fprintf(w, \"%d %d %s\", os.Getuid(), info.Sys().(*syscall.Stat_t).Gid, said)\n\
     })\n\
     http.ListenAndServe(\":8080\", nil)\n}\n";

#[test]
fn privileged_files_are_copied_out_of_and_into_images_without_a_shell() {
    let registry = registry(image());
    on_a_machine(BuilderOptions::default(), async move |machine| {
        let source = tempfile::tempdir().unwrap();
        let text = format!(
            "FROM apron/go1 AS build\nCOPY --from={registry}/bare:v1 /tool /usr/local/bin/\nWORKDIR /src\nCOPY . .\n\
             RUN tool > said.txt && CGO_ENABLED=0 go build -o /out/server .\n\
             FROM {registry}/bare:v1\nCOPY --from=build --chown=nonroot /out/server /app\n\
             COPY --from=build /src/said.txt .\nEXPOSE 8080\nENTRYPOINT [\"./server\"]\n"
        );
        for (name, text) in [
            ("Dockerfile", text.as_str()),
            ("main.go", SERVER),
            ("go.mod", "module server\n\ngo 1.19\n"),
        ] {
            std::fs::write(source.path().join(name), text).unwrap();
        }
        let built = machine.built(&dockerfile(&machine, source.path())).await;
        let answer = machine.answer(&built).await;
        assert!(answer.ends_with("65532 65532 tool\n"), "{answer}");

        for (wrong, expected) in [
            ("RUN ls", "RUN ls: the image has no shell"),
            (
                "COPY --chown=nobody go.mod .",
                "passwd of the image has no such name",
            ),
        ] {
            let text = format!("FROM {registry}/bare:v1\n{wrong}\n");
            std::fs::write(source.path().join("Dockerfile"), text).unwrap();
            let (result, lines) = machine.build(&dockerfile(&machine, source.path())).await;
            let said = format!("{:?} {}", result.unwrap_err(), lines.text());
            assert!(said.contains(expected) && said.contains(wrong), "{said}");
        }
        machine.nothing_left().await;
    });
}
