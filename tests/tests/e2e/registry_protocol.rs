//! The distribution protocol in detail: chunked and resumed uploads, mounts across repositories, digests that do not
//! match.

use anyhow::{Context, Result, ensure};
use apron_e2e::http::Response;
use apron_e2e::images::EchoImage;
use apron_e2e::signing::sha256_hex;
use apron_e2e::{Platform, run, wait};
use serde_json::Value;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// The platform's registry as a client with credentials sees it.
struct Client<'a> {
    platform: &'a Platform,
    authorization: String,
}

impl<'a> Client<'a> {
    fn new(platform: &'a Platform) -> Result<Client<'a>> {
        let logins: Value = serde_json::from_str(&fs::read_to_string(platform.registry_login()?)?)?;
        let token = logins["auths"][platform.registry()]["auth"]
            .as_str()
            .context("no credentials")?
            .to_owned();
        Ok(Client {
            platform,
            authorization: format!("Basic {token}"),
        })
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response> {
        let mut all = vec![("authorization", self.authorization.as_str())];
        all.extend_from_slice(headers);
        self.platform
            .api_target()?
            .request(method, path, &all, body)
    }

    /// The path of an upload, from the `Location` of an answer.
    fn location(&self, response: &Response) -> Result<String> {
        let location = response.header("location").context("no Location")?;
        Ok(match location.split_once("://") {
            Some((_, rest)) => rest[rest.find('/').context("no path")?..].to_owned(),
            None => location.to_owned(),
        })
    }

    fn begin(&self, repository: &str) -> Result<String> {
        let begun = self.send(
            "POST",
            &format!("/v2/{repository}/blobs/uploads/"),
            &[],
            &[],
        )?;
        ensure!(begun.status == 202, "{} {}", begun.status, begun.text());
        self.location(&begun)
    }

    /// Announces a chunk of `length` bytes, sends a part of it and closes the connection.
    fn cut_patch(&self, path: &str, part: &[u8], length: usize) -> Result<()> {
        let mut connection = self.platform.api_target()?.connect()?;
        let length = length.to_string();
        connection.send_head(
            "PATCH",
            path,
            &[
                ("authorization", &self.authorization),
                ("content-length", &length),
            ],
        )?;
        connection.send(part)
    }

    fn exists(&self, repository: &str, digest: &str) -> Result<bool> {
        Ok(self
            .send("GET", &format!("/v2/{repository}/blobs/{digest}"), &[], &[])?
            .status
            == 200)
    }
}

fn with_digest(location: &str, digest: &str) -> String {
    let separator = if location.contains('?') { '&' } else { '?' };
    format!("{location}{separator}digest={digest}")
}

/// Twelve megabytes and their digest.
fn large_blob() -> (Vec<u8>, String) {
    let blob: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let digest = format!("sha256:{}", sha256_hex(&blob));
    (blob, digest)
}

#[test]
fn an_upload_in_chunks_is_resumed_after_a_cut() -> Result<()> {
    let platform = Platform::start()?;
    platform.repository("parts")?;
    let client = Client::new(&platform)?;
    let (blob, digest) = large_blob();
    let half = blob.len() / 2;
    let upload = client.begin("parts")?;
    let range = format!("0-{}", half - 1);
    let first = client.send(
        "PATCH",
        &upload,
        &[("content-range", &range)],
        &blob[..half],
    )?;
    ensure!(
        first.status == 202 && first.header("range") == Some(&range),
        "{} {:?}",
        first.status,
        first.headers
    );
    let upload = client.location(&first)?;
    client.cut_patch(&upload, &blob[half..half + 100_000], blob.len() - half)?;

    // Where does it stand? Ask, then send the rest from there. What was sent before the cut may still be on its way into the
    // upload: then it is in use, or the rest starts at the wrong place and is refused, and the client asks again.
    let second = wait::until("the rest to be taken", Duration::from_secs(10), || {
        let asked = client.send("GET", &upload, &[], &[])?;
        if asked.status != 204 {
            return Ok(None);
        }
        let kept: usize = asked
            .header("range")
            .and_then(|range| range.rsplit('-').next()?.parse().ok())
            .context("no range")?;
        ensure!(
            kept + 1 >= half && kept < blob.len(),
            "{kept} of {}",
            blob.len()
        );
        let upload = client.location(&asked).unwrap_or(upload.clone());
        let range = format!("{}-{}", kept + 1, blob.len() - 1);
        let headers = [("content-range", range.as_str())];
        let second = client.send("PATCH", &upload, &headers, &blob[kept + 1..])?;
        Ok((second.status != 416).then_some(second))
    })?;
    ensure!(second.status == 202, "{} {}", second.status, second.text());
    let done = client.send(
        "PUT",
        &with_digest(&client.location(&second)?, &digest),
        &[],
        &[],
    )?;
    ensure!(done.status == 201, "{} {}", done.status, done.text());

    reads_back(&client, &digest, &blob)
}

/// The whole blob and a part of it.
fn reads_back(client: &Client<'_>, digest: &str, blob: &[u8]) -> Result<()> {
    let path = format!("/v2/parts/blobs/{digest}");
    let read = client.send("GET", &path, &[], &[])?;
    ensure!(
        read.status == 200 && read.body == blob,
        "{} of {} bytes",
        read.status,
        read.body.len()
    );
    let part = client.send("GET", &path, &[("range", "bytes=4-11")], &[])?;
    ensure!(
        part.status == 206 && part.body == blob[4..12],
        "{}",
        part.status
    );
    Ok(())
}

#[test]
fn a_chunk_out_of_order_is_refused_and_the_upload_goes_on() -> Result<()> {
    let platform = Platform::start()?;
    platform.repository("parts")?;
    let client = Client::new(&platform)?;
    let digest = format!("sha256:{}", sha256_hex(b"first second"));
    let first = client.send(
        "PATCH",
        &client.begin("parts")?,
        &[("content-range", "0-5")],
        b"first ",
    )?;
    ensure!(first.status == 202, "{} {}", first.status, first.text());
    let upload = client.location(&first)?;
    let wrong = client.send("PATCH", &upload, &[("content-range", "7-12")], b"second")?;
    ensure!(wrong.status == 416, "{} {}", wrong.status, wrong.text());
    let second = client.send("PATCH", &upload, &[("content-range", "6-11")], b"second")?;
    ensure!(second.status == 202, "{} {}", second.status, second.text());
    let done = client.send(
        "PUT",
        &with_digest(&client.location(&second)?, &digest),
        &[],
        &[],
    )?;
    ensure!(done.status == 201, "{} {}", done.status, done.text());
    Ok(())
}

#[test]
fn a_blob_with_the_wrong_digest_is_refused() -> Result<()> {
    let platform = Platform::start()?;
    platform.repository("parts")?;
    let client = Client::new(&platform)?;
    let digest = format!("sha256:{}", sha256_hex(b"something else"));
    let upload = client.begin("parts")?;
    let refused = client.send("PUT", &with_digest(&upload, &digest), &[], b"content")?;
    ensure!(
        refused.status == 400 && refused.text().contains("DIGEST_INVALID"),
        "{} {}",
        refused.status,
        refused.text()
    );
    ensure!(!client.exists("parts", &digest)?);
    Ok(())
}

#[test]
fn a_blob_is_mounted_from_another_repository() -> Result<()> {
    let platform = Platform::start()?;
    for name in ["from", "to"] {
        platform.repository(name)?;
    }
    let client = Client::new(&platform)?;
    let digest = format!("sha256:{}", sha256_hex(b"shared"));
    let upload = client.begin("from")?;
    let put = client.send("PUT", &with_digest(&upload, &digest), &[], b"shared")?;
    ensure!(put.status == 201, "{} {}", put.status, put.text());
    ensure!(
        !client.exists("to", &digest)?,
        "a blob of one repository shows in another"
    );
    let path = format!("/v2/to/blobs/uploads/?mount={digest}&from=from");
    let mounted = client.send("POST", &path, &[], &[])?;
    ensure!(
        mounted.status == 201,
        "{} {}",
        mounted.status,
        mounted.text()
    );
    ensure!(client.exists("to", &digest)?);
    Ok(())
}

#[test]
fn curl_uploads_in_one_request() -> Result<()> {
    let platform = Platform::start()?;
    platform.repository("parts")?;
    let client = Client::new(&platform)?;
    let file = platform.dir().join("blob");
    fs::write(&file, b"by curl")?;
    let digest = format!("sha256:{}", sha256_hex(b"by curl"));
    let upload = client.begin("parts")?;
    let url = format!(
        "https://{}{}",
        platform.registry(),
        with_digest(&upload, &digest)
    );
    let status = run::ok(
        Command::new("curl")
            .args([
                "-sS",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "-X",
                "PUT",
                "--cacert",
            ])
            .arg(platform.ca())
            .arg("-H")
            .arg(format!("Authorization: {}", client.authorization))
            .args([
                "-H",
                "Content-Type: application/octet-stream",
                "--data-binary",
            ])
            .arg(format!("@{}", file.display()))
            .arg(&url),
    )?;
    ensure!(status == "201", "{status}");
    ensure!(client.exists("parts", &digest)?);
    Ok(())
}

#[test]
fn nothing_is_read_without_credentials() -> Result<()> {
    let platform = Platform::start()?;
    platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let target = platform.api_target()?;
    for path in [
        "/v2/",
        "/v2/echo/manifests/v1",
        "/v2/echo/tags/list",
        "/v2/_catalog",
    ] {
        let answer = target.request("GET", path, &[], &[])?;
        ensure!(answer.status == 401, "{path} answers {}", answer.status);
        ensure!(
            answer
                .header("www-authenticate")
                .is_some_and(|how| how.starts_with("Basic")),
            "{:?}",
            answer.headers
        );
    }
    let client = Client::new(&platform)?;
    let tags = client.send("GET", "/v2/echo/tags/list", &[], &[])?;
    ensure!(tags.text().contains("\"v1\""), "{}", tags.text());
    for path in [
        "/v2/echo/manifests/../../etc/passwd",
        "/v2/%2e%2e/blobs/sha256:0",
        "/v2/echo/blobs/sha256:zz",
    ] {
        let answer = client.send("GET", path, &[], &[])?;
        ensure!(
            (400..=404).contains(&answer.status),
            "{path} answers {}",
            answer.status
        );
    }
    Ok(())
}
