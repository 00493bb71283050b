//! Why a document is refused.

use super::json::Position;

/// A text that is no policy of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} ({place}line {}, column {})", .position.line, .position.column)]
pub struct MalformedPolicy {
    /// What is wrong, in IAM's words where they are known.
    pub problem: String,
    /// The element, for example `Statement[1].Action[0], `; empty for the document as a whole.
    place: String,
    /// Where it stands in the text.
    pub position: Position,
}

impl MalformedPolicy {
    pub(super) fn new(problem: impl Into<String>, path: &str, position: Position) -> Self {
        let place = if path.is_empty() {
            String::new()
        } else {
            format!("{path}, ")
        };
        MalformedPolicy {
            problem: problem.into(),
            place,
            position,
        }
    }

    /// The path of the element, for example `Statement[1].Action[0]`; empty for the document as a whole.
    pub fn path(&self) -> &str {
        self.place.trim_end_matches(", ")
    }
}

/// Why a document is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The text is no policy of its kind: `MalformedPolicyDocument` in IAM.
    #[error(transparent)]
    Malformed(#[from] MalformedPolicy),
    /// The text is longer than its kind may be: `LimitExceeded` in IAM.
    #[error("the policy has {chars} characters, of which {max} are allowed")]
    TooLong {
        /// Its characters, counted as the kind counts them.
        chars: usize,
        /// How many may be.
        max: usize,
    },
}
