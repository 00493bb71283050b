//! An unmodified boto3 application acts as a role that trusts its token, and gets no further than that.

use anyhow::{Context, Result, ensure};
use apron_e2e::{Platform, Service, assets, run, service};
use serde_json::{Value, json};

const AUDIENCE: &str = "sts.amazonaws.com";

/// The issuer's URL, as everybody reads it.
fn issuer(platform: &Platform) -> Result<String> {
    let read = |path: &str| -> Result<Value> {
        let response = platform.api_target()?.request("GET", path, &[], &[])?;
        serde_json::from_str(&response.text())
            .with_context(|| format!("{path}: {}", response.text()))
    };
    let configuration = read("/.well-known/openid-configuration")?;
    let issuer = configuration["issuer"].as_str().context("no issuer")?;
    ensure!(configuration["jwks_uri"] == format!("{issuer}/.well-known/jwks.json"));
    let keys = read("/.well-known/jwks.json")?;
    ensure!(
        keys["keys"][0]["alg"] == "RS256" && keys["keys"][0].get("d").is_none(),
        "{keys}"
    );
    Ok(issuer.to_owned())
}

/// A role that trusts the tokens of a service, with these actions.
fn federated_role(platform: &Platform, subject: &str, actions: &[&str]) -> Result<String> {
    let issuer = issuer(platform)?;
    let provider = [
        "iam",
        "create-open-id-connect-provider",
        "--url",
        &issuer,
        "--client-id-list",
        AUDIENCE,
    ];
    let provider = platform.aws(&provider)?;
    let provider = provider["OpenIDConnectProviderArn"]
        .as_str()
        .context("no ARN")?;
    let name = issuer.trim_start_matches("https://");
    let condition =
        json!({"StringEquals": {format!("{name}:sub"): subject, format!("{name}:aud"): AUDIENCE}});
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": {"Federated": provider}, "Action": "sts:AssumeRoleWithWebIdentity", "Condition": condition}]});
    let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]});
    let (trust, policy) = (trust.to_string(), policy.to_string());
    let made = platform.aws(&[
        "iam",
        "create-role",
        "--role-name",
        "federated",
        "--assume-role-policy-document",
        &trust,
    ])?;
    platform.aws(&[
        "iam",
        "put-role-policy",
        "--role-name",
        "federated",
        "--policy-name",
        "p",
        "--policy-document",
        &policy,
    ])?;
    let arn = made["Role"]["Arn"].as_str().context("no ARN")?;
    Ok(arn.to_owned())
}

/// Runs an application with a token, whose instance role is `role`, beside another one, and lets it attack.
pub fn acts_by_its_token_and_no_further(
    platform: &Platform,
    role: &str,
    others_credentials: &str,
) -> Result<()> {
    let account = role.split(':').nth(4).context("no account")?;
    let subject = format!("account:{account}:service:attacker:role:app");
    let federated = federated_role(platform, &subject, &["secretsmanager:GetSecretValue"])?;
    let layout = platform.python_layout(&assets::checkout().join("tests/apps/attacker.py"))?;
    let image = platform.push_layout(&layout, "attacker:v1")?;
    let mut input = service::create_input("attacker", &image);
    input["InstanceConfiguration"]["InstanceRoleArn"] = json!(role);
    input["Tags"] = json!([{"Key": "apron:web-identity", "Value": federated}]);
    let service = platform.create_service_from(&input)?;
    service.settle_as(platform, "RUNNING")?;
    // The token that it has was signed with a key that signs no more.
    let told = run::ok(&mut platform.apron(&["issuer", "rotate", "--at-once"]))?;
    ensure!(told.contains("is published, and signs from"), "{told}");
    let who = ask(&service, platform, "/whoami")?;
    let arn = who["arn"].as_str().unwrap_or_default();
    ensure!(arn.contains(":assumed-role/federated/"), "{who}");
    let read = ask(&service, platform, "/secret/app-db")?;
    ensure!(read["value"] == "from the secret", "{read}");
    let storage = platform.data_dir().join("images");
    ensure!(storage.exists());
    let path = format!(
        "/attempts?credentials={others_credentials}&storage={}",
        storage.display()
    );
    let tried = ask(&service, platform, &path)?;
    for (attempt, part) in [
        ("trace-init", "Operation not permitted"),
        ("trace-others", "0"),
        ("memory-of-init", "PermissionError"),
        ("others-credentials", "403"),
        ("guessed-credentials", "403"),
        ("unsigned-call", "MissingAuthenticationToken"),
        ("registry", "404"),
        ("git", "404"),
        ("storage", "False"),
        ("token", "Read-only file system"),
    ] {
        let came_to = tried[attempt].as_str().unwrap_or_default();
        ensure!(came_to.contains(part), "{attempt}: {tried:#}");
    }
    Ok(())
}

fn ask(service: &Service, platform: &Platform, path: &str) -> Result<Value> {
    let text = service.get(platform, path)?.text();
    serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))
}
