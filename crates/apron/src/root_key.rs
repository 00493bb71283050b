//! `apron root-key`: the access key of the account's root user, as this machine's operator keeps it.

pub mod file;

use crate::client;
use crate::config::Config;
use crate::credentials::{self, Credentials};
use crate::paths::Paths;
use crate::process::running;
use crate::serve::require_root;
use anyhow::{Context, Result, bail};
use apron_aws::model::{iam, sts};
use clap::Subcommand;
use file::RootKey;
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// How long the control plane may take to take a key over.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What to do with the key.
#[derive(Subcommand)]
pub enum Command {
    /// Make another key, sign with it on this machine from now on, and delete the former one.
    Rotate {
        /// Leave the former key in force, until `aws iam delete-access-key` ends it.
        #[arg(long)]
        keep: bool,
    },
    /// Make a key without having one, where it was lost or somebody else has it. All former keys end.
    Reset,
    /// Remove this machine's copy of the key. The command line then signs with what the environment has.
    Forget,
}

/// Does what is asked.
pub fn root_key(paths: &Paths, command: &Command) -> Result<()> {
    match command {
        Command::Rotate { keep } => rotate(paths, *keep),
        Command::Reset => reset(paths),
        Command::Forget => forget(paths),
    }
}

/// Makes and deletes keys as every IAM client can, who signs as the root user.
fn rotate(paths: &Paths, keep: bool) -> Result<()> {
    let former = credentials::find(paths, &Config::read(paths)?)?;
    let caller = client::query(paths, sts(), "GetCallerIdentity", &[], &former)?;
    if !caller.element("Arn")?.ends_with(":root") {
        bail!(
            "the access key {} is not the root user's: {}",
            former.access_key_id,
            caller.element("Arn")?
        );
    }
    let made = client::query(paths, iam(), "CreateAccessKey", &[], &former).context(
        "no other key could be made; the root user has two at most (`aws iam list-access-keys`)",
    )?;
    let key = RootKey {
        access_key_id: made.element("AccessKeyId")?.to_owned(),
        secret_access_key: made.element("SecretAccessKey")?.to_owned(),
    };
    // Before anything else can fail: nobody will show it again.
    show(&key);
    if paths.root_key().exists() {
        file::write(&paths.root_key(), &key)?;
        println!("{} has it.", paths.root_key().display());
    }
    if keep {
        println!("The former key {} is in force too.", former.access_key_id);
        return Ok(());
    }
    let parameters = [("AccessKeyId", former.access_key_id.as_str())];
    let signer = Credentials::from(key);
    client::query(paths, iam(), "DeleteAccessKey", &parameters, &signer)
        .with_context(|| format!("the former key {} is in force still", former.access_key_id))?;
    println!(
        "The former key {} is deleted. Shells that have it need `eval \"$(apron env)\"` again.",
        former.access_key_id
    );
    Ok(())
}

/// Whoever may write the platform's data needs no key for this.
fn reset(paths: &Paths) -> Result<()> {
    require_root()?;
    if !paths.identity().exists() {
        bail!("the platform is not set up: `apron up` makes the first key");
    }
    let key = file::hand_over(paths)?;
    let Some(serve) = running(paths).and_then(Pid::from_raw) else {
        println!("`apron up` puts a new key in force and shows it; all former keys end with that.");
        return Ok(());
    };
    kill_process(serve, Signal::HUP).context("cannot ask the control plane")?;
    let deadline = Instant::now() + TAKEN_WITHIN;
    while paths.new_root_key().exists() {
        if Instant::now() > deadline {
            bail!(
                "the control plane has not taken the new key over within {} seconds; see its log ({} or the journal of its \
                 unit). It does at its next start",
                TAKEN_WITHIN.as_secs(),
                paths.own_log().display()
            );
        }
        std::thread::sleep(LOOK_EVERY);
    }
    show(&key);
    println!(
        "{} has it. All former keys have ended.",
        paths.root_key().display()
    );
    Ok(())
}

fn forget(paths: &Paths) -> Result<()> {
    let path = paths.root_key();
    if file::read(&path)?.is_none() {
        println!("This machine has no copy of the key.");
        return Ok(());
    }
    std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    println!("{} is removed. {}", path.display(), credentials::ADVICE);
    Ok(())
}

/// Shows a key, which happens once.
pub fn show(key: &RootKey) {
    println!("The root user's access key, which is shown this once:");
    key.show();
}
