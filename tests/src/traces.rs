//! Everything a platform leaves on the machine: processes, mounts, interfaces, firewall rules, cgroups, loop devices,
//! files. Compared before and after to find what was not cleaned up.

use crate::{Platform, processes, run};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Depth to which control groups are searched.
const CGROUP_DEPTH_MAX: usize = 6;

/// What was found; each entry is a line for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Everything but files.
    pub machine: BTreeSet<String>,
    /// Files below the platform's directory.
    pub files: BTreeSet<String>,
}

impl Traces {
    /// Looks.
    pub fn of(platform: &Platform) -> Result<Traces> {
        let mut machine = BTreeSet::new();
        for process in processes::all(platform)? {
            machine.insert(format!("process {:?} {}", process.role, process.pid));
        }
        machine.extend(
            mounts_below(platform.dir())?
                .into_iter()
                .map(|at| format!("mount {}", at.display())),
        );
        machine.extend(named_mounts(&platform.slot.name())?);
        machine.extend(interfaces(platform)?);
        machine.extend(firewall(platform)?);
        machine.extend(loop_devices(platform)?);
        cgroups(
            Path::new("/sys/fs/cgroup"),
            &platform.slot.name(),
            CGROUP_DEPTH_MAX,
            &mut machine,
        );
        let root = platform.dir().to_owned();
        let files = files_below(&root)
            .into_iter()
            .map(|file| {
                file.strip_prefix(&root)
                    .unwrap_or(&file)
                    .display()
                    .to_string()
            })
            .collect();
        Ok(Traces { machine, files })
    }

    /// What is here beyond what was in `before`, files left aside. Things of the same shape count as the same: a
    /// platform keeps a few prepared namespaces and disks, and replaces one that was used by another.
    pub fn new_since(&self, before: &Traces) -> Vec<String> {
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        for line in &before.machine {
            *known.entry(shape(line)).or_default() += 1;
        }
        let is_new = |line: &&String| match known.get_mut(&shape(line)) {
            Some(left) if *left > 0 => {
                *left -= 1;
                false
            }
            _ => true,
        };
        self.machine.iter().filter(is_new).cloned().collect()
    }

    /// Files that are here and were not in `before`.
    pub fn new_files_since(&self, before: &Traces) -> Vec<String> {
        self.files.difference(&before.files).cloned().collect()
    }
}

/// A line without its numbers and ids.
fn shape(line: &str) -> String {
    let words = line.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    let plain = |word: &str| {
        if word.contains(|c: char| c.is_ascii_digit()) {
            "#".to_owned()
        } else {
            word.to_owned()
        }
    };
    words.map(plain).collect()
}

/// Whether `text` contains `name` as a whole: `e2e1` is not in `e2e12`.
pub fn names(text: &str, name: &str) -> bool {
    let whole = |at: usize| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(|c| c.is_ascii_alphanumeric())
            && !after.is_some_and(|c| c.is_ascii_alphanumeric())
    };
    text.match_indices(name).any(|(at, _)| whole(at))
}

/// Mount points below a directory, the innermost first.
pub fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("/proc is not mounted")?;
    let mut found: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|at| at.starts_with(dir))
        .collect();
    found.reverse();
    Ok(found)
}

/// Mounts elsewhere that carry the platform's name, such as named network namespaces.
fn named_mounts(name: &str) -> Result<Vec<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("/proc is not mounted")?;
    let found = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|at| at.starts_with("/run"));
    Ok(found
        .filter(|at| names(at, name))
        .map(|at| format!("mount {at}"))
        .collect())
}

/// Interfaces with an address in the platform's network or a route into it.
fn interfaces(platform: &Platform) -> Result<BTreeSet<String>> {
    let prefix = address_prefix(platform);
    let ask = |what: &str| run::ok(Command::new("ip").args(["-oneline", what]));
    let (addresses, routes) = (ask("address")?, ask("route")?);
    let of_addresses = addresses.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words
            .get(3)
            .is_some_and(|address| address.starts_with(&prefix))
            .then(|| words[1].to_owned())
    });
    let of_routes = routes
        .lines()
        .filter(|line| line.starts_with(&prefix))
        .filter_map(|line| {
            line.split_whitespace()
                .skip_while(|word| *word != "dev")
                .nth(1)
                .map(str::to_owned)
        });
    Ok(of_addresses
        .chain(of_routes)
        .map(|link| format!("interface {link}"))
        .collect())
}

/// How addresses of the platform's instances begin.
fn address_prefix(platform: &Platform) -> String {
    let network = platform.slot.network();
    format!("{}.", network.strip_suffix(".0.0/16").unwrap_or(&network))
}

/// Firewall lines that name the platform or its network, with the counters taken out.
fn firewall(platform: &Platform) -> Result<BTreeSet<String>> {
    let network = platform.slot.network();
    let prefix = network
        .strip_suffix(".0.0/16")
        .unwrap_or(&network)
        .to_owned()
        + ".";
    let rules = run::ok(Command::new("nft").args(["--stateless", "list", "ruleset"]))?;
    let ours = rules
        .lines()
        .filter(|line| names(line, &platform.slot.name()) || line.contains(&prefix));
    Ok(ours
        .map(|line| format!("firewall {}", line.trim()))
        .collect())
}

/// Loop devices whose files lie in the platform's directory, the test's own disk left out.
fn loop_devices(platform: &Platform) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for device in fs::read_dir("/sys/block")
        .context("/sys is not mounted")?
        .flatten()
    {
        let backing =
            fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
        let file = Path::new(backing.trim_end().trim_end_matches(" (deleted)"));
        if file.starts_with(platform.dir()) && !file.ends_with("disk.img") {
            found.insert(format!(
                "loop device {} of {}",
                device.file_name().display(),
                file.display()
            ));
        }
    }
    Ok(found)
}

fn cgroups(dir: &Path, name: &str, depth: usize, found: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    {
        let path = entry.path();
        if names(&path.display().to_string(), name) {
            found.insert(format!("cgroup {}", path.display()));
        }
        if depth > 0 {
            cgroups(&path, name, depth - 1, found);
        }
    }
}

/// Every file below a directory, other file systems left out.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else {
        return found;
    };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(&entry.path())),
            Ok(_) => found.push(entry.path()),
            Err(_) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{names, shape};

    #[test]
    fn things_of_the_same_shape_are_the_same() {
        assert_eq!(
            shape("mount /tmp/e2e0-x1/data/disks/17"),
            shape("mount /tmp/e2e4-y2/data/disks/3a9")
        );
        assert_ne!(shape("mount /a/disks/17"), shape("mount /a/layers/17"));
    }

    #[test]
    fn a_name_is_found_as_a_whole_only() {
        assert!(names("/apron/e2e1/x", "e2e1"));
        assert!(names("table inet e2e1 {", "e2e1"));
        assert!(names("e2e1-x", "e2e1"));
        assert!(!names("/apron/e2e12/x", "e2e1"));
        assert!(!names("/apron/xe2e1/x", "e2e1"));
    }
}
