//! From what is asked for and what the image says to what the shim does. Pure.

use crate::cgroup::Group;
use apron_compute::{InstanceClass, InstanceSpec};
use apron_link::instance::{Plan, VERSION};
use apron_oci::ImageConfig;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Longest host name Linux takes, in bytes.
const HOSTNAME_BYTES_MAX: usize = 63;

/// Open files an instance may have, as under Fargate.
const OPEN_FILES_MAX: u64 = 65_535;

/// Part of the memory limit that `/dev/shm` may take; what is in it counts as memory anyway.
const SHM_DIVISOR: u64 = 2;

/// Search path when the image sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a plan is made from besides the specification.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// How the image wants to be run.
    pub config: &'a ImageConfig,
    /// Its layers, the topmost first.
    pub layers: &'a [String],
    /// What they are relative to.
    pub layers_directory: PathBuf,
    /// Number of the network slot.
    pub slot: u32,
    /// The machine's id for its user 0, when it has users of its own.
    pub users: Option<u32>,
    /// Its address.
    pub address: Ipv4Addr,
    /// Name servers.
    pub resolvers: &'a [Ipv4Addr],
    /// Control groups.
    pub group: Group,
}

/// Makes the plan, or says why there is no program to run.
pub fn plan(spec: &InstanceSpec, surroundings: Surroundings<'_>) -> Result<Plan, String> {
    let Surroundings {
        config,
        layers,
        layers_directory,
        slot,
        users,
        address,
        resolvers,
        group,
    } = surroundings;
    let hostname = hostname(&spec.service_name, spec.id.as_str());
    Ok(Plan {
        version: VERSION,
        id: spec.id.to_string(),
        service: spec.service.to_string(),
        revision: spec.revision,
        cpu_millis: spec.cpu_millis,
        image: spec.image.to_string(),
        slot,
        address: (address, spec.port).into(),
        args: arguments(spec.start_command.as_deref(), config)?,
        cwd: working_directory(&config.working_dir),
        users,
        user: config.user.clone(),
        stop_signal: config
            .stop_signal
            .as_deref()
            .and_then(signal_number)
            .unwrap_or(libc::SIGTERM),
        hosts: hosts(&hostname, address),
        hostname,
        resolv_conf: resolvers
            .iter()
            .map(|server| format!("nameserver {server}\n"))
            .collect(),
        layers_directory,
        layers: layers.to_vec(),
        shm_bytes: spec.memory_bytes / SHM_DIVISOR,
        open_files_max: OPEN_FILES_MAX,
        build: spec.class == InstanceClass::Build,
        identity: spec.identity_token.is_some(),
        cgroups: group.directories,
        cgroup_view: group.view,
        oom_counter: group.oom_counter,
    })
}

fn arguments(start_command: Option<&str>, config: &ImageConfig) -> Result<Vec<String>, String> {
    let arguments = match start_command {
        Some(command) => shlex::split(command)
            .ok_or_else(|| format!("the start command `{command}` has an unfinished quotation"))?,
        None => config
            .entrypoint
            .iter()
            .chain(&config.cmd)
            .cloned()
            .collect(),
    };
    match arguments.first() {
        Some(program) if !program.is_empty() => Ok(arguments),
        _ if start_command.is_some() => Err("the start command is empty".to_owned()),
        _ => Err("the image names no program to run and there is no start command".to_owned()),
    }
}

/// The platform's defaults, the image's variables, those of the service, then `PORT`; of equal names the later counts.
pub fn environment(spec: &InstanceSpec, config: &ImageConfig) -> Vec<String> {
    let of = |variables: &'_ BTreeMap<String, String>| -> Vec<(String, String)> {
        variables.clone().into_iter().collect()
    };
    let of_image = config.env.iter().filter_map(|entry| entry.split_once('='));
    let of_image = of_image.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let own = |name: &str, value: String| std::iter::once((name.to_owned(), value));
    let all = own("PATH", DEFAULT_PATH.to_owned())
        .chain(of(&spec.defaults))
        .chain(of_image)
        .chain(of(&spec.env))
        .chain(own("PORT", spec.port.to_string()));
    let mut merged: Vec<(String, String)> = Vec::new();
    for (name, value) in all {
        match merged.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = value,
            None => merged.push((name, value)),
        }
    }
    merged
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn working_directory(text: &str) -> String {
    match text.starts_with('/') {
        true => text.to_owned(),
        false => format!("/{text}"),
    }
}

fn hostname(service: &str, id: &str) -> String {
    let suffix: String = id.chars().take(8).collect();
    let service: String = service
        .to_lowercase()
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() {
                character
            } else {
                '-'
            }
        })
        .take(HOSTNAME_BYTES_MAX - suffix.len() - 1)
        .collect();
    let service = service.trim_matches('-');
    match service.is_empty() {
        true => suffix,
        false => format!("{service}-{suffix}"),
    }
}

fn hosts(hostname: &str, address: Ipv4Addr) -> String {
    format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{address}\t{hostname}\n"
    )
}

/// The number of a signal given as `SIGQUIT`, `QUIT` or `3` (OCI image specification, `StopSignal`).
fn signal_number(text: &str) -> Option<i32> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    Some(match name {
        "HUP" => libc::SIGHUP,
        "INT" => libc::SIGINT,
        "QUIT" => libc::SIGQUIT,
        "USR1" => libc::SIGUSR1,
        "USR2" => libc::SIGUSR2,
        "TERM" => libc::SIGTERM,
        "WINCH" => libc::SIGWINCH,
        "KILL" => libc::SIGKILL,
        number => {
            return number
                .parse()
                .ok()
                .filter(|number| (1..=31).contains(number));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use apron_domain::{Digest, InstanceId, ServiceId};

    fn spec() -> InstanceSpec {
        InstanceSpec {
            id: InstanceId::from_random([0xab; 16]),
            service: ServiceId::from_random([1; 16]),
            service_name: "My_Shop".to_owned(),
            revision: 3,
            image: Digest::parse(&format!("sha256:{}", "0".repeat(64))).unwrap(),
            start_command: None,
            env: [("A", "service"), ("PORT", "1")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            defaults: Default::default(),
            trusts_platform: false,
            identity_token: None,
            port: 8080,
            cpu_millis: 250,
            memory_bytes: 1 << 29,
            pids_max: 100,
            disk_bytes: 3 << 30,
            class: apron_compute::InstanceClass::Service,
        }
    }

    fn config() -> ImageConfig {
        ImageConfig {
            entrypoint: vec!["/entry".to_owned()],
            cmd: vec!["serve".to_owned()],
            env: vec![
                "A=image".to_owned(),
                "B=x=y".to_owned(),
                "PATH=/opt/bin".to_owned(),
            ],
            ..ImageConfig::default()
        }
    }

    #[test]
    fn the_start_command_replaces_entry_point_and_command() {
        assert_eq!(arguments(None, &config()).unwrap(), ["/entry", "serve"]);
        assert_eq!(
            arguments(Some("sh -c 'echo \"a b\"; x'"), &config()).unwrap(),
            ["sh", "-c", "echo \"a b\"; x"]
        );
        assert!(
            arguments(Some("sh -c 'x"), &config())
                .unwrap_err()
                .contains("unfinished quotation")
        );
        assert!(
            arguments(Some("  "), &config())
                .unwrap_err()
                .contains("is empty")
        );
        assert!(
            arguments(None, &ImageConfig::default())
                .unwrap_err()
                .contains("names no program")
        );
    }

    #[test]
    fn later_variables_win_and_the_port_is_always_ours() {
        let env = environment(&spec(), &config());
        assert_eq!(env, ["PATH=/opt/bin", "A=service", "B=x=y", "PORT=8080"]);
        let mut spec_with_defaults = spec();
        spec_with_defaults.defaults = ["A", "B", "C"]
            .map(|name| (name.to_owned(), "default".to_owned()))
            .into();
        assert_eq!(
            environment(&spec_with_defaults, &config()),
            [
                "PATH=/opt/bin",
                "A=service",
                "B=x=y",
                "C=default",
                "PORT=8080"
            ]
        );
        assert_eq!(
            environment(&spec(), &ImageConfig::default())[0],
            format!("PATH={DEFAULT_PATH}")
        );
    }

    #[test]
    fn host_names_are_host_names() {
        assert_eq!(hostname("My_Shop", "abcdef0123456789"), "my-shop-abcdef01");
        assert_eq!(hostname("", "abcdef0123456789"), "abcdef01");
        assert_eq!(
            hostname(&"x".repeat(200), "abcdef0123456789").len(),
            HOSTNAME_BYTES_MAX
        );
    }

    #[test]
    fn stop_signals_have_numbers() {
        assert_eq!(signal_number("SIGQUIT"), Some(libc::SIGQUIT));
        assert_eq!(signal_number("10"), Some(10));
        assert_eq!(signal_number("SIGRTMIN+3"), None);
        assert_eq!(signal_number("900"), None);
    }
}
