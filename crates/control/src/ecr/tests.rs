pub(crate) mod bench;

use super::*;
use crate::clock::Clock;
use apron_oci::{Action, Gate, Refusal, Visitor};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bench::{Bench, digest_of};
use bytes::Bytes;
use serde_json::json;
use std::time::Duration;

const ACCOUNT: &str = "123456789012";

#[tokio::test]
async fn a_repository_from_creation_to_deletion() {
    let bench = Bench::new().await;
    let made = bench.create("team/flask").await;
    assert_eq!(
        made,
        json!({
            "repositoryArn": "arn:aws:ecr:eu-west-1:123456789012:repository/team/flask",
            "registryId": ACCOUNT,
            "repositoryName": "team/flask",
            "repositoryUri": "localhost:8443/team/flask",
            "createdAt": 1_800_000_000.123,
            "imageTagMutability": "MUTABLE",
            "imageScanningConfiguration": {"scanOnPush": false},
            "encryptionConfiguration": {"encryptionType": "AES256"},
        })
    );
    let found = bench
        .ok(
            "DescribeRepositories",
            json!({"repositoryNames": ["team/flask"]}),
        )
        .await;
    assert_eq!(found["repositories"], json!([made]));
    let text = "The repository with name 'team/flask' already exists in the registry with id '123456789012'";
    bench
        .refused(
            "CreateRepository",
            json!({"repositoryName": "team/flask"}),
            "RepositoryAlreadyExistsException",
            text,
        )
        .await;

    bench.push("team/flask", "v1", "one").await;
    let text = "cannot be deleted because it still contains images";
    bench
        .refused(
            "DeleteRepository",
            json!({"repositoryName": "team/flask"}),
            "RepositoryNotEmptyException",
            text,
        )
        .await;
    bench
        .ok(
            "DeleteRepository",
            json!({"repositoryName": "team/flask", "force": true}),
        )
        .await;
    let text = "The repository with name 'team/flask' does not exist in the registry with id '123456789012'";
    let name = json!({"repositoryName": "team/flask"});
    for operation in ["DeleteRepository", "ListImages", "DescribeImages"] {
        bench
            .refused(operation, name.clone(), "RepositoryNotFoundException", text)
            .await;
    }
    bench.create("team/flask").await;
    assert_eq!(
        bench.ok("ListImages", name).await["imageIds"],
        json!([]),
        "no image of the former repository comes back"
    );
}

#[tokio::test]
async fn what_is_not_available_is_refused() {
    let bench = Bench::new().await;
    let with = |key: &str, value: Value| {
        let mut input = json!({"repositoryName": "app"});
        input[key] = value;
        input
    };
    let kms = with("encryptionConfiguration", json!({"encryptionType": "KMS"}));
    let exclusion = with("imageTagMutability", json!("IMMUTABLE_WITH_EXCLUSION"));
    for input in [kms, exclusion] {
        bench
            .refused(
                "CreateRepository",
                input,
                "InvalidParameterException",
                "not available in this installation",
            )
            .await;
    }
    let other = with("registryId", json!("999999999999"));
    bench
        .refused(
            "CreateRepository",
            other,
            "RepositoryNotFoundException",
            "registry with id '999999999999'",
        )
        .await;
    let input = json!({"repositoryName": "Upper"});
    bench
        .refused(
            "CreateRepository",
            input,
            "InvalidParameterException",
            "'Upper' at 'repositoryName'",
        )
        .await;
    assert_eq!(
        bench.ok("DescribeRepositories", json!({})).await["repositories"],
        json!([])
    );
}

#[tokio::test]
async fn repositories_come_in_pages() {
    let bench = Bench::new().await;
    for name in ["dd", "aa", "cc", "bb"] {
        bench.create(name).await;
    }
    let (mut names, mut token, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let page = bench
            .ok(
                "DescribeRepositories",
                json!({"maxResults": 2, "nextToken": token}),
            )
            .await;
        names.extend(
            page["repositories"]
                .as_array()
                .unwrap()
                .iter()
                .map(|r| r["repositoryName"].clone()),
        );
        (token, pages) = (page["nextToken"].clone(), pages + 1);
        if token.is_null() {
            break;
        }
    }
    assert_eq!(
        (names, pages),
        (vec![json!("aa"), json!("bb"), json!("cc"), json!("dd")], 2)
    );
    bench
        .refused(
            "DescribeRepositories",
            json!({"nextToken": "x"}),
            "InvalidParameterException",
            "nextToken",
        )
        .await;
    let both = json!({"repositoryNames": ["aa"], "maxResults": 1});
    bench
        .refused(
            "DescribeRepositories",
            both,
            "InvalidParameterException",
            "repositoryNames",
        )
        .await;
}

/// An input about the repository `app`.
fn app(more: &Value) -> Value {
    let mut input = json!({"repositoryName": "app"});
    input
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    input
}

#[tokio::test]
async fn images_are_listed_in_pages() {
    let bench = Bench::new().await;
    bench.create("app").await;
    let one = bench.push("app", "v1", "one").await;
    assert_eq!(bench.push("app", "latest", "one").await, one);
    let two = bench.push("app", "v2", "two").await;
    let (mut ids, mut token) = (Vec::new(), Value::Null);
    loop {
        let input = app(&json!({"maxResults": 1, "nextToken": token}));
        let page = bench.ok("ListImages", input).await;
        assert_eq!(page["imageIds"].as_array().unwrap().len(), 1);
        let id = &page["imageIds"][0];
        ids.push((id["imageTag"].clone(), id["imageDigest"].clone()));
        token = page["nextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    ids.sort_by_key(|(tag, _)| tag.to_string());
    let expect = [("latest", &one), ("v1", &one), ("v2", &two)];
    assert_eq!(ids, expect.map(|(tag, digest)| (json!(tag), json!(digest))));
}

#[tokio::test]
async fn images_are_described() {
    let bench = Bench::new().await;
    bench.create("app").await;
    let one = bench.push("app", "v1", "one").await;
    bench.push("app", "latest", "one").await;
    let two = bench.push("app", "v2", "two").await;
    let describe = async |more: Value| bench.ok("DescribeImages", app(&more)).await;
    let detail = describe(json!({"imageIds": [{"imageTag": "v1"}]})).await;
    let detail = &detail["imageDetails"][0];
    assert_eq!(
        (&detail["imageDigest"], &detail["imageTags"]),
        (&json!(one), &json!(["latest", "v1"]))
    );
    assert_eq!(
        detail["imageSizeInBytes"],
        json!("{\"x\":\"one\"}".len() + "layer of one".len())
    );
    assert_eq!(
        detail["artifactMediaType"],
        json!("application/vnd.oci.image.config.v1+json")
    );
    assert!(detail["imagePushedAt"].as_f64().unwrap() > 1.6e9);

    let page = describe(json!({"maxResults": 1})).await;
    let rest = describe(json!({"maxResults": 1, "nextToken": page["nextToken"]})).await;
    let digest = |page: &Value| {
        page["imageDetails"][0]["imageDigest"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let mut digests = [digest(&page), digest(&rest)];
    let mut expect = [one, two];
    digests.sort();
    expect.sort();
    assert_eq!((digests, &rest["nextToken"]), (expect, &Value::Null));
    let untagged = describe(json!({"filter": {"tagStatus": "UNTAGGED"}})).await;
    assert_eq!(untagged["imageDetails"], json!([]));
}

#[tokio::test]
async fn images_that_do_not_exist_are_named() {
    let bench = Bench::new().await;
    bench.create("app").await;
    let text = "The image with imageId {imageDigest:'null', imageTag:'v9'} does not exist within the repository with name \
                'app' in the registry with id '123456789012'";
    let absent = app(&json!({"imageIds": [{"imageTag": "v9"}]}));
    bench
        .refused("DescribeImages", absent, "ImageNotFoundException", text)
        .await;
    let empty = app(&json!({"imageIds": [{}]}));
    let text = "both tag and digest cannot be null";
    bench
        .refused("DescribeImages", empty, "InvalidParameterException", text)
        .await;
}

#[tokio::test]
async fn batches_tell_of_each_image() {
    let bench = Bench::new().await;
    bench.create("app").await;
    let one = bench.push("app", "v1", "one").await;
    let ids = json!([
        {"imageTag": "v1"}, {"imageTag": "v9"}, {"imageDigest": "sha256:00"}, {}, {"imageTag": "!"},
        {"imageTag": "v1", "imageDigest": digest_of(b"other")},
    ]);
    let got = bench
        .ok(
            "BatchGetImage",
            json!({"repositoryName": "app", "imageIds": ids}),
        )
        .await;
    let image = &got["images"][0];
    assert_eq!(
        image["imageId"],
        json!({"imageDigest": one, "imageTag": "v1"})
    );
    assert_eq!(
        digest_of(image["imageManifest"].as_str().unwrap().as_bytes()),
        one
    );
    let codes: Vec<&str> = got["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failure| failure["failureCode"].as_str().unwrap())
        .collect();
    let expect = [
        "ImageNotFound",
        "InvalidImageDigest",
        "MissingDigestAndTag",
        "InvalidImageTag",
        "ImageTagDoesNotMatchDigest",
    ];
    assert_eq!(codes, expect);
    let other = json!({"repositoryName": "app", "imageIds": [{"imageTag": "v1"}], "acceptedMediaTypes": ["x/y"]});
    assert_eq!(
        bench.ok("BatchGetImage", other).await["failures"][0]["failureCode"],
        "ImageNotFound"
    );
}

#[tokio::test]
async fn images_go_with_their_last_tag() {
    let bench = Bench::new().await;
    bench.create("app").await;
    let one = bench.push("app", "v1", "one").await;
    bench.push("app", "latest", "one").await;
    let delete = async |id: Value| {
        bench
            .ok(
                "BatchDeleteImage",
                json!({"repositoryName": "app", "imageIds": [id]}),
            )
            .await
    };
    let list = async || {
        bench
            .ok("ListImages", json!({"repositoryName": "app"}))
            .await["imageIds"]
            .clone()
    };

    let gone = delete(json!({"imageTag": "v1"})).await;
    assert_eq!(
        gone["imageIds"],
        json!([{"imageDigest": one, "imageTag": "v1"}])
    );
    assert_eq!(
        list().await,
        json!([{"imageDigest": one, "imageTag": "latest"}])
    );
    delete(json!({"imageTag": "latest"})).await;
    assert_eq!(list().await, json!([]));
    assert_eq!(
        delete(json!({"imageTag": "latest"})).await["failures"][0]["failureCode"],
        "ImageNotFound"
    );

    let one = bench.push("app", "v1", "one").await;
    let (_, bytes) = bench.content.manifest_bytes(&one).await.unwrap().unwrap();
    let listed = json!({"mediaType": apron_oci::OCI_MANIFEST, "digest": one, "size": bytes.len()});
    let index =
        json!({"schemaVersion": 2, "mediaType": apron_oci::OCI_INDEX, "manifests": [listed]});
    let index = bench
        .push_manifest("app", "all", apron_oci::OCI_INDEX, &index)
        .await;
    let kept = delete(json!({"imageDigest": one})).await;
    assert_eq!(
        kept["failures"][0]["failureCode"],
        "ImageReferencedByManifestList"
    );
    assert_eq!(
        delete(json!({"imageDigest": index})).await["imageIds"],
        json!([{"imageDigest": index, "imageTag": "all"}])
    );
    assert_eq!(
        delete(json!({"imageDigest": one})).await["imageIds"],
        json!([{"imageDigest": one, "imageTag": "v1"}])
    );
    assert_eq!(list().await, json!([]));
}

#[tokio::test]
async fn tags_of_a_repository() {
    let bench = Bench::new().await;
    let input = json!({"repositoryName": "app", "tags": [{"Key": "team", "Value": "a"}]});
    let arn = bench.ok("CreateRepository", input).await["repository"]["repositoryArn"].clone();
    bench.ok("TagResource", json!({"resourceArn": arn, "tags": [{"Key": "team", "Value": "b"}, {"Key": "x", "Value": ""}]})).await;
    let list = async || {
        bench
            .ok("ListTagsForResource", json!({"resourceArn": arn}))
            .await["tags"]
            .clone()
    };
    assert_eq!(
        list().await,
        json!([{"Key": "team", "Value": "b"}, {"Key": "x", "Value": ""}])
    );
    bench
        .ok(
            "UntagResource",
            json!({"resourceArn": arn, "tagKeys": ["team", "absent"]}),
        )
        .await;
    assert_eq!(list().await, json!([{"Key": "x", "Value": ""}]));

    let tag = |key: &str, value: &str| json!({"resourceArn": arn, "tags": [{"Key": key, "Value": value}]});
    for (key, value) in [
        ("aws:x", ""),
        ("", ""),
        ("k", &"v".repeat(257)),
        (&"k".repeat(129), ""),
    ] {
        bench
            .refused(
                "TagResource",
                tag(key, value),
                "InvalidTagParameterException",
                "'tags'",
            )
            .await;
    }
    let many: Vec<Value> = (0..50)
        .map(|i| json!({"Key": format!("k{i}"), "Value": ""}))
        .collect();
    let input = json!({"resourceArn": arn, "tags": many});
    bench
        .refused("TagResource", input, "TooManyTagsException", "51 tags")
        .await;
    for arn in [
        "x",
        "arn:aws:ecr:us-east-1:123456789012:repository/app",
        "arn:aws:ecr:eu-west-1:123456789012:other/app",
    ] {
        bench
            .refused(
                "ListTagsForResource",
                json!({"resourceArn": arn}),
                "InvalidParameterException",
                "Invalid ARN",
            )
            .await;
    }
    let absent = json!({"resourceArn": "arn:aws:ecr:eu-west-1:123456789012:repository/none"});
    bench
        .refused(
            "ListTagsForResource",
            absent,
            "RepositoryNotFoundException",
            "'none' does not exist",
        )
        .await;
}

#[tokio::test]
async fn the_gate_lets_in_who_has_a_password() {
    let bench = Bench::new().await;
    bench.create("app").await;
    let good = bench.authorization().await;
    let ask = async |authorization: Option<&str>, repository: Option<&str>| {
        let extensions = http::Extensions::new();
        let visitor = Visitor {
            authorization,
            extensions: &extensions,
        };
        let gate = &bench.gate;
        gate.authorize(visitor, repository, Action::ReadManifest)
            .await
    };
    assert_eq!(ask(Some(&good), Some("app")).await, Ok(()));
    assert_eq!(ask(Some(&good), None).await, Ok(()));
    let text =
        "The repository with name 'none' does not exist in the registry with id '123456789012'";
    assert_eq!(
        ask(Some(&good), Some("none")).await,
        Err(Refusal::UnknownRepository(text.to_owned()))
    );

    let refused = Err(Refusal::Unauthenticated {
        realm: "https://localhost:8443/".to_owned(),
    });
    let other = Holder {
        access_key_id: "AKIAOTHER".to_owned(),
        session_token: None,
        ends: None,
    };
    let (stranger, _) = bench.ecr.tokens.issue(&other, bench.clock.now());
    let stranger = format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("AWS:{stranger}"))
    );
    for header in [None, Some("Basic QVdTOng="), Some(stranger.as_str())] {
        assert_eq!(ask(header, Some("none")).await, refused, "{header:?}");
    }
    bench.clock.pass(TOKEN_LIFE_MS);
    assert_eq!(ask(Some(&good), Some("app")).await, refused);
    // The log-ins that failed are recorded, the question how to log in is not; those of one second share a record.
    let records = bench.records().await;
    let reasons = [
        "the registry password is not valid",
        "the registry password has expired",
    ];
    for reason in reasons {
        let told = records.iter().filter(|it| it.contains(reason)).count();
        assert_eq!(told, 1, "{reason}: {records:#?}");
    }
    let failed = records.iter().filter(|it| it.contains("UNAUTHORIZED"));
    assert_eq!(failed.count(), 2, "{records:#?}");
    assert!(
        records
            .iter()
            .any(|it| it.contains("\"alikeAndNotRecorded\":1"))
    );
}

#[tokio::test]
async fn guessing_passwords_gets_slower() {
    let bench = Bench::new().await;
    let mut extensions = http::Extensions::new();
    extensions.insert(crate::endpoint::Peer([192, 0, 2, 1].into()));
    let guess = async || {
        let visitor = Visitor {
            authorization: Some("Basic QVdTOng="),
            extensions: &extensions,
        };
        bench.gate.authorize(visitor, None, Action::Ping).await
    };
    for _ in 0..20 {
        assert!(matches!(
            guess().await,
            Err(Refusal::Unauthenticated { .. })
        ));
    }
    let begun = tokio::time::Instant::now();
    for _ in 0..3 {
        assert!(matches!(
            guess().await,
            Err(Refusal::Unauthenticated { .. })
        ));
    }
    // 50 ms, 100 ms and 200 ms.
    assert!(
        begun.elapsed() >= Duration::from_millis(350),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn immutable_tags_stay_and_pushes_are_told() {
    let bench = Bench::new().await;
    bench.create("app").await;
    bench.push("app", "v1", "one").await;
    bench.push("app", "v1", "two").await;
    let input = json!({"repositoryName": "app", "imageTagMutability": "IMMUTABLE"});
    assert_eq!(
        bench.ok("PutImageTagMutability", input).await["imageTagMutability"],
        "IMMUTABLE"
    );
    let manifest = json!({"schemaVersion": 2, "mediaType": apron_oci::OCI_INDEX, "manifests": []});
    let bytes = Bytes::from(manifest.to_string()).to_vec();
    let answer = bench
        .registry("PUT", "/v2/app/manifests/v1", apron_oci::OCI_INDEX, bytes)
        .await;
    assert_eq!(answer.status(), 400);
    let body = axum::body::to_bytes(answer.into_body(), 4096)
        .await
        .unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(
        body.contains("TAG_INVALID")
            && body.contains("cannot be overwritten because the tag is immutable"),
        "{body}"
    );
    assert_eq!(*bench.pushes.0.lock().unwrap(), ["app:v1", "app:v1"]);
}

#[tokio::test]
async fn what_no_repository_holds_is_swept() {
    let bench = Bench::new().await;
    for name in ["kept", "gone", "gone/below"] {
        bench.create(name).await;
        bench.push(name, "v1", name).await;
    }
    // A deletion that was killed between its two stores.
    bench.ecr.store.repository_delete("gone").await.unwrap();
    assert_eq!(bench.ecr.sweep().await.unwrap(), ["gone"]);
    assert_eq!(
        bench.content.repositories().await.unwrap(),
        ["gone/below", "kept"]
    );
    assert_eq!(bench.ecr.sweep().await.unwrap(), [""; 0]);
}
