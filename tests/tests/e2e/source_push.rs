//! Source code that comes to the platform itself: `git push` to its own endpoint, and `apron deploy`.

use crate::source::write_application;
use anyhow::{Result, ensure};
use apron_e2e::git::{Repository, git};
use apron_e2e::{Platform, run};
use std::process::Command;

/// `git push` of the directory's head, signed in with a secret access key.
fn push(platform: &Platform, work: &Repository, name: &str, secret: &str) -> Result<Command> {
    let user = platform.variable("AWS_ACCESS_KEY_ID")?;
    Ok(push_as(platform, work, name, user, secret))
}

/// `git push` of the directory's head with this user name and password.
pub fn push_as(
    platform: &Platform,
    work: &Repository,
    name: &str,
    user: &str,
    password: &str,
) -> Command {
    let helper = format!("!f() {{ echo 'username={user}'; echo 'password={password}'; }}; f");
    let mut command = git(work.dir());
    command
        .env("GIT_SSL_CAINFO", platform.ca())
        .args(["-c", &format!("credential.helper={helper}")])
        .args(["push"])
        .arg(format!("https://{}/git/{name}.git", platform.registry()))
        .arg("main");
    command
}

#[test]
fn a_push_is_built_deployed_and_answered_with_its_log() -> Result<()> {
    let platform = Platform::start()?;
    let _bases = platform.serve_python_base()?;
    let secret = platform.variable("AWS_SECRET_ACCESS_KEY")?.to_owned();
    let work = Repository::at(platform.dir().join("work"))?;
    write_application(&work, "", "v1")?;
    work.commit()?;
    let refused = run::fails(&mut push(&platform, &work, "pushed", "wrong")?)?;
    ensure!(refused.contains("Authentication failed"), "{refused}");
    let told = run::output(&mut push(&platform, &work, "pushed", &secret)?, None)?;
    ensure!(told.status.success(), "{told:?}");
    for part in [
        "remote: The service pushed is created.",
        "remote: [Build]",
        "remote: Deployed: https://",
    ] {
        ensure!(
            told.stderr.contains(part),
            "{part} is missing in\n{}",
            told.stderr
        );
    }
    let service = platform.service("pushed")?;
    ensure!(service.version(&platform)? == "v1");

    write_application(&work, "", "v2")?;
    work.commit()?;
    let told = run::output(&mut push(&platform, &work, "pushed", &secret)?, None)?;
    ensure!(told.status.success(), "{told:?}");
    ensure!(service.version(&platform)? == "v2");

    // A build that fails is not taken: the remote says why, and the branch stays where it was.
    let file = std::fs::read_to_string(work.dir().join("apprunner.yaml"))?;
    work.write("apprunner.yaml", &file.replace("echo building", "exit 9"))?;
    work.commit()?;
    for _ in 0..2 {
        let told = run::output(&mut push(&platform, &work, "pushed", &secret)?, None)?;
        ensure!(!told.status.success(), "{told:?}");
        for part in ["exit code 9", "[remote rejected]", "failed to build"] {
            ensure!(
                told.stderr.contains(part),
                "{part} is missing in\n{}",
                told.stderr
            );
        }
    }
    ensure!(service.version(&platform)? == "v2");
    Ok(())
}

#[test]
fn a_directory_is_deployed_with_one_command() -> Result<()> {
    let platform = Platform::start()?;
    let _bases = platform.serve_python_base()?;
    let work = platform.dir().join("hello");
    let repository = Repository::at(work.clone())?;
    // The command does not need a repository.
    std::fs::remove_dir_all(work.join(".git"))?;
    write_application(&repository, "", "one")?;
    repository.write(".gitignore", "secret.txt\n")?;
    repository.write("secret.txt", "not for the server")?;
    let deploy = || {
        let mut command = platform.apron(&["deploy"]);
        command.arg(&work).env("HOME", platform.dir());
        command
    };
    let told = run::ok(&mut deploy())?;
    for part in ["Building as apprunner.yaml says.", "[Build]", "https://"] {
        ensure!(told.contains(part), "{part} is missing in\n{told}");
    }
    let service = platform.service("hello")?;
    ensure!(service.version(&platform)? == "one");
    write_application(&repository, "", "two")?;
    run::ok(&mut deploy())?;
    ensure!(service.version(&platform)? == "two");
    let sent = platform.data_dir().join("repositories/hello.git");
    let listed = run::ok(git(&sent).args(["ls-tree", "-r", "--name-only", "main"]))?;
    ensure!(
        listed.contains("main.py") && !listed.contains("secret.txt"),
        "{listed}"
    );

    let file = std::fs::read_to_string(work.join("apprunner.yaml"))?;
    repository.write(
        "apprunner.yaml",
        &file.replace("echo building", "echo oh no && exit 3"),
    )?;
    let failed = run::output(&mut deploy(), None)?;
    ensure!(!failed.status.success(), "{failed:?}");
    ensure!(
        failed.stderr.contains("exit code 3") && failed.stderr.contains("oh no"),
        "{failed:?}"
    );
    ensure!(service.version(&platform)? == "two");
    Ok(())
}
