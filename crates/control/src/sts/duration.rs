//! How long sessions last (<https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>).

use crate::endpoint::Call;
use apron_aws::ApiError;
use serde_json::Value;

/// Seconds of a session of a role unless the caller says otherwise.
pub const ROLE_SECONDS_DEFAULT: u64 = 3_600;
/// Seconds of a session made with the session of a role, at most.
pub const CHAINED_SECONDS_MAX: u64 = 3_600;
/// Seconds of a user's session unless the caller says otherwise.
pub const USER_SECONDS_DEFAULT: u64 = 12 * 3_600;

/// The seconds that the caller asks for.
pub fn asked(call: &Call) -> Option<u64> {
    call.input.get("DurationSeconds").and_then(Value::as_u64)
}

/// The length of a session of a role.
pub fn of_role(asked: Option<u64>, role_max: u64, chained: bool) -> Result<u64, ApiError> {
    let refused = |text: &str| Err(ApiError::validation(text));
    match asked {
        None if chained => Ok(CHAINED_SECONDS_MAX.min(role_max)),
        None => Ok(ROLE_SECONDS_DEFAULT.min(role_max)),
        Some(seconds) if chained && seconds > CHAINED_SECONDS_MAX => refused(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
        ),
        Some(seconds) if seconds > role_max => refused(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ),
        Some(seconds) => Ok(seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_as_long_as_asked_for_within_the_roles_bound() {
        assert_eq!(of_role(None, 43_200, false), Ok(3_600));
        assert_eq!(of_role(None, 43_200, true), Ok(3_600));
        assert_eq!(of_role(Some(43_200), 43_200, false), Ok(43_200));
        assert!(of_role(Some(3_601), 3_600, false).is_err());
        assert!(of_role(Some(3_601), 43_200, true).is_err());
    }
}
