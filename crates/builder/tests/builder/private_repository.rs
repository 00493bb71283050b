//! A Maven repository of a company's own, in a network of its own: its certificate is signed by an authority that nobody knows
//! but who is told.

use crate::machine::on_a_machine;
use apron_builder::BuilderOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// Serves the files below `served` by HTTPS when it is told to, until its input ends. Its network goes with it.
const SERVER: &str = r#"
import http.server, os, ssl, sys, threading
print("apart", flush=True)
sys.stdin.readline()
os.chdir("served")
server = http.server.ThreadingHTTPServer((sys.argv[1], 443), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("../own.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
print("listening", flush=True)
server.serve_forever()
"#;

const APPRUNNER: &str = "version: 1.0\nruntime: corretto11\nbuild:\n  commands:\n    build:\n      \
     - mvn -B -e validate\nrun:\n  command: java -version\n";

/// It has one file, the parent of projects.
pub struct Repository {
    server: Child,
    address: String,
    /// Of what it has. Another one each time: what a service once fetched is kept for its next build.
    pub version: String,
    files: TempDir,
}

impl Repository {
    pub fn start() -> Repository {
        let files = tempfile::tempdir().unwrap();
        let network = format!("198.18.{}", std::process::id() % 250);
        let address = format!("{network}.1");
        let name = files.path().file_name().unwrap().to_string_lossy();
        let version = name.trim_start_matches('.').to_owned();
        let parent = files.path().join("served/company/parent").join(&version);
        std::fs::create_dir_all(&parent).unwrap();
        let pom = format!(
            "<project><modelVersion>4.0.0</modelVersion><groupId>company</groupId><artifactId>parent</artifactId>\
             <version>{version}</version><packaging>pom</packaging></project>"
        );
        std::fs::write(parent.join(format!("parent-{version}.pom")), pom).unwrap();
        certify(&address, files.path());
        let mut server = Command::new("unshare")
            .args(["--net", "python3", "-c", SERVER, &address])
            .current_dir(files.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(server.stdout.take().unwrap());
        expect(&mut said, "apart");
        connect(&network, server.id());
        server.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        expect(&mut said, "listening");
        Repository {
            server,
            address,
            version,
            files,
        }
    }

    /// Where its file is.
    pub fn file(&self) -> String {
        let (address, version) = (&self.address, &self.version);
        format!("https://{address}/company/parent/{version}/parent-{version}.pom")
    }

    /// A file of the authorities of this machine and, if it is told, of the repository's.
    pub fn trust(&self, told: bool) -> PathBuf {
        let usual = BuilderOptions::default().trust;
        let mut pem = usual.map_or_else(Vec::new, |path| std::fs::read(path).unwrap());
        if told {
            pem.extend(std::fs::read(self.files.path().join("authority.pem")).unwrap());
        }
        let path = self.files.path().join(format!("trust-{told}.pem"));
        std::fs::write(&path, pem).unwrap();
        path
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}

fn expect(said: &mut BufReader<ChildStdout>, word: &str) {
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), word);
}

/// Gives the server's network a way to this machine's.
fn connect(network: &str, server: u32) {
    let (ours, theirs) = (format!("m{server}a"), format!("m{server}b"));
    let (pid, namespace) = (server.to_string(), format!("--net=/proc/{server}/ns/net"));
    let here = |arguments: &[&str]| run(Command::new("ip").args(arguments));
    let there = |arguments: &[&str]| {
        run(Command::new("nsenter")
            .args([&namespace, "ip"])
            .args(arguments));
    };
    here(&[
        "link", "add", &ours, "type", "veth", "peer", "name", &theirs, "netns", &pid,
    ]);
    here(&["addr", "add", &format!("{network}.2/30"), "dev", &ours]);
    here(&["link", "set", &ours, "up"]);
    there(&["addr", "add", &format!("{network}.1/30"), "dev", &theirs]);
    there(&["link", "set", &theirs, "up"]);
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// Writes the certificate of an authority, and that of the server with its key.
fn certify(address: &str, directory: &Path) {
    let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(rcgen::DnType::CommonName, "The company's own");
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = authority.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    let own_key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec![address.to_owned()]).unwrap();
    let own = own.signed_by(&own_key, &issuer).unwrap();
    let both = own_key.serialize_pem() + &own.pem();
    std::fs::write(directory.join("own.pem"), both).unwrap();
    std::fs::write(directory.join("authority.pem"), certificate.pem()).unwrap();
}

/// A project whose parent is in the repository alone: Maven fetches it before anything else.
fn project(repository: &Repository) -> TempDir {
    let source = tempfile::tempdir().unwrap();
    let pom = format!(
        "<project><modelVersion>4.0.0</modelVersion><parent><groupId>company</groupId><artifactId>parent</artifactId>\
         <version>{}</version><relativePath/></parent><artifactId>demo</artifactId><repositories><repository>\
         <id>company</id><url>https://{}</url></repository></repositories></project>",
        repository.version, repository.address
    );
    std::fs::write(source.path().join("pom.xml"), pom).unwrap();
    std::fs::write(source.path().join("apprunner.yaml"), APPRUNNER).unwrap();
    source
}

#[test]
fn privileged_maven_fetches_from_a_repository_with_a_private_authority() {
    let repository = Repository::start();
    for told in [false, true] {
        let options = BuilderOptions {
            trust: Some(repository.trust(told)),
            ..BuilderOptions::default()
        };
        let source = project(&repository);
        on_a_machine(options, async move |machine| {
            let (result, lines) = machine.build(&machine.request(source.path())).await;
            let text = lines.text();
            let expected = match told {
                true => "Downloaded from company: https://198.18.",
                false => "PKIX path building failed",
            };
            assert!(
                result.is_ok() == told && text.contains(expected),
                "{told}: {text}"
            );
            machine.nothing_left().await;
        });
    }
}
