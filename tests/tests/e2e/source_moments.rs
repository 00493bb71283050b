//! Pushes by people with and without permission, while another operation is under way, and around a `kill -9` of the
//! platform in the middle of a build. Builds stand still where the test wants them to, until it lets them go on.

use crate::kill_control::kill_and_restart;
use crate::source::write_application;
use crate::source_push::push_as;
use anyhow::{Context, Result, ensure};
use apron_e2e::git::Repository;
use apron_e2e::processes::{self, Process, Role};
use apron_e2e::{Platform, aws, run, wait};
use serde_json::Value;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

/// A program in a build that ends only when the test ends it.
const STANDING: &str = "sleep 86397";

/// Longest wait for a step of a build, a push or an operation.
const SOON: Duration = Duration::from_secs(120);

/// An access key, with a session token if it is temporary.
struct Credentials {
    id: String,
    secret: String,
    token: Option<String>,
}

impl Credentials {
    /// From what IAM or STS answered.
    fn of(answer: &Value) -> Result<Credentials> {
        let text = |member: &str| answer[member].as_str().map(str::to_owned);
        Ok(Credentials {
            id: text("AccessKeyId").context("no AccessKeyId")?,
            secret: text("SecretAccessKey").context("no SecretAccessKey")?,
            token: text("SessionToken"),
        })
    }

    /// The platform's own.
    fn own(platform: &Platform) -> Result<Credentials> {
        Ok(Credentials {
            id: platform.variable("AWS_ACCESS_KEY_ID")?.to_owned(),
            secret: platform.variable("AWS_SECRET_ACCESS_KEY")?.to_owned(),
            token: None,
        })
    }

    /// The user name for git.
    fn user(&self) -> String {
        match &self.token {
            Some(token) => format!("{}%{token}", self.id),
            None => self.id.clone(),
        }
    }
}

/// A `git push` of the work's head that goes on beside the test.
struct Pushing {
    child: Child,
    told: PathBuf,
}

impl Pushing {
    fn begin(
        platform: &Platform,
        work: &Repository,
        by: &Credentials,
        number: u32,
    ) -> Result<Pushing> {
        let told = platform.dir().join(format!("push-{number}"));
        let mut command = push_as(platform, work, "moments", &by.user(), &by.secret);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(File::create(&told)?).spawn()?;
        Ok(Pushing { child, told })
    }

    /// What it has said so far.
    fn told(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.told)?)
    }

    fn end(&mut self) -> Result<ExitStatus> {
        wait::until("a push to end", SOON, || Ok(self.child.try_wait()?))
    }
}

impl Drop for Pushing {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A version whose build stands still.
fn write_standing(work: &Repository, version: &str) -> Result<()> {
    write_application(work, "", version)?;
    let file = fs::read_to_string(work.dir().join("apprunner.yaml"))?;
    let file = file.replace("echo building", &format!("{STANDING} || echo goes on"));
    work.write("apprunner.yaml", &file)?;
    work.commit().map(drop)
}

/// The program that a build stands at, once it does.
fn standing(platform: &Platform, other_than: Option<&Process>) -> Result<Process> {
    wait::until("a build to stand still", SOON, || {
        let inside = processes::of_role(platform, Role::Application)?;
        let mut found = inside.into_iter().filter(|p| p.command == STANDING);
        Ok(found.find(|p| other_than.is_none_or(|other| other.pid != p.pid)))
    })
}

#[test]
fn pushes_meet_permissions_other_operations_and_a_killed_platform() -> Result<()> {
    let mut platform = Platform::start()?;
    let _bases = platform.serve_python_base()?;
    let work = Repository::at(platform.dir().join("work"))?;
    write_standing(&work, "v1")?;
    let own = Credentials::own(&platform)?;
    let stranger = stranger(&platform)?;
    denied(&platform, &work, &stranger, "CreateService")?;
    let session = session(&platform)?;
    wrong(&platform, &work, &session)?;

    // The service is created by a push that stands in its build, while the next push comes.
    let mut first = Pushing::begin(&platform, &work, &session, 1)?;
    let build = standing(&platform, None)?;
    write_application(&work, "", "v2")?;
    work.commit()?;
    let mut second = Pushing::begin(&platform, &work, &own, 2)?;
    let waits = "An operation is under way: this is deployed when it has ended.";
    wait::until_true("the second push to wait", SOON, || {
        Ok(second.told()?.contains(waits))
    })?;
    build.kill();
    ensure!(first.end()?.success(), "{}", first.told()?);
    ensure!(second.end()?.success(), "{}", second.told()?);
    let service = platform.service("moments")?;
    let deployed = format!(
        "Deployed: https://{}:{}",
        service.url,
        platform.https_port()
    );
    for push in [&first, &second] {
        let told = push.told()?;
        ensure!(told.contains(&deployed), "{deployed} is missing in\n{told}");
    }
    ensure!(service.version(&platform)? == "v2");
    denied(&platform, &work, &stranger, "StartDeployment")?;
    killed(&mut platform, &work, &own)
}

/// The platform is killed in the middle of a build: the next one begins the build anew and deploys it.
fn killed(platform: &mut Platform, work: &Repository, own: &Credentials) -> Result<()> {
    write_standing(work, "v3")?;
    let push = Pushing::begin(platform, work, own, 3)?;
    let before = standing(platform, None)?;
    kill_and_restart(platform)?;
    let again = standing(platform, Some(&before))?;
    wait::until_true("what was left of the build to end", SOON, || {
        Ok(!before.is_alive())
    })?;
    drop(push);
    again.kill();
    let service = platform.service("moments")?;
    service.wait_for_version(platform, "v3", SOON)?;
    service.settle_as(platform, "RUNNING")?;
    let newest = &service.operations(platform)?[0];
    ensure!(newest["Status"] == "SUCCEEDED", "{newest}");
    wait::until_true("instances of builds to end", SOON, || {
        Ok(processes::of_role(platform, Role::Shim)?.len() == 1)
    })
}

/// A user without any permission.
fn stranger(platform: &Platform) -> Result<Credentials> {
    user(platform, "eve")
}

fn user(platform: &Platform, name: &str) -> Result<Credentials> {
    platform.aws(&["iam", "create-user", "--user-name", name])?;
    let made = platform.aws(&["iam", "create-access-key", "--user-name", name])?;
    Credentials::of(&made["AccessKey"])
}

/// Temporary credentials of a user who may do everything.
fn session(platform: &Platform) -> Result<Credentials> {
    let ann = user(platform, "ann")?;
    let policy = "arn:aws:iam::aws:policy/AdministratorAccess";
    let attach = ["iam", "attach-user-policy", "--user-name", "ann"];
    platform.aws(&[&attach[..], &["--policy-arn", policy]].concat())?;
    let mut ask = platform.aws_v1(&["sts", "get-session-token"])?;
    ask.env("AWS_ACCESS_KEY_ID", &ann.id)
        .env("AWS_SECRET_ACCESS_KEY", &ann.secret);
    let answer = aws::json(&run::ok(&mut ask)?)?;
    Credentials::of(&answer["Credentials"])
}

/// A push without permission says what is missing.
fn denied(platform: &Platform, work: &Repository, by: &Credentials, action: &str) -> Result<()> {
    let mut push = push_as(platform, work, "moments", &by.user(), &by.secret);
    let said = run::fails(&mut push)?;
    let missing = format!("user/eve is not authorized to perform: apprunner:{action}");
    ensure!(said.contains(&missing), "{said}");
    Ok(())
}

/// Neither a key alone nor another token is a session's, and no key is everybody's.
fn wrong(platform: &Platform, work: &Repository, session: &Credentials) -> Result<()> {
    let token = session.token.as_deref().unwrap_or_default();
    for (user, secret) in [
        (session.id.clone(), session.secret.as_str()),
        (format!("{}%{}", session.id, &token[1..]), &session.secret),
        (session.user(), "wrong"),
        ("AKIAIOSFODNN7EXAMPLE".to_owned(), &session.secret),
    ] {
        let said = run::fails(&mut push_as(platform, work, "moments", &user, secret))?;
        ensure!(said.contains("Authentication failed"), "{user}: {said}");
    }
    Ok(())
}
