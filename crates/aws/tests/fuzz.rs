//! The fuzz targets of the AWS API on a stable compiler.

#[path = "../../../fuzz/aws.rs"]
mod aws;
#[path = "../../../fuzz/mutations.rs"]
mod mutations;

use std::path::Path;

/// Pieces that mean something to readers of policies, signatures and inputs.
const WORDS: [&[u8]; 32] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\u0000",
    b"\\ud83d",
    b":",
    b",",
    b"*",
    b"?",
    b"${",
    b"${aws:username}",
    b"null",
    b"true",
    b"-1.5e9",
    b"99999999999999999999",
    b"Not",
    b"IfExists",
    b"ForAnyValue:",
    b"\"Effect\":\"Deny\"",
    b"\"Principal\":\"*\"",
    b"arn:aws:",
    b"&",
    b"=",
    b"%2",
    b".member.1.",
    b"/aws4_request",
    b"X-Amz-Security-Token=a",
    b"UNSIGNED-PAYLOAD",
    b"\n",
    b"\xff",
];

fn run_on(target: &str, check: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    mutations::run(&fuzz, target, &WORDS, check);
}

#[test]
fn policies() {
    run_on("policy", aws::policy);
}

#[test]
fn signatures() {
    run_on("authorization", aws::authorization);
}

#[test]
fn inputs() {
    run_on("api_input", aws::api_input);
}
