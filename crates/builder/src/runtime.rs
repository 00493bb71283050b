//! The managed runtimes of App Runner, as data.

use apron_domain::Millis;
use serde::Deserialize;
use std::sync::LazyLock;

const DATA: &str = include_str!("runtimes.toml");

static RUNTIMES: LazyLock<Runtimes> = LazyLock::new(|| {
    toml::from_str(DATA).expect("the table of runtimes is sound: a test reads it")
});

/// The table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Runtimes {
    debian: Debian,
    runtime: Vec<Runtime>,
}

/// What every base image is made on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Debian {
    /// The release's code name.
    pub suite: String,
    /// Packages besides the essential ones.
    pub packages: Vec<String>,
}

/// Which of App Runner's two ways to build a runtime goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pipeline {
    /// The image the commands ran in is shipped, with everything they changed.
    Original,
    /// `/app` is shipped on a fresh image, in which `pre-run` runs.
    Revised,
}

/// A managed runtime.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// Its value in the API, for example `PYTHON_311`.
    pub name: String,
    /// Its name in `apprunner.yaml`, for example `python311`.
    pub yaml: String,
    /// How it builds.
    pub pipeline: Pipeline,
    /// What every version of it begins with.
    pub major: String,
    /// The first day on which no service can be created with it, `YYYY-MM-DD`.
    #[serde(default)]
    pub retired: Option<String>,
    /// Debian packages of its base image; none when there is no recipe.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Commands that finish the base image.
    #[serde(default)]
    pub setup: Vec<String>,
    /// The command that prints the version.
    #[serde(default)]
    pub version: String,
    /// The setup takes any version.
    #[serde(default)]
    pub versions: bool,
    /// What the base image has in place of the version its name says.
    #[serde(default)]
    pub substitute: Option<String>,
}

/// The runtime of a name in the API or in `apprunner.yaml`.
pub fn runtime(name: &str) -> Option<&'static Runtime> {
    let mut all = runtimes().iter();
    all.find(|runtime| runtime.name == name || runtime.yaml == name)
}

/// Every managed runtime.
pub fn runtimes() -> &'static [Runtime] {
    &RUNTIMES.runtime
}

/// What base images are made on.
pub fn debian() -> &'static Debian {
    &RUNTIMES.debian
}

impl Runtime {
    /// Whether services may be created with it, as App Runner has it: services that have it are updated and deployed after
    /// its end as before.
    pub fn supported_at(&self, now: Millis) -> bool {
        self.retired_at().is_none_or(|end| now < end)
    }

    /// Whether a base image can be made here; otherwise the operator has to name one.
    pub fn has_recipe(&self) -> bool {
        !self.packages.is_empty()
    }

    /// When its support ends.
    fn retired_at(&self) -> Option<Millis> {
        let day = self.retired.as_deref()?;
        let mut parts = day.splitn(3, '-').map(|part| part.parse::<i64>().ok());
        let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
        let days = u64::try_from(days_since_epoch(year, month, day)).ok()?;
        Some(Millis(days * 86_400_000))
    }

    /// Whether a lock of `runtime-version` is of this runtime at all: its parts are numbers and it begins as its versions
    /// do.
    pub fn can_be(&self, lock: &str) -> bool {
        let numbers = lock
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
        numbers && (is_version_of(lock, &self.major) || is_version_of(&self.major, lock))
    }
}

/// Whether a version is one that a lock allows: `3.11` allows `3.11.2`, and `3.11.2` nothing else.
pub fn is_version_of(version: &str, lock: &str) -> bool {
    let rest = version.trim_start_matches('v').strip_prefix(lock);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar (Howard Hinnant, chrono-compatible low-level date algorithms).
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runtime_of_the_api_is_there_once_and_sound() {
        // The enumeration Runtime of the published model.
        let model = [
            "PYTHON_3",
            "NODEJS_12",
            "NODEJS_14",
            "CORRETTO_8",
            "CORRETTO_11",
            "NODEJS_16",
            "GO_1",
            "DOTNET_6",
            "PHP_81",
            "RUBY_31",
            "PYTHON_311",
            "NODEJS_18",
            "NODEJS_22",
        ];
        assert_eq!(runtimes().len(), model.len());
        for name in model {
            let found = runtime(name).unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!(runtime(&found.yaml), Some(found));
            assert_eq!(
                found.retired.is_some(),
                found.retired_at().is_some(),
                "{name}"
            );
            assert_eq!(found.has_recipe(), !found.version.is_empty(), "{name}");
        }
        assert_eq!(runtime("COBOL_85"), None);
    }

    #[test]
    fn support_ends_on_its_day() {
        let node = runtime("NODEJS_18").unwrap();
        // 2025-12-01T00:00:00Z
        let end = 1_764_547_200_000;
        assert!(node.supported_at(Millis(end - 1)) && !node.supported_at(Millis(end)));
        assert!(runtime("NODEJS_22").unwrap().supported_at(Millis(u64::MAX)));
    }

    #[test]
    fn locks_allow_what_they_begin() {
        let python = runtime("PYTHON_311").unwrap();
        for (lock, fine) in [
            ("3", true),
            ("3.11", true),
            ("3.11.2", true),
            ("3.1", false),
            ("3.12", false),
            ("3.11.x", false),
            ("", false),
            ("3.11.", false),
        ] {
            assert_eq!(python.can_be(lock), fine, "{lock}");
        }
        assert!(is_version_of("3.11.2", "3.11") && is_version_of("v22.1.0", "22"));
        assert!(!is_version_of("3.11.20", "3.11.2"));
    }
}
