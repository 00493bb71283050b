use apron_aws::sigv4::{
    AuthFailure, Authorization, Carrier, Head, KeyCache, Payload, Secret, Signer, date, sign,
    verify,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde::Deserialize;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

#[derive(Clone, Debug, Deserialize)]
struct Request {
    #[serde(default)]
    name: String,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
    #[serde(default)]
    presigned: bool,
}

impl Request {
    fn header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    fn verify_with(&self, secret: &str, payload: Payload) -> Result<Authorization, AuthFailure> {
        let headers = self.header_map();
        let head = Head {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &headers,
        };
        let authorization = Authorization::parse(head)?;
        let keys = KeyCache::default();
        verify(
            &authorization,
            head,
            self.body.as_bytes(),
            &Secret::new(secret),
            payload,
            &keys,
        )?;
        Ok(authorization)
    }

    fn verify(&self) -> Result<Authorization, AuthFailure> {
        self.verify_with(SECRET, Payload::Signed)
    }
}

fn botocore() -> Vec<Request> {
    serde_json::from_str(include_str!("signatures.json")).unwrap()
}

fn published(path: &str, query: &str, headers: &[(&str, &str)], authorization: &str) -> Request {
    let mut headers: Vec<(String, String)> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    headers.push(("authorization".to_owned(), authorization.to_owned()));
    let (path, query) = (path.to_owned(), query.to_owned());
    Request {
        name: String::new(),
        method: "GET".to_owned(),
        path,
        query,
        headers,
        body: String::new(),
        presigned: false,
    }
}

/// `get-vanilla` of AWS's signing test suite, and the `ListUsers` example of the AWS General Reference.
#[test]
fn published_examples() {
    let vanilla = published(
        "/",
        "",
        &[
            ("host", "example.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
        ],
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    );
    vanilla.verify().unwrap();
    let users = published(
        "/",
        "Action=ListUsers&Version=2010-05-08",
        &[
            (
                "content-type",
                "application/x-www-form-urlencoded; charset=utf-8",
            ),
            ("host", "iam.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
        ],
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date, \
         Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    );
    users.verify().unwrap();
}

#[test]
fn what_botocore_signs_is_accepted() {
    let cases = botocore();
    assert!(cases.len() >= 15);
    for case in cases {
        let authorization = case
            .verify()
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(authorization.access_key_id, "AKIDEXAMPLE");
        assert_eq!(
            matches!(authorization.carrier, Carrier::Query { expires: 3600 }),
            case.presigned,
            "{}",
            case.name
        );
        assert_eq!(
            authorization.session_token.is_some(),
            case.name.starts_with("session token")
        );
        assert_eq!(
            case.verify_with("other", Payload::Signed).unwrap_err(),
            AuthFailure::Mismatch
        );
    }
}

fn signed(method: &str, path: &str, query: &str, extra: &[(&str, &str)], body: &str) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("apron.test"));
    for (name, value) in extra {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            value.parse().unwrap(),
        );
    }
    let signer = Signer {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret: Secret::new(SECRET),
        region: "eu-west-1".to_owned(),
        service: "apprunner".to_owned(),
    };
    let now = date::parse_basic("20261123T064500Z").unwrap();
    sign(
        &signer,
        method,
        path,
        query,
        &mut headers,
        body.as_bytes(),
        now,
    )
    .unwrap();
    let headers = headers
        .iter()
        .map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned()))
        .collect();
    let (method, path, query) = (method.to_owned(), path.to_owned(), query.to_owned());
    Request {
        name: String::new(),
        method,
        path,
        query,
        headers,
        body: body.to_owned(),
        presigned: false,
    }
}

#[test]
fn headers_that_must_be_signed() {
    let good = signed("POST", "/", "", &[], "{}");
    good.verify().unwrap();

    let mut added = good.clone();
    added.headers.push((
        "x-amz-target".to_owned(),
        "AppRunner.DeleteService".to_owned(),
    ));
    let error = added.verify().unwrap_err();
    assert_eq!(
        error,
        AuthFailure::Refused(
            "'x-amz-target' must be a 'SignedHeader' in the AWS Authorization.".to_owned()
        )
    );

    let mut harmless = good.clone();
    harmless
        .headers
        .push(("x-forwarded-for".to_owned(), "10.0.0.1".to_owned()));
    harmless.verify().unwrap();

    let mut no_host = good.clone();
    for (name, value) in &mut no_host.headers {
        if name == "authorization" {
            *value = value.replace("SignedHeaders=host;", "SignedHeaders=");
        }
    }
    assert!(
        matches!(no_host.verify().unwrap_err(), AuthFailure::Refused(text) if text.starts_with("'Host'"))
    );
}

#[test]
fn an_unsigned_payload_needs_the_service_to_allow_it() {
    let body = "{}";
    let claims = signed(
        "POST",
        "/",
        "",
        &[("x-amz-content-sha256", "UNSIGNED-PAYLOAD")],
        body,
    );
    // The signer signs the body's hash, so this one passes where bodies are signed and fails where they may not be.
    claims.verify().unwrap();
    assert_eq!(
        claims
            .verify_with(SECRET, Payload::MayBeUnsigned)
            .unwrap_err(),
        AuthFailure::Mismatch
    );
}

fn with_authorization(change: impl Fn(&str) -> String) -> Request {
    let mut request = signed("POST", "/", "", &[], "{}");
    for (name, value) in &mut request.headers {
        if name == "authorization" {
            *value = change(value);
        }
    }
    request
}

#[test]
fn incomplete_authorizations() {
    let mut none = signed("POST", "/", "", &[], "{}");
    none.headers.retain(|(name, _)| name != "authorization");
    assert_eq!(none.verify().unwrap_err(), AuthFailure::Missing);

    type Change<'a> = &'a dyn Fn(&str) -> String;
    let cases: [(Change<'_>, &str); 7] = [
        (
            &|_| "Bearer x".to_owned(),
            "Unsupported AWS 'algorithm': 'Bearer'.",
        ),
        (
            &|_| "AWS4-HMAC-SHA256".to_owned(),
            "Authorization header requires 'Credential' parameter.",
        ),
        (
            &|v| v.replace("Signature=", "Sig="),
            "Authorization header requires 'Signature' parameter.",
        ),
        (
            &|v| v.replace("/aws4_request", ""),
            "Credential must have exactly 5 slash-delimited elements",
        ),
        (
            &|v| format!("{v}, Signature=00"),
            "Authorization header has 'Signature' more than once.",
        ),
        (
            &|v| format!("{v}, x"),
            "'x' not a valid key=value pair (missing equal-sign) in Authorization header",
        ),
        (
            &|v| {
                v.replace(
                    "SignedHeaders=",
                    &format!("SignedHeaders={}", "a;".repeat(70)),
                )
            },
            "SignedHeaders names more than",
        ),
    ];
    for (change, expect) in cases {
        match with_authorization(change).verify().unwrap_err() {
            AuthFailure::Incomplete(text) => assert!(text.starts_with(expect), "{text}"),
            other => panic!("{other:?} for {expect}"),
        }
    }
    let error = with_authorization(|v| v.replace("aws4_request", "aws3_request"))
        .verify()
        .unwrap_err();
    assert!(matches!(error, AuthFailure::Refused(_)));
    for signature in ["", "00", "zz", &"A".repeat(64), &"0".repeat(65)] {
        let request = with_authorization(|v| {
            format!(
                "{}Signature={signature}",
                v.split("Signature=").next().unwrap()
            )
        });
        assert!(request.verify().is_err(), "{signature}");
    }
}

fn scope(regions: &[&str], service: &str, now: &str) -> Result<(), String> {
    let request = signed("POST", "/", "", &[], "{}");
    let authorization = request.verify().unwrap();
    authorization
        .check_scope(regions, service, date::parse_basic(now).unwrap())
        .map_err(|error| error.to_string())
}

#[test]
fn scope_and_clock() {
    let (home, now) = (["eu-west-1"], "20261123T064500Z");
    for near in [now, "20261123T070000Z", "20261123T063000Z"] {
        assert_eq!(scope(&home, "apprunner", near), Ok(()));
    }
    assert_eq!(scope(&["us-east-1", "eu-west-1"], "apprunner", now), Ok(()));
    let cases = [
        (
            scope(&home, "apprunner", "20261123T070001Z"),
            "Signature expired: 20261123T064500Z is now earlier than 20261123T064501Z (20261123T070001Z - 15 min.)",
        ),
        (
            scope(&home, "apprunner", "20261123T062959Z"),
            "Signature not yet current: 20261123T064500Z is still later than 20261123T064459Z (20261123T062959Z + 15 min.)",
        ),
        (
            scope(&["us-east-1"], "apprunner", now),
            "Credential should be scoped to a valid region, not 'eu-west-1'. This is 'us-east-1'.",
        ),
        (
            scope(&home, "ecr", now),
            "Credential should be scoped to correct service: 'ecr'. ",
        ),
    ];
    for (result, expect) in cases {
        assert_eq!(result.unwrap_err(), expect);
    }
    let other_day = with_authorization(|v| v.replace("/20261123/", "/20261122/"));
    let headers = other_day.header_map();
    let head = Head {
        method: "POST",
        path: "/",
        query: "",
        headers: &headers,
    };
    let authorization = Authorization::parse(head).unwrap();
    let error = authorization
        .check_scope(&home, "apprunner", date::parse_basic(now).unwrap())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("Date in Credential scope does not match YYYYMMDD"),
        "{error}"
    );
}

#[test]
fn presigned_requests_expire() {
    let request = botocore().into_iter().find(|case| case.presigned).unwrap();
    let authorization = request.verify().unwrap();
    let check = |now: &str| {
        authorization.check_scope(&["eu-west-1"], "apprunner", date::parse_basic(now).unwrap())
    };
    check("20261123T074500Z").unwrap();
    let error = check("20261123T074501Z").unwrap_err();
    assert_eq!(
        error.to_string(),
        "Signature expired: 20261123T074500Z is now earlier than 20261123T074501Z"
    );
    assert!(check("20261123T062900Z").is_err());

    let mut doubled = request.clone();
    doubled
        .headers
        .push(("authorization".to_owned(), "AWS4-HMAC-SHA256 x".to_owned()));
    assert!(matches!(
        doubled.verify().unwrap_err(),
        AuthFailure::Incomplete(_)
    ));
    for expires in ["0", "604801", "-1", "x", ""] {
        let mut odd = request.clone();
        odd.query = odd
            .query
            .replace("X-Amz-Expires=3600", &format!("X-Amz-Expires={expires}"));
        assert!(
            matches!(odd.verify().unwrap_err(), AuthFailure::Incomplete(_)),
            "{expires}"
        );
    }
}

/// Another letter or digit in place of the byte at `at`, counted over the text's length.
fn altered(text: &str, at: usize, to: u8) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    let index = at.checked_rem(bytes.len())?;
    if !bytes[index].is_ascii_alphanumeric() || bytes[index] == to {
        return None;
    }
    bytes[index] = to;
    String::from_utf8(bytes).ok()
}

fn segment() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9]{1,8}"
}

proptest! {
    #[test]
    fn a_signed_request_passes_and_one_changed_byte_fails(
        method in "(GET|PUT|POST|DELETE)",
        segments in prop::collection::vec(segment(), 0..4),
        pairs in prop::collection::vec((segment(), segment()), 0..4),
        header in "[a-zA-Z0-9]{1,20}",
        body in "[a-zA-Z0-9{}\":, ]{0,80}",
        at in any::<usize>(),
        to in prop::sample::select(b"ABCXYZabcxyz0123456789".to_vec()),
    ) {
        let path = format!("/{}", segments.join("/"));
        let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let good = signed(&method, &path, &query.join("&"), &[("x-amz-target", &header)], &body);
        good.verify().unwrap();
        for part in 0..5 {
            let mut bad = good.clone();
            let field = match part {
                0 => &mut bad.method,
                1 => &mut bad.path,
                2 => &mut bad.query,
                3 => &mut bad.body,
                _ => &mut bad.headers.iter_mut().find(|(name, _)| name == "x-amz-target").unwrap().1,
            };
            if let Some(text) = altered(field, at, to) {
                *field = text;
                prop_assert_eq!(bad.verify().unwrap_err(), AuthFailure::Mismatch);
            }
        }
        let mut longer = good.clone();
        longer.body.push(' ');
        prop_assert!(longer.verify().is_err());
    }

    #[test]
    fn any_head_is_taken_or_refused(
        value in prop_oneof![any::<String>(), "AWS4-HMAC-SHA256 [ -~]{0,120}"],
        query in prop_oneof!["[ -~]{0,120}", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-[ -~]{0,80}"],
        amz_date in "[0-9TZ]{0,20}",
        presigned in any::<bool>(),
    ) {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("h"));
        if let Ok(amz_date) = HeaderValue::from_str(&amz_date) {
            headers.insert("x-amz-date", amz_date);
        }
        if let (Ok(value), false) = (HeaderValue::from_bytes(value.as_bytes()), presigned) {
            headers.insert("authorization", value);
        }
        let head = Head { method: "GET", path: "/", query: &query, headers: &headers };
        if let Ok(authorization) = Authorization::parse(head) {
            let _ = authorization.check_scope(&["r"], "s", 0);
            let keys = KeyCache::default();
            prop_assert!(verify(&authorization, head, b"", &Secret::new("s"), Payload::Signed, &keys).is_err());
        }
    }
}
