//! The processors builds run on: all but one core. What wakes up for a request then finds a processor that no build is on.
//! Builds that give way are not enough (decision 0023): it takes its time until they have left, and a virtual machine that
//! lets none of its processors rest loses time to others on its host.

use super::{Setting, setting};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

/// The controller that keeps groups to processors.
pub const CONTROLLER: &str = "cpuset";

/// Where the kernel lists the processors of one core (kernel documentation, admin-guide/cputopology).
const TOPOLOGY: &str = "/sys/devices/system/cpu";

/// The settings of builds' groups below this mount of the controller, in version 1, where every group needs its own. None when
/// the kernel does not say what there is.
pub fn v1_settings(mount: &Path, leave_core: bool) -> Option<Vec<Setting>> {
    let processors = for_builds(&list(mount, "cpuset.effective_cpus")?, leave_core);
    let memory = list(mount, "cpuset.effective_mems")?;
    Some(vec![
        setting("cpuset.cpus", text(&processors)),
        setting("cpuset.mems", text(&memory)),
    ])
}

/// The settings of the group all builds are in, in version 2: groups without settings have what their parent has.
pub fn v2_settings(mount: &Path, leave_core: bool) -> Option<Vec<Setting>> {
    let processors = for_builds(&list(mount, "cpuset.cpus.effective")?, leave_core);
    Some(vec![Setting {
        optional: true,
        ..setting("cpuset.cpus", text(&processors))
    }])
}

fn for_builds(available: &BTreeSet<u32>, leave_core: bool) -> BTreeSet<u32> {
    match available.first() {
        Some(first) if leave_core => {
            let core = Path::new(TOPOLOGY).join(format!("cpu{first}/topology"));
            let siblings = list(&core, "thread_siblings_list").unwrap_or_default();
            without_first_core(available, &siblings)
        }
        _ => available.clone(),
    }
}

/// All but the first processor and what shares its core. Where that is everything, all but the first; a processor that is alone
/// is shared.
fn without_first_core(available: &BTreeSet<u32>, siblings: &BTreeSet<u32>) -> BTreeSet<u32> {
    let without_first: BTreeSet<u32> = available.iter().skip(1).copied().collect();
    let others: BTreeSet<u32> = without_first.difference(siblings).copied().collect();
    [others, without_first]
        .into_iter()
        .find(|some| !some.is_empty())
        .unwrap_or_else(|| available.clone())
}

fn list(directory: &Path, file: &str) -> Option<BTreeSet<u32>> {
    parse(&std::fs::read_to_string(directory.join(file)).ok()?)
}

/// Numbers and ranges of them, `0-2,7`.
fn parse(list: &str) -> Option<BTreeSet<u32>> {
    let mut numbers = BTreeSet::new();
    for part in list.trim().split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        numbers.extend(from.parse::<u32>().ok()?..=to.parse().ok()?);
    }
    Some(numbers)
}

fn text(numbers: &BTreeSet<u32>) -> String {
    let mut text = String::new();
    for number in numbers {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{number}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_core_is_left_alone_unless_there_is_no_other() {
        let left = |available, siblings| {
            let numbers = |list| parse(list).unwrap();
            text(&without_first_core(&numbers(available), &numbers(siblings)))
        };
        assert_eq!(left("0-3", "0"), "1,2,3");
        assert_eq!(left("0-7", "0,4"), "1,2,3,5,6,7");
        assert_eq!(left("2,5-6", "2-3"), "5,6");
        assert_eq!(left("0-1", "0-1"), "1", "both are one core's");
        assert_eq!(left("3", "3"), "3");
    }

    #[test]
    fn lists_are_the_kernels() {
        assert_eq!(text(&parse("0-2,7\n").unwrap()), "0,1,2,7");
        assert_eq!(parse("\n"), None);
    }

    #[test]
    fn all_may_be_asked_for() {
        let all = BTreeSet::from([0, 1, 2]);
        assert_eq!(for_builds(&all, false), all);
        assert!(!for_builds(&all, true).contains(&0));
    }
}
