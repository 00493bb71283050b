//! AWS Signature Version 4, written from its public description and sharing nothing with the product, so that tests
//! can sign requests no client would send: with a clock that is off, or a body other than the signed one.

use aws_lc_rs::{digest, hmac};
use time::OffsetDateTime;

/// Who signs, for what, when.
pub struct Signer<'a> {
    /// The access key's id.
    pub key_id: &'a str,
    /// The access key's secret.
    pub secret: &'a str,
    /// The region in the scope.
    pub region: &'a str,
    /// The service in the scope.
    pub service: &'a str,
    /// The time in the scope and in `X-Amz-Date`.
    pub now: OffsetDateTime,
}

impl Signer<'_> {
    /// Headers to add to `POST /` with this host, type, target and body.
    pub fn sign(
        &self,
        host: &str,
        content_type: &str,
        target: &str,
        body: &[u8],
    ) -> Vec<(String, String)> {
        let (date, stamp) = self.stamps();
        let payload = sha256_hex(body);
        let signed = "content-type;host;x-amz-date;x-amz-target";
        let canonical = format!(
            "POST\n/\n\ncontent-type:{content_type}\nhost:{host}\nx-amz-date:{stamp}\nx-amz-target:{target}\n\n{signed}\n{payload}"
        );
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}",
            sha256_hex(canonical.as_bytes())
        );
        let mut key = mac(format!("AWS4{}", self.secret).as_bytes(), &date);
        for part in [self.region, self.service, "aws4_request"] {
            key = mac(&key, part);
        }
        let signature = hex::encode(mac(&key, &to_sign));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}",
            self.key_id
        );
        vec![
            ("content-type".to_owned(), content_type.to_owned()),
            ("x-amz-date".to_owned(), stamp),
            ("x-amz-target".to_owned(), target.to_owned()),
            ("authorization".to_owned(), authorization),
        ]
    }

    /// The date and the time stamp of the scope.
    fn stamps(&self) -> (String, String) {
        let now = self.now;
        let date = format!(
            "{:04}{:02}{:02}",
            now.year(),
            u8::from(now.month()),
            now.day()
        );
        let stamp = format!(
            "{date}T{:02}{:02}{:02}Z",
            now.hour(),
            now.minute(),
            now.second()
        );
        (date, stamp)
    }
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
        .as_ref()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_key_derivation_example_holds() {
        // AWS, "Examples of how to derive a signing key for Signature Version 4".
        let mut key = mac(b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20120215");
        for part in ["us-east-1", "iam", "aws4_request"] {
            key = mac(&key, part);
        }
        assert_eq!(
            hex::encode(key),
            "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"
        );
    }
}
