//! The root user's access key from its first showing to its end, on the command line.

use crate::secrets::leaks;
use anyhow::{Context, Result, ensure};
use apron_e2e::{Platform, Settings, run};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// The access key that a command showed.
fn shown(text: &str) -> Option<(String, String)> {
    let value = |name: &str| {
        let mut lines = text.lines().map(str::trim);
        let found = lines.find_map(|line| line.strip_prefix(&format!("export {name}=")));
        found.map(|it| it.trim_matches('\'').to_owned())
    };
    Some((value("AWS_ACCESS_KEY_ID")?, value("AWS_SECRET_ACCESS_KEY")?))
}

/// Asks the platform as the holder of this key, with a stock command line.
fn ask(platform: &Platform, key: &(String, String)) -> Result<Command> {
    let mut command = platform.aws_v2(&["sts", "get-caller-identity"])?;
    command
        .env("AWS_ACCESS_KEY_ID", &key.0)
        .env("AWS_SECRET_ACCESS_KEY", &key.1);
    Ok(command)
}

#[test]
fn the_root_key_is_shown_once_rotated_forgotten_and_made_anew() -> Result<()> {
    let mut platform = Platform::prepare(&Settings::default())?;
    let said = run::ok(&mut platform.apron(&["up"]))?;
    let first = shown(&said).with_context(|| format!("the first start shows no key: {said}"))?;
    platform.up()?;
    let again = run::ok(&mut platform.apron(&["up"]))?;
    ensure!(shown(&again).is_none(), "shown twice: {again}");
    run::ok(&mut ask(&platform, &first)?)?;
    let copy = platform.data_dir().join("root-key.json");
    let mode = std::fs::metadata(&copy)?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "{mode:o}");
    let clear = leaks(&platform, &first.1)?;
    ensure!(
        clear == [copy.display().to_string()],
        "the key is in clear in {clear:?}"
    );

    let said = run::ok(&mut platform.apron(&["root-key", "rotate"]))?;
    let second = shown(&said).context("rotation shows no key")?;
    run::ok(&mut ask(&platform, &second)?)?;
    let refused = run::fails(&mut ask(&platform, &first)?)?;
    ensure!(refused.contains("InvalidClientTokenId"), "{refused}");
    run::ok(&mut platform.apron(&["registry", "list"]))?;

    run::ok(&mut platform.apron(&["root-key", "forget"]))?;
    let clear = leaks(&platform, &second.1)?;
    ensure!(clear.is_empty(), "the key is in clear in {clear:?}");
    let said = run::fails(&mut platform.apron(&["registry", "list"]))?;
    ensure!(said.contains("root-key reset"), "{said}");
    let endpoint = platform.variable("AWS_ENDPOINT_URL")?.to_owned();
    let mut by_environment = platform.apron(&["registry", "list"]);
    by_environment
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_ACCESS_KEY_ID", &second.0)
        .env("AWS_SECRET_ACCESS_KEY", &second.1);
    run::ok(&mut by_environment)?;
    by_environment
        .env("AWS_ACCESS_KEY_ID", &first.0)
        .env("AWS_SECRET_ACCESS_KEY", &first.1);
    let said = run::fails(&mut by_environment)?;
    ensure!(
        said.contains(&first.0) && said.contains("is not in force"),
        "{said}"
    );

    let said = run::ok(&mut platform.apron(&["root-key", "reset"]))?;
    let third = shown(&said).context("no key is shown")?;
    run::ok(&mut ask(&platform, &third)?)?;
    let refused = run::fails(&mut ask(&platform, &second)?)?;
    ensure!(refused.contains("InvalidClientTokenId"), "{refused}");
    platform.up()?;
    let events = platform.aws(&[
        "cloudtrail",
        "lookup-events",
        "--lookup-attributes",
        "AttributeKey=EventName,AttributeValue=CreateAccessKey",
    ])?;
    let events = events.to_string();
    for (id, secret) in [&first, &second, &third] {
        ensure!(
            events.contains(id.as_str()),
            "{id} is not recorded: {events}"
        );
        ensure!(!events.contains(secret.as_str()), "a secret is recorded");
    }
    Ok(())
}
