//! `apron`: the control plane (`apron serve`) and the operator's command line.

mod audit;
mod client;
mod config;
mod connect;
mod credentials;
mod deploy;
mod down;
mod env;
mod identity;
mod issuer;
mod operate;
mod paths;
mod process;
mod proxy;
mod registry;
mod root_key;
mod seal;
mod serve;
mod status;
mod trust;
mod up;

use clap::{Parser, Subcommand};
use paths::Paths;
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Apron: a self-hosted platform that speaks the AWS App Runner API and runs the containers.
#[derive(Parser)]
#[command(name = "apron", version)]
struct Arguments {
    /// Where the platform keeps what must survive a reboot.
    #[arg(
        long,
        global = true,
        env = "APRON_DATA_DIR",
        default_value = "/var/lib/apron"
    )]
    data_dir: PathBuf,
    /// Where the platform keeps sockets and notes about running processes.
    #[arg(
        long,
        global = true,
        env = "APRON_RUN_DIR",
        default_value = "/run/apron"
    )]
    run_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Set the platform up on this machine if it is not, and start it.
    Up,
    /// Stop the platform and all instances.
    Down {
        /// Also remove everything the platform has stored.
        #[arg(long)]
        purge: bool,
    },
    /// Print the environment that AWS clients need, for `eval "$(apron env)"`.
    Env,
    /// Make this machine trust the local certificate authority: system-wide and for container tools.
    Trust {
        /// Undo it.
        #[arg(long)]
        remove: bool,
    },
    /// Say what runs.
    Status,
    /// Deploy what a service ran before.
    Rollback {
        /// The service's name or ARN.
        service: String,
    },
    /// Cancel the deployment of a service that is under way; what serves goes on.
    Cancel {
        /// The service's name or ARN.
        service: String,
    },
    /// Say how the newest operation of a service went, and why it failed.
    Why {
        /// The service's name or ARN.
        service: String,
        /// Another operation than the newest.
        #[arg(long)]
        operation: Option<String>,
    },
    /// Complete the handshake of a connection, as App Runner's console does, with the credentials its repositories are read with.
    Connect(connect::Connect),
    /// Deploy the files of a directory as a service, and follow that to its end.
    Deploy(deploy::Deploy),
    /// The records of who did what.
    Audit {
        #[command(subcommand)]
        command: audit::Command,
    },
    /// Credentials of other image registries.
    Registry {
        #[command(subcommand)]
        command: registry::Command,
    },
    /// The keys with which the platform vouches for its instances.
    Issuer {
        #[command(subcommand)]
        command: issuer::Command,
    },
    /// The access key of the account's root user.
    RootKey {
        #[command(subcommand)]
        command: root_key::Command,
    },
    /// The key that seals secrets in the database.
    Seal {
        #[command(subcommand)]
        command: seal::Command,
    },
    /// The data plane's process.
    Proxy {
        #[command(subcommand)]
        command: proxy::Command,
    },
    /// Run the control plane in the foreground.
    Serve {
        /// Leave the terminal's session, as `apron up` asks.
        #[arg(long, hide = true)]
        detach: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let paths = Paths::new(arguments.data_dir, arguments.run_dir);
    let result = match arguments.command {
        Command::Up => up::up(&paths),
        Command::Down { purge } => down::down(&paths, purge),
        Command::Env => env::print(&paths),
        Command::Trust { remove } => trust::trust(&paths, remove),
        Command::Status => status::status(&paths),
        Command::Rollback { service } => operate::roll_back(&paths, &service),
        Command::Cancel { service } => operate::cancel(&paths, &service),
        Command::Why { service, operation } => operate::why(&paths, &service, operation),
        Command::Connect(arguments) => connect::connect(&paths, arguments),
        Command::Deploy(arguments) => deploy::deploy(&paths, arguments),
        Command::Audit { command } => audit::audit(&paths, &command),
        Command::Registry { command } => registry::registry(&paths, command),
        Command::Issuer { command } => issuer::issuer(&paths, &command),
        Command::RootKey { command } => root_key::root_key(&paths, &command),
        Command::Seal { command } => seal::seal(&paths, &command),
        Command::Proxy { command } => proxy::proxy(&paths, command),
        Command::Serve { detach } => serve::serve(&paths, detach),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("apron: {error:#}");
            ExitCode::FAILURE
        }
    }
}
