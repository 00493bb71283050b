use super::*;

fn request(method: Method, uri: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(uri);
    request.body(Body::empty()).unwrap()
}

#[test]
fn only_the_pages_of_the_protocol_are_there() {
    let get = |uri: &str| parse(&request(Method::GET, uri));
    let post = |uri: &str| parse(&request(Method::POST, uri));
    let demo = || "demo".to_owned();
    assert_eq!(
        get("/git/demo.git/info/refs?service=git-receive-pack"),
        Some((demo(), Wanted::References(Service::Receive)))
    );
    assert_eq!(
        get("/git/demo/info/refs?service=git-upload-pack"),
        Some((demo(), Wanted::References(Service::Upload)))
    );
    assert_eq!(
        post("/git/demo.git/git-receive-pack"),
        Some((demo(), Wanted::Service(Service::Receive)))
    );
    for uri in [
        "/git/demo.git/info/refs",
        "/git/demo.git/info/refs?service=git-shell",
        "/git/demo.git/HEAD",
        "/git/../x/info/refs?service=git-upload-pack",
        "/git/.git/info/refs?service=git-upload-pack",
        "/git/a.git/info/refs?service=git-upload-pack",
        "/git/demo.git/objects/../info/refs",
        "/gitx/demo.git/info/refs?service=git-upload-pack",
    ] {
        assert_eq!(get(uri), None, "{uri}");
    }
    assert_eq!(post("/git/demo.git/info/refs"), None);
}

#[test]
fn only_plain_protocol_versions_reach_git() {
    let of = |value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert("git-protocol", HeaderValue::from_static(value));
        protocol(&headers)
    };
    assert_eq!(of("version=2").as_deref(), Some("version=2"));
    assert_eq!(of("version=2;rm"), None);
    assert_eq!(of("$(id)"), None);
}
