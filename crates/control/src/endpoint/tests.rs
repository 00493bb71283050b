use super::*;
use crate::audit::Trail;
use crate::clock::Manual;
use crate::iam::RootKey;
use crate::sts::Sts;
use crate::web_identity::{FetchSettings, WebIdentity};
use apron_aws::model;
use apron_aws::sigv4::{Secret, Signer, date, sign};
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use serde_json::json;

const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const REGION: &str = "eu-west-1";

/// Answers a few App Runner operations as the test needs them.
struct Probe;

#[async_trait]
impl ApiService for Probe {
    fn model(&self) -> &'static Model {
        model::apprunner()
    }

    async fn call(&self, call: Call) -> Result<Value, ApiError> {
        match call.operation.as_str() {
            "StartDeployment" => {
                Ok(json!({"OperationId": call.input["ServiceArn"], "Internal": "kept back"}))
            }
            "PauseService" => panic!("as the test wants it"),
            "ResumeService" => Ok(json!({"OperationId": 7})),
            "DeleteService" => Err(model::apprunner().error("InvalidStateException", "busy")),
            other => Err(ApiError::not_available("AppRunner", other)),
        }
    }
}

fn now() -> Millis {
    Millis(date::parse_basic("20261123T064500Z").unwrap())
}

async fn endpoint(dir: &std::path::Path) -> Endpoint {
    let manual = Arc::new(Manual::at(now()));
    let store = apron_store::Store::open(dir).await.unwrap();
    let root = RootKey {
        access_key_id: KEY.to_owned(),
        secret: Secret::new(SECRET),
    };
    let issuers = WebIdentity::new(
        "https://localhost:7400",
        store.clone(),
        manual.clone(),
        FetchSettings::default(),
    );
    let identities = Identities::open(store, "123456789012", &*manual);
    let identities = identities.await.unwrap();
    identities.set_root_key(root, now()).await.unwrap();
    let audit = apron_telemetry::Audit::open(&dir.join("audit")).unwrap();
    let trail = Trail::new(audit, REGION, manual.clone());
    let sts = Arc::new(Sts::new(
        identities.clone(),
        Arc::new(issuers),
        manual.clone(),
    ));
    let services: Vec<Arc<dyn ApiService>> = vec![sts, Arc::new(Probe)];
    Endpoint::new(
        services,
        Arc::new(Authorizer::new(identities, REGION)),
        Arc::new(trail),
        REGION.to_owned(),
        Arc::clone(&manual) as _,
        manual,
    )
}

/// How a request differs from a good one.
type Change = fn(&mut Sent);

struct Sent {
    service: &'static str,
    region: &'static str,
    key: &'static str,
    secret: &'static str,
    at: Millis,
    method: &'static str,
    target: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Sent {
    fn json(operation: &str, body: &str) -> Sent {
        let headers = vec![
            ("content-type", "application/x-amz-json-1.0".to_owned()),
            ("x-amz-target", format!("AppRunner.{operation}")),
        ];
        Sent {
            headers,
            body: body.as_bytes().to_vec(),
            service: "apprunner",
            ..Sent::form("")
        }
    }

    fn form(body: &str) -> Sent {
        Sent {
            service: "sts",
            region: REGION,
            key: KEY,
            secret: SECRET,
            at: now(),
            method: "POST",
            target: "/",
            headers: vec![(
                "content-type",
                "application/x-www-form-urlencoded".to_owned(),
            )],
            body: body.as_bytes().to_vec(),
        }
    }

    fn signed(&self) -> Request<Full<Bytes>> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("apron.test"));
        for (name, value) in &self.headers {
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        let signer = Signer {
            access_key_id: self.key.to_owned(),
            secret: Secret::new(self.secret),
            region: self.region.to_owned(),
            service: self.service.to_owned(),
        };
        let (path, query) = self.target.split_once('?').unwrap_or((self.target, ""));
        sign(
            &signer,
            self.method,
            path,
            query,
            &mut headers,
            &self.body,
            self.at.0,
        )
        .unwrap();
        let mut request = Request::new(Full::new(Bytes::from(self.body.clone())));
        *request.method_mut() = self.method.parse().unwrap();
        *request.uri_mut() = self.target.parse().unwrap();
        *request.headers_mut() = headers;
        request
    }

    async fn answer(&self) -> (u16, String) {
        answer_to(self.signed()).await
    }
}

async fn answer_to<B>(request: Request<B>) -> (u16, String)
where
    B: hyper::body::Body + Send,
    B::Data: Send,
    B::Error: Display + Send,
{
    let dir = apron_testkit::Directory::new();
    let response = endpoint(dir.path()).await.handle(request).await;
    let status = response.status().as_u16();
    if status != 200 || response.headers()[CONTENT_TYPE] != "text/plain" {
        assert_eq!(response.headers()["x-amzn-requestid"].len(), 36);
    }
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn check(sent: Sent, status: u16, part: &str) {
    let (got, body) = sent.answer().await;
    assert!(
        got == status && body.contains(part),
        "{got} {body}, expected {status} {part}"
    );
}

const ARN: &str =
    "arn:aws:apprunner:eu-west-1:123456789012:service/app/0123456789abcdef0123456789abcdef";

fn arn_input() -> String {
    json!({"ServiceArn": ARN, "Unknown": 1}).to_string()
}

#[tokio::test]
async fn a_signed_call_is_answered() {
    let (status, body) = Sent::json("StartDeployment", &arn_input()).answer().await;
    assert_eq!(
        (status, body),
        (200, json!({"OperationId": ARN}).to_string())
    );
    let identity = "<Arn>arn:aws:iam::123456789012:root</Arn><UserId>123456789012</UserId>";
    check(
        Sent::form("Action=GetCallerIdentity&Version=2011-06-15"),
        200,
        identity,
    )
    .await;
    let get = Sent {
        method: "GET",
        target: "/?Action=GetCallerIdentity&Version=2011-06-15",
        headers: Vec::new(),
        ..Sent::form("")
    };
    check(get, 200, identity).await;
    let global = Sent {
        region: "us-east-1",
        ..Sent::form("Action=GetCallerIdentity")
    };
    check(global, 200, identity).await;
}

#[tokio::test]
async fn wrong_credentials_get_the_error_of_the_json_protocol() {
    let cases: [(Change, &str); 6] = [
        (|s| s.key = "AKIAOTHER", "#UnrecognizedClientException"),
        (|s| s.secret = "other", "#InvalidSignatureException"),
        (
            |s| s.at = Millis(now().0 - 16 * 60_000),
            "Signature expired: 20261123T062900Z",
        ),
        (
            |s| s.at = Millis(now().0 + 16 * 60_000),
            "Signature not yet current: 20261123T070100Z",
        ),
        (
            |s| s.region = "us-east-1",
            "Credential should be scoped to a valid region",
        ),
        (
            |s| s.service = "ecr",
            "Credential should be scoped to correct service: 'apprunner'",
        ),
    ];
    for (change, part) in cases {
        let mut sent = Sent::json("StartDeployment", &arn_input());
        change(&mut sent);
        check(sent, 403, part).await;
    }
}

#[tokio::test]
async fn wrong_credentials_get_the_error_of_the_query_protocol() {
    let cases: [(Change, &str); 3] = [
        (|s| s.key = "AKIAOTHER", "<Code>InvalidClientTokenId</Code>"),
        (|s| s.secret = "other", "<Code>SignatureDoesNotMatch</Code>"),
        (
            |s| s.at = Millis(0),
            "<Code>SignatureDoesNotMatch</Code><Message>Signature expired",
        ),
    ];
    for (change, part) in cases {
        let mut sent = Sent::form("Action=GetCallerIdentity");
        change(&mut sent);
        check(sent, 403, part).await;
    }
}

#[tokio::test]
async fn requests_without_a_whole_signature_are_refused() {
    let cases = [
        (
            Sent::json("StartDeployment", "{}"),
            None,
            "#MissingAuthenticationTokenException",
        ),
        (
            Sent::json("StartDeployment", "{}"),
            Some("AWS4-HMAC-SHA256 Credential=x"),
            "#IncompleteSignatureException",
        ),
        (
            Sent::form("Action=GetCallerIdentity"),
            None,
            "<Code>MissingAuthenticationToken</Code>",
        ),
        (
            Sent::form("Action=GetCallerIdentity"),
            Some("Bearer x"),
            "<Code>IncompleteSignature</Code>",
        ),
        (
            Sent {
                headers: Vec::new(),
                ..Sent::form("")
            },
            None,
            "MissingAuthenticationTokenException",
        ),
    ];
    for (sent, header, part) in cases {
        let mut request = sent.signed();
        request.headers_mut().remove("authorization");
        if let Some(header) = header {
            request
                .headers_mut()
                .insert("authorization", HeaderValue::from_static(header));
        }
        let (status, body) = answer_to(request).await;
        assert!(
            matches!(status, 400 | 403) && body.contains(part),
            "{status} {body}, expected {part}"
        );
    }
}

#[tokio::test]
async fn unknown_things_are_named_as_such() {
    check(Sent::json("Nope", "{}"), 404, "UnknownOperationException").await;
    check(
        Sent::form("Action=Nope&Version=2011-06-15"),
        400,
        "<Code>InvalidAction</Code>",
    )
    .await;
    check(
        Sent::form("Version=2011-06-15"),
        400,
        "<Code>MissingAction</Code>",
    )
    .await;
    check(
        Sent::form("Action=GetFederationToken"),
        400,
        "STS GetFederationToken is not available",
    )
    .await;
    let mut other = Sent::json("Nope", "{}");
    other.headers[1].1 = "DynamoDB_20120810.ListTables".to_owned();
    check(other, 404, "UnknownOperationException").await;
    let no_target = Sent {
        headers: vec![("content-type", "application/x-amz-json-1.0".to_owned())],
        ..Sent::json("", "")
    };
    check(no_target, 404, "UnknownOperationException").await;
    check(
        Sent {
            target: "/other",
            ..Sent::json("StartDeployment", "{}")
        },
        404,
        "UnknownOperationException",
    )
    .await;
    check(
        Sent {
            method: "PUT",
            ..Sent::json("StartDeployment", "{}")
        },
        405,
        "MethodNotAllowed",
    )
    .await;
}

#[tokio::test]
async fn bad_bodies_are_refused() {
    check(
        Sent::json("StartDeployment", "{\"ServiceArn\":"),
        400,
        "#SerializationException",
    )
    .await;
    check(
        Sent::json("StartDeployment", "{}"),
        400,
        "Value null at 'serviceArn'",
    )
    .await;
    check(
        Sent::json("StartDeployment", "{\"ServiceArn\":\"x\"}"),
        400,
        "#InvalidRequestException",
    )
    .await;
    let mut xml = Sent::json("StartDeployment", &arn_input());
    xml.headers[0].1 = "text/xml".to_owned();
    check(xml, 415, "UnsupportedMediaTypeException").await;
    let large = Sent {
        body: vec![b' '; BODY_BYTES_MAX + 1],
        ..Sent::json("StartDeployment", "")
    };
    check(large, 413, "RequestEntityTooLarge").await;
    let full = Sent {
        body: vec![b' '; BODY_BYTES_MAX],
        ..Sent::json("StartDeployment", "")
    };
    check(full, 400, "Value null at 'serviceArn'").await;

    let mut announced = Sent::json("StartDeployment", "{}").signed();
    announced
        .headers_mut()
        .insert("content-length", HeaderValue::from(BODY_BYTES_MAX + 1));
    let (status, body) = answer_to(announced).await;
    assert!(
        status == 413 && body.contains("RequestEntityTooLarge"),
        "{status} {body}"
    );
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let (parts, _) = Sent::json("StartDeployment", &arn_input())
        .signed()
        .into_parts();
    let pieces: Vec<Result<hyper::body::Frame<Bytes>, std::io::Error>> = vec![
        Ok(hyper::body::Frame::data(Bytes::from_static(b"{\"Serv"))),
        Err(std::io::Error::other("connection closed")),
    ];
    let body = http_body_util::StreamBody::new(futures_util::stream::iter(pieces));
    let (status, body) = answer_to(Request::from_parts(parts, body)).await;
    assert!(
        status == 400 && body.contains("broke off: connection closed"),
        "{status} {body}"
    );
}

#[tokio::test]
async fn a_failing_service_is_an_internal_failure() {
    check(
        Sent::json("PauseService", &arn_input()),
        500,
        "InternalFailure",
    )
    .await;
    check(
        Sent::json("ResumeService", &arn_input()),
        500,
        "InternalFailure",
    )
    .await;
    check(
        Sent::json("DeleteService", &arn_input()),
        400,
        "#InvalidStateException",
    )
    .await;
}

#[tokio::test]
async fn the_front_door_says_that_it_is_there() {
    let request = Request::get("/").body(Full::new(Bytes::new())).unwrap();
    assert_eq!(answer_to(request).await, (200, "healthy\n".to_owned()));
}
