use super::*;

fn settings() -> Settings {
    Settings {
        account: "111122223333".to_owned(),
        region: "us-east-1".to_owned(),
        domain: "apron.localhost".to_owned(),
        https_port: 7443,
        registry_host: "localhost:7400".to_owned(),
        instance_endpoint: None,
        issuer: "https://localhost:7400".to_owned(),
        patience: Default::default(),
        stop_grace: std::time::Duration::from_secs(30),
        services_max: 30,
        instance_disk_bytes: 3 << 30,
        instance_pids_max: 1024,
        deleted_kept: std::time::Duration::from_secs(3600),
    }
}

#[test]
fn own_repositories_are_known_by_host_and_path() {
    let own = |url: &str| place(&settings(), url).unwrap();
    for url in [
        "https://localhost:7400/git/demo.git",
        "https://127.0.0.1:7400/git/demo",
        &own_url(&settings(), "demo"),
    ] {
        assert_eq!(own(url), Place::Own("demo".to_owned()), "{url}");
    }
    for url in [
        "https://localhost:7401/git/demo.git",
        "https://localhost:7400/demo.git",
        "https://localhost:7400/git/../../etc.git",
        "https://localhost:7400/git/x.git",
        "https://git.example.com/git/demo.git",
    ] {
        assert!(matches!(own(url), Place::Other(_)), "{url}");
    }
    assert!(place(&settings(), "https://u:p@h/a").is_err());
}
