//! What `ADD` fetches from an address or unpacks: in a sandbox of its own, whose network and limits are those of a build.

use super::copy::relative;
use super::sandbox::platform;
use super::stages::{CONTEXT, Doing, OUTSIDE, Work, refuse};
use super::state::State;
use crate::dockerfile::{Copy, quoted};
use crate::plan::{Phase, Step};
use apron_domain::Failure;
use apron_oci::Layer;

/// Fetches a file: address, target, digest or nothing.
const FETCH: &str = "import hashlib, os, shutil, sys, urllib.request
address, target, wanted = sys.argv[1:]
os.makedirs(os.path.dirname(target), exist_ok=True)
request = urllib.request.Request(address, headers={'User-Agent': 'apron-build'})
digest = hashlib.sha256()
try:
    with urllib.request.urlopen(request, timeout=60) as answer, open(target, 'wb') as file:
        while block := answer.read(1 << 20):
            digest.update(block)
            file.write(block)
except OSError as error:
    sys.exit(f'{address} cannot be fetched: {error}')
found = 'sha256:' + digest.hexdigest()
if wanted and wanted != found:
    sys.exit(f'{address} has the digest {found} and not {wanted}')
os.chmod(target, 0o600)
";

/// Unpacks an archive: file, target. What is no archive is taken as the file it is.
const UNPACK: &str = "import os, shutil, sys, tarfile
file, target = sys.argv[1:]
os.makedirs(os.path.dirname(target), exist_ok=True)
os.umask(0)
if tarfile.is_tarfile(file):
    os.mkdir(target, 0o755)
    with tarfile.open(file) as archive:
        if hasattr(tarfile, 'fully_trusted_filter'):
            archive.extraction_filter = tarfile.fully_trusted_filter
        archive.extractall(target, numeric_owner=True)
else:
    shutil.copy2(file, target)
";

impl Work<'_> {
    /// A file from an address, in a layer, and its path there. It is fetched anew in every build: what an address has changes.
    pub async fn fetched(
        &self,
        text: &str,
        copy: &Copy,
        address: &str,
        number: usize,
    ) -> Result<(Layer, String), Failure> {
        let is_web = address.starts_with("http://") || address.starts_with("https://");
        let plain = address.split(['?', '#']).next().unwrap_or_default();
        if !is_web || plain.ends_with(".git") || address.contains('#') {
            return Err(refuse(format!(
                "{text}: a repository is not built here; use RUN git clone"
            )));
        }
        let name = match plain
            .splitn(4, '/')
            .nth(3)
            .and_then(|it| it.rsplit('/').next())
        {
            Some(name) if !name.is_empty() => name,
            _ if copy.target.ends_with('/') => {
                return Err(refuse(format!("{text}: the address names no file")));
            }
            _ => "file",
        };
        let path = format!("{OUTSIDE}/{number}/{name}");
        let checksum = copy.checksum.as_deref().unwrap_or_default();
        if !checksum.is_empty() && !checksum.starts_with("sha256:") {
            return Err(refuse(format!(
                "{text}: --checksum is sha256: and a digest"
            )));
        }
        let command = python(FETCH, &[address, &path, checksum]);
        let layer = self
            .by_python(text, "fetching", command, Vec::new())
            .await?;
        Ok((layer, path))
    }

    /// What is in an archive of the source, in a layer, and its path there.
    pub async fn unpacked(
        &self,
        text: &str,
        source: &str,
        number: usize,
    ) -> Result<(Layer, String), Failure> {
        let source = relative(source);
        if !self.tree.has(source) {
            return Err(refuse(format!("{text}: there is no {source}")));
        }
        let name = source.rsplit('/').next().unwrap_or(source);
        let path = format!("{OUTSIDE}/{number}/{name}");
        let command = python(UNPACK, &[&format!("{CONTEXT}/{source}"), &path]);
        let over = vec![self.context.clone()];
        let layer = self.by_python(text, "unpacking", command, over).await?;
        Ok((layer, path))
    }

    /// What a program leaves under [`OUTSIDE`].
    async fn by_python(
        &self,
        text: &str,
        what: &str,
        command: String,
        over: Vec<Layer>,
    ) -> Result<Layer, Failure> {
        let state: State = self.copies().await?;
        let mut step = Step::new(Phase::Add, command);
        step.title = Some(format!("{text}: {what}"));
        let mut doing = Doing::new(String::new(), step);
        doing.over = over;
        let finished = self.finished(&state, &doing).await?;
        let layer = finished
            .changes(&[OUTSIDE], &[], super::base::BASE_TIME)
            .await?;
        layer.ok_or_else(|| platform(format!("{what} has left nothing")))
    }
}

fn python(program: &str, arguments: &[&str]) -> String {
    let arguments: Vec<String> = arguments.iter().map(|it| quoted(it)).collect();
    format!(
        "exec python3 -c {} {}",
        quoted(program),
        arguments.join(" ")
    )
}
