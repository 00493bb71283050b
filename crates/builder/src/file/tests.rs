use super::*;

const WHOLE: &str = r#"
version: 1.0
runtime: python311
build:
  commands:
    pre-build:
      - echo before
    build:
      - pip3 install pipenv
      - |
        echo several
        echo lines
    post-build:
      - echo after
  env:
    - name: DJANGO_SETTINGS
      value: "x.settings"
    - name: DEBUG
      value: true
run:
  runtime-version: 3.10
  pre-run:
    - pip3 install -r requirements.txt
  command: python3 app.py
  network:
    port: 8000
    env: MY_PORT
  env:
    - name: RATIO
      value: 1.50
  secrets:
    - name: KEY
      value-from: arn:aws:secretsmanager:us-east-1:123456789012:secret:x
"#;

#[test]
fn a_whole_file_is_read_as_it_is_written() {
    let file = AppRunnerFile::parse(WHOLE).unwrap();
    assert_eq!(file.build.commands.build.len(), 2);
    assert_eq!(file.build.commands.build[1], "echo several\necho lines\n");
    assert_eq!(file.run.runtime_version, Some(Scalar("3.10".to_owned())));
    assert_eq!(file.run.env[0].value, Scalar("1.50".to_owned()));
    assert_eq!(file.build.env[1].value, Scalar("true".to_owned()));
    let network = file.run.network.unwrap();
    assert_eq!(
        (network.port, network.env.as_deref()),
        (Some(8000), Some("MY_PORT"))
    );
    assert_eq!(file.run.secrets[0].name, "KEY");
}

#[test]
fn mistakes_are_named_with_line_and_column() {
    for (from, to, expected) in [
        (
            "  command: python3",
            "  comand: python3",
            &["line 24", "column", "comand"][..],
        ),
        ("    port: 8000", "    port: many", &["line 26", "column"]),
        ("    port: 8000", "    port: 800000", &["line 26"]),
        ("    port: 8000", "    port: 0", &["run.network.port is 0"]),
        ("version: 1.0", "version: 2.0", &["version is 2.0"]),
        ("runtime: python311", "", &["runtime"]),
        (
            "    build:\n      - pip3 install pipenv\n",
            "    build: pip3 install\n",
            &["line"],
        ),
        (
            "name: RATIO",
            "name: PORT",
            &["run.env", "PORT", "run.network.port"],
        ),
        (
            "name: DEBUG",
            "name: DJANGO_SETTINGS",
            &["build.env", "is there twice"],
        ),
        ("  commands:", "  commands: [", &["line"]),
    ] {
        assert!(WHOLE.contains(from), "{from}");
        let text = WHOLE.replace(from, to);
        let error = AppRunnerFile::parse(&text).expect_err(to).to_string();
        assert!(error.starts_with("apprunner.yaml:"), "{error}");
        for part in expected {
            assert!(error.contains(part), "{to}: {error}");
        }
    }
}

#[test]
fn files_that_grow_without_end_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    let started = std::time::Instant::now();
    assert!(AppRunnerFile::parse(&bomb).is_err());
    // The same where a list is expected.
    let commands = format!(
        "version: 1.0\nruntime: go1\nbuild:\n  commands:\n    build: &a [{}]\nrun:\n  pre-run: [*a]\n  command: x\n",
        vec!["x"; 50].join(", ")
    );
    assert!(AppRunnerFile::parse(&commands).is_err());
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
    assert!(AppRunnerFile::parse(&"[".repeat(60_000)).is_err());
    assert!(AppRunnerFile::parse("").is_err());
}
