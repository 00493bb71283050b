//! Secrets from the clients that people have to the applications that need them, and nowhere else.

use anyhow::{Context, Result, ensure};
use apron_e2e::images::EchoImage;
use apron_e2e::processes::{self, Role};
use apron_e2e::{Platform, Service, api, assets, aws, run, service, wait};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const ACCESS_TO_SECRETS: [&str; 3] = [
    "secretsmanager:GetSecretValue",
    "ssm:GetParameter*",
    "kms:Decrypt",
];

/// A role that applications act as, with these actions.
pub fn instance_role(platform: &Platform, actions: &[&str]) -> Result<String> {
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": {"Service": "tasks.apprunner.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    let trust = trust.to_string();
    let made = platform.aws(&[
        "iam",
        "create-role",
        "--role-name",
        "app",
        "--assume-role-policy-document",
        &trust,
    ])?;
    let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]});
    let policy = policy.to_string();
    platform.aws(&[
        "iam",
        "put-role-policy",
        "--role-name",
        "app",
        "--policy-name",
        "p",
        "--policy-document",
        &policy,
    ])?;
    let arn = made["Role"]["Arn"].as_str().context("no ARN")?;
    Ok(arn.to_owned())
}

fn create_secret(platform: &Platform, name: &str, value: &str) -> Result<String> {
    let made = platform.aws(&[
        "secretsmanager",
        "create-secret",
        "--name",
        name,
        "--secret-string",
        value,
    ])?;
    Ok(made["ARN"].as_str().context("no ARN")?.to_owned())
}

/// A service with secrets in its variables and this role.
fn input(name: &str, image: &str, secrets: &Value, role: &str) -> Value {
    let mut input = service::create_input(name, image);
    let repository = &mut input["SourceConfiguration"]["ImageRepository"];
    repository["ImageConfiguration"]["RuntimeEnvironmentSecrets"] = secrets.clone();
    input["InstanceConfiguration"]["InstanceRoleArn"] = json!(role);
    input
}

#[test]
fn boto3_keeps_secrets_parameters_and_keys() -> Result<()> {
    let platform = Platform::start()?;
    let mut command = platform.client(assets::python()?);
    command.arg(assets::checkout().join("tests/apps/vault.py"));
    let said = run::ok(&mut command)?;
    ensure!(said.trim_end().ends_with("done"), "{said}");
    Ok(())
}

#[test]
fn both_command_lines_keep_secrets_parameters_and_keys() -> Result<()> {
    let platform = Platform::start()?;
    type Line = fn(&Platform, &[&str]) -> Result<Command>;
    let lines: [(&str, Line); 2] = [("one", Platform::aws_v1), ("two", Platform::aws_v2)];
    for (name, line) in lines {
        let ask = |arguments: &[&str]| -> Result<Value> {
            aws::json(&run::ok(&mut line(&platform, arguments)?)?)
        };
        let secret = format!("{name}/secret");
        ask(&[
            "secretsmanager",
            "create-secret",
            "--name",
            &secret,
            "--secret-string",
            "v",
        ])?;
        let read = ask(&["secretsmanager", "get-secret-value", "--secret-id", &secret])?;
        ensure!(read["SecretString"] == "v", "{read}");
        let listed = ask(&[
            "secretsmanager",
            "list-secrets",
            "--filters",
            "Key=name,Values=one,two",
        ])?;
        ensure!(listed.to_string().contains(&secret), "{listed}");
        let parameter = format!("/{name}/parameter");
        ask(&[
            "ssm",
            "put-parameter",
            "--name",
            &parameter,
            "--value",
            "p",
            "--type",
            "SecureString",
        ])?;
        let read = ask(&[
            "ssm",
            "get-parameter",
            "--name",
            &parameter,
            "--with-decryption",
        ])?;
        ensure!(read["Parameter"]["Value"] == "p", "{read}");
        let key = ask(&["kms", "create-key"])?;
        let id = key["KeyMetadata"]["KeyId"]
            .as_str()
            .context("no id")?
            .to_owned();
        // The command lines disagree on how bytes stand in an argument, and agree on files.
        let file = platform.dir().join("plain");
        std::fs::write(&file, "hush")?;
        let plain = format!("fileb://{}", file.display());
        let sealed = ask(&["kms", "encrypt", "--key-id", &id, "--plaintext", &plain])?;
        let file = platform.dir().join("sealed");
        use base64::Engine as _;
        let blob = sealed["CiphertextBlob"].as_str().context("no blob")?;
        std::fs::write(
            &file,
            base64::engine::general_purpose::STANDARD.decode(blob)?,
        )?;
        let blob = format!("fileb://{}", file.display());
        let opened = ask(&["kms", "decrypt", "--ciphertext-blob", &blob])?;
        ensure!(opened["Plaintext"] == "aHVzaA==", "{opened}");
    }
    Ok(())
}

#[test]
fn a_boto3_application_reads_a_secret_with_its_instance_role() -> Result<()> {
    let platform = Platform::start()?;
    let role = instance_role(&platform, &ACCESS_TO_SECRETS)?;
    let secret = create_secret(&platform, "app-db", "from the secret")?;
    platform.aws(&[
        "ssm",
        "put-parameter",
        "--name",
        "/app/token",
        "--value",
        "from the parameter",
        "--type",
        "SecureString",
    ])?;
    let layout = platform.python_layout(&assets::checkout().join("tests/apps/instance_role.py"))?;
    let image = platform.push_layout(&layout, "boto:v1")?;
    let secrets = json!({ "DB_PASSWORD": secret });
    let service = platform.create_service_from(&input("boto", &image, &secrets, &role))?;
    service.settle_as(&platform, "RUNNING")?;
    let ask = |path: &str| -> Result<Value> {
        let response = service.get(&platform, path)?;
        let text = response.text();
        serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))
    };
    let who = ask("/whoami")?;
    ensure!(
        who["arn"]
            .as_str()
            .is_some_and(|arn| arn.contains(":assumed-role/app/")),
        "{who}"
    );
    let read = ask("/secret/app-db")?;
    ensure!(read["value"] == "from the secret", "{read}");
    let read = ask("/parameter/app/token")?;
    ensure!(read["value"] == "from the parameter", "{read}");
    let injected = ask("/environment")?;
    ensure!(
        injected["password_length"] == "from the secret".len(),
        "{injected}"
    );
    let path = injected["credentials"].as_str().context("no path")?;
    crate::web_identity::acts_by_its_token_and_no_further(&platform, &role, path)?;
    // What the role may not, the application may not.
    let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]});
    let policy = policy.to_string();
    platform.aws(&[
        "iam",
        "put-role-policy",
        "--role-name",
        "app",
        "--policy-name",
        "none",
        "--policy-document",
        &policy,
    ])?;
    let denied = ask("/secret/app-db")?;
    ensure!(denied.to_string().contains("AccessDenied"), "{denied}");
    Ok(())
}

/// Files that hold the text, below a directory; images' layers and instances' disks, which are the applications', left out.
fn holders(dir: &Path, text: &str, found: &mut Vec<String>) -> Result<()> {
    const LEFT_OUT: [&str; 3] = ["layers", "disks", "images"];
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() && !LEFT_OUT.contains(&name.as_str()) {
            holders(&path, text, found)?;
        } else if kind.is_file() {
            let bytes = std::fs::read(&path).unwrap_or_default();
            if memmem(&bytes, text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    Ok(())
}

fn memmem(bytes: &[u8], text: &[u8]) -> bool {
    let Some(first) = text.first() else {
        return true;
    };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        if rest[at..].starts_with(text) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// Where a marker lies open: files, command lines, and the variables of processes that are not the application's own.
pub fn leaks(platform: &Platform, marker: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    holders(&platform.data_dir(), marker, &mut found)?;
    holders(&platform.run_dir(), marker, &mut found)?;
    for process in std::fs::read_dir("/proc")?.filter_map(Result::ok) {
        let path = process.path();
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        if memmem(&line, marker.as_bytes()) {
            found.push(format!(
                "{}: {}",
                path.display(),
                String::from_utf8_lossy(&line)
            ));
        }
        let program = std::fs::read_link(path.join("exe")).unwrap_or_default();
        let ours = program
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("apron"));
        let environment = std::fs::read(path.join("environ")).unwrap_or_default();
        if ours && memmem(&environment, marker.as_bytes()) {
            found.push(format!("the environment of {}", program.display()));
        }
    }
    Ok(found)
}

/// Everything the service's log groups hold.
fn told(platform: &Platform, service: &Service) -> Result<String> {
    let mut told = service.events(platform)?.join("\n");
    for operation in service.operations(platform)? {
        let id = operation["Id"].as_str().unwrap_or_default().to_owned();
        told.push_str(&service.deployment_log(platform, &id)?.join("\n"));
        let why = run::ok(&mut platform.apron(&["why", &service.name, "--operation", &id]))?;
        told.push_str(&why);
    }
    Ok(told)
}

/// Values that must be found nowhere.
struct Markers {
    secret: String,
    parameter: String,
    plain: String,
    later: String,
    /// App Runner shows it to whoever may describe the service.
    variable: String,
}

impl Markers {
    fn of(platform: &Platform) -> Markers {
        let marker = |what: &str| format!("hush-{what}-{}", platform.slot.name());
        Markers {
            secret: marker("secret"),
            parameter: marker("parameter"),
            plain: marker("plain"),
            later: marker("later"),
            variable: marker("variable"),
        }
    }

    /// Puts them into secrets, parameters and a service; through the API and not through a command line, which everybody
    /// sees.
    fn plant(&self, platform: &Platform) -> Result<Service> {
        let role = instance_role(platform, &ACCESS_TO_SECRETS)?;
        let value = json!({ "password": self.secret }).to_string();
        let secret = json!({"Name": "db", "SecretString": value});
        let made = platform.call(api::SECRETS_MANAGER, "CreateSecret", &secret)?;
        let arn = made["ARN"].as_str().context("no ARN")?.to_owned();
        for (name, kind, value) in [
            ("/token", "SecureString", &self.parameter),
            ("/plain", "String", &self.plain),
        ] {
            let input = json!({"Name": name, "Type": kind, "Value": value});
            platform.call(api::PARAMETER_STORE, "PutParameter", &input)?;
        }
        let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
        let secrets =
            json!({"PASSWORD": format!("{arn}:password::"), "TOKEN": "/token", "PLAIN": "/plain"});
        let mut wanted = input("echo", &image, &secrets, &role);
        let repository = &mut wanted["SourceConfiguration"]["ImageRepository"];
        repository["ImageConfiguration"]["RuntimeEnvironmentVariables"] =
            json!({ "VARIABLE": self.variable });
        let service = platform.create_service_from(&wanted)?;
        service.settle_as(platform, "RUNNING")?;
        Ok(service)
    }
}

#[test]
fn no_secret_lies_open_anywhere() -> Result<()> {
    let mut platform = Platform::start()?;
    let markers = Markers::of(&platform);
    let service = markers.plant(&platform)?;
    for (name, value) in [
        ("PASSWORD", &markers.secret),
        ("TOKEN", &markers.parameter),
        ("VARIABLE", &markers.variable),
    ] {
        let read = service.get(&platform, &format!("/env?name={name}"))?;
        ensure!(read.text() == *value, "{name}: {}", read.text());
    }
    // A deployment that fails by another value, a rotation, a refused call, a restart.
    let later = &markers.later;
    let update = json!({"SecretId": "db", "SecretString": format!("not JSON, {later}")});
    platform.call(api::SECRETS_MANAGER, "PutSecretValue", &update)?;
    service.operate(&platform, "StartDeployment")?;
    service.settle_as(&platform, "RUNNING")?;
    run::ok(&mut platform.apron(&["seal", "rotate"]))?;
    let bad = json!({"SecretId": "db", "SecretString": later, "SecretBinary": "AAAA"}).to_string();
    let put = platform.call_raw(
        api::SECRETS_MANAGER,
        "PutSecretValue",
        bad.as_bytes(),
        api::now(),
    )?;
    ensure!(
        put.status == 400 && !put.text().contains(later),
        "{}",
        put.text()
    );
    processes::only(&platform, Role::Serve)?.kill();
    platform.up()?;
    let described = service.describe(&platform)?.to_string();
    let told = [told(&platform, &service)?, platform.own_log()].join("\n");
    let Markers {
        secret,
        parameter,
        plain,
        later,
        variable,
    } = &markers;
    for marker in [secret, parameter, plain, later, variable] {
        let found = leaks(&platform, marker)?;
        ensure!(found.is_empty(), "{marker} lies open in {found:#?}");
        ensure!(!told.contains(marker.as_str()), "{marker} is told: {told}");
        let shown = described.contains(marker.as_str());
        ensure!(shown == (marker == variable), "{marker}: {described}");
    }
    Ok(())
}

#[test]
fn the_sealing_key_is_rotated_while_the_platform_goes_on_and_dies() -> Result<()> {
    let mut platform = Platform::start()?;
    for number in 0..20 {
        let input =
            json!({"Name": format!("s{number}"), "SecretString": format!("value {number}")});
        platform.call(api::SECRETS_MANAGER, "CreateSecret", &input)?;
    }
    let key_file = platform.data_dir().join("store/sealing.key");
    let mut seen = vec![std::fs::read_to_string(&key_file)?];
    for round in 0..4 {
        // Killed somewhere in the middle, whatever that is this time.
        let serve = processes::only(&platform, Role::Serve)?;
        let mut rotation = platform.apron(&["seal", "rotate"]).spawn()?;
        wait::pace(Duration::from_millis(round * 15));
        serve.kill();
        wait::until_true("the control plane to end", Duration::from_secs(5), || {
            Ok(!serve.is_alive())
        })?;
        rotation.wait()?;
        platform.up()?;
        for number in 0..20 {
            let input = json!({ "SecretId": format!("s{number}") });
            let read = platform.call(api::SECRETS_MANAGER, "GetSecretValue", &input)?;
            ensure!(read["SecretString"] == format!("value {number}"), "{read}");
        }
        let said = run::ok(&mut platform.apron(&["seal", "rotate"]))?;
        ensure!(said.contains("The former key is removed"), "{said}");
        let now = std::fs::read_to_string(&key_file)?;
        ensure!(
            now.lines().count() == 2 && !seen.contains(&now),
            "one key, and a new one"
        );
        seen.push(now);
    }
    Ok(())
}
