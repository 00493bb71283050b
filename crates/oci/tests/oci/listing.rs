//! Lists and their pages.

use crate::client::get;
use crate::images::TestImage;
use crate::server::TestServer;
use serde_json::json;

#[tokio::test]
async fn tags_come_in_pages() {
    let server = TestServer::start().await;
    let image = TestImage::new("amd64", 1, 100);
    for tag in ["b", "a", "d", "c", "e"] {
        image
            .push(server.address, "team/app", tag, "")
            .await
            .expect(201);
    }
    let all = get(server.address, "/v2/team/app/tags/list")
        .await
        .expect(200);
    assert_eq!(
        all.json(),
        json!({ "name": "team/app", "tags": ["a", "b", "c", "d", "e"] })
    );
    assert_eq!(all.header("link"), "");
    let mut target = "/v2/team/app/tags/list?n=2".to_owned();
    let mut seen = Vec::new();
    loop {
        let answer = get(server.address, &target).await.expect(200);
        let tags = answer.json()["tags"].as_array().unwrap().clone();
        assert!(tags.len() <= 2);
        seen.extend(tags);
        let Some(next) = answer.header("link").strip_prefix('<') else {
            break;
        };
        target = next.strip_suffix(">; rel=\"next\"").unwrap().to_owned();
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    assert_eq!(
        get(server.address, "/v2/team/app/tags/list?n=0")
            .await
            .expect(200)
            .json()["tags"],
        json!([])
    );
    get(server.address, "/v2/team/app/tags/list?n=x")
        .await
        .expect_error(400, "PAGINATION_NUMBER_INVALID");
    assert_eq!(
        get(server.address, "/v2/empty/tags/list")
            .await
            .expect(200)
            .json()["tags"],
        json!([])
    );
}

#[tokio::test]
async fn repositories_come_in_pages() {
    let server = TestServer::start().await;
    let image = TestImage::new("amd64", 1, 100);
    for name in ["b/x", "a", "b"] {
        image.push(server.address, name, "v1", "").await.expect(201);
    }
    let answer = get(server.address, "/v2/_catalog?n=2").await.expect(200);
    assert_eq!(answer.json(), json!({ "repositories": ["a", "b"] }));
    assert_eq!(
        answer.header("link"),
        "</v2/_catalog?n=2&last=b>; rel=\"next\""
    );
    let answer = get(server.address, "/v2/_catalog?n=2&last=b")
        .await
        .expect(200);
    assert_eq!(answer.json(), json!({ "repositories": ["b/x"] }));
}
