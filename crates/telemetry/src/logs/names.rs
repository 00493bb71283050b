//! Which names groups and streams may have (CloudWatch Logs API: `CreateLogGroup`, `CreateLogStream`).

use crate::error::TelemetryError;

/// Longest group or stream name, in characters.
pub const NAME_CHARS_MAX: usize = 512;

/// Checks a group's name: letters, digits, `_ - / . #`.
pub(crate) fn check_group(name: &str) -> Result<(), TelemetryError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-/.#".contains(c);
    check(
        "log group",
        name,
        fits,
        "it may hold letters, digits and _-/.# only",
    )
}

/// Checks a stream's name: anything but `:` and `*`.
pub(crate) fn check_stream(name: &str) -> Result<(), TelemetryError> {
    check(
        "log stream",
        name,
        |c| !matches!(c, ':' | '*' | '\0'),
        "it may not hold : or *",
    )
}

fn check(
    kind: &'static str,
    name: &str,
    fits: impl Fn(char) -> bool,
    wrong: &'static str,
) -> Result<(), TelemetryError> {
    let reason = match name.chars().count() {
        0 => "it is empty",
        count if count > NAME_CHARS_MAX => "it is longer than 512 characters",
        _ if !name.chars().all(fits) => wrong,
        _ => return Ok(()),
    };
    let name = name.chars().take(NAME_CHARS_MAX).collect();
    Err(TelemetryError::InvalidName { kind, name, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_published_rules() {
        assert!(check_group("/aws/apprunner/web/0123456789abcdef/application").is_ok());
        assert!(check_group(&"x".repeat(512)).is_ok());
        for name in ["", "a b", "a:b", "ä", &"x".repeat(513)] {
            assert!(check_group(name).is_err(), "{name}");
        }
        assert!(check_stream("instance/0123 ä").is_ok());
        for name in ["", "a:b", "a*", &"ä".repeat(513)] {
            assert!(check_stream(name).is_err(), "{name}");
        }
    }
}
