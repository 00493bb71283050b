//! `apron up`: set up what is missing, start what does not run, wait until it answers.

pub mod systemd;

use crate::client;
use crate::config::Config;
use crate::identity::Identity;
use crate::paths::Paths;
use crate::process;
use crate::root_key;
use crate::serve::require_root;
use anyhow::{Context, Result, bail};
use apron_control::certificates::Authority;
use apron_control::clock::{Clock, Machine};
use apron_link::environment;
use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take.
const START_WITHIN: Duration = Duration::from_secs(60);

/// Lines of the platform's log shown when it does not start.
const LOG_LINES: usize = 15;

/// Sets up and starts the platform; quick and without effect when it runs already.
pub fn up(paths: &Paths) -> Result<()> {
    require_root()?;
    make_directories(paths)?;
    Config::write_default(paths)?;
    let config = Config::read(paths)?;
    let identity = Identity::read_or_make(paths, config.account_id.as_deref())?;
    // The control plane takes it over when it starts.
    let new_key = root_key::file::read(&paths.new_root_key())?;
    let seconds = i64::try_from(Machine.now().0 / 1000)?;
    Authority::open(
        paths.data(),
        time::OffsetDateTime::from_unix_timestamp(seconds)?,
    )?;
    start(paths, &config)?;
    println!("Apron runs.");
    println!("  API       {}", config.endpoint());
    println!("  registry  {}", config.registry_host(&identity.account_id));
    println!(
        "  services  https://<service>.{}.{}{}",
        config.region,
        config.domain,
        port(&config)
    );
    println!("  account   {}", identity.account_id);
    println!("  settings  {}", paths.config().display());
    if let Some(key) = new_key {
        root_key::show(&key);
        println!(
            "This machine's command line signs with its copy in {}; `apron root-key forget` removes that.",
            paths.root_key().display()
        );
    }
    println!(
        "Next: eval \"$(apron env)\"; `apron trust` makes this machine trust the certificates."
    );
    Ok(())
}

fn port(config: &Config) -> String {
    match config.listen.https.first().map(|a| a.port()) {
        None | Some(443) => String::new(),
        Some(port) => format!(":{port}"),
    }
}

/// Makes the directories: the two may be passed through; what applications wrote, brought and are built from is nobody's on the
/// machine to read, or to run: an image may have programs that act as root.
pub fn make_directories(paths: &Paths) -> Result<()> {
    let open = [paths.data().to_owned(), paths.run().to_owned()];
    let closed = [paths.node_data(), paths.source(), paths.repositories()];
    let open = open.into_iter().map(|path| (path, 0o711));
    for (path, mode) in open.chain(closed.into_iter().map(|path| (path, 0o700))) {
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        if mode == 0o700 {
            std::fs::set_permissions(&path, Permissions::from_mode(mode))
                .with_context(|| format!("cannot close {} to others", path.display()))?;
        }
    }
    Ok(())
}

fn start(paths: &Paths, config: &Config) -> Result<()> {
    if let Some(pid) = process::running(paths) {
        if process::is_this_program(pid) {
            return wait(paths, config, None);
        }
        println!("Another version runs: it is replaced, instances and traffic go on.");
        process::end(paths, START_WITHIN)?;
    }
    if systemd::is_in_charge(paths) {
        systemd::start()?;
        return wait(paths, config, None);
    }
    let child = spawn(paths)?;
    wait(paths, config, Some(child))
}

fn spawn(paths: &Paths) -> Result<Child> {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(paths.own_log());
    let log = log.with_context(|| format!("cannot open {}", paths.own_log().display()))?;
    let mut command =
        Command::new(std::env::current_exe().context("cannot find this program's path")?);
    command
        .arg("--data-dir")
        .arg(paths.data())
        .arg("--run-dir")
        .arg(paths.run())
        .args(["serve", "--detach"])
        .envs(environment::tuning())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    command.spawn().context("cannot start the control plane")
}

/// Waits until the API answers; says why when it does not.
fn wait(paths: &Paths, config: &Config, mut child: Option<Child>) -> Result<()> {
    let deadline = Instant::now() + START_WITHIN;
    loop {
        let Err(error) = client::health(paths, config) else {
            return Ok(());
        };
        if let Some(child) = child.as_mut()
            && let Some(status) = child.try_wait()?
        {
            bail!(
                "the control plane ended ({status}).\n{}",
                tail(&paths.own_log())
            );
        }
        if Instant::now() > deadline {
            bail!(
                "the control plane does not answer within {} seconds: {error:#}\n{}",
                START_WITHIN.as_secs(),
                tail(&paths.own_log())
            );
        }
        std::thread::sleep(Duration::from_millis(25));
    }
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines
        .get(lines.len().saturating_sub(LOG_LINES)..)
        .unwrap_or_default();
    format!("The end of {}:\n{}", path.display(), last.join("\n"))
}
