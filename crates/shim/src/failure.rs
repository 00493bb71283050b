//! Failures as people read them: the stage, then the system's answer.

use rustix::io::Errno;

/// The system's text for an error, in lower case and without its number.
pub fn errno_text(errno: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => format!("error {}", errno.raw_os_error()),
    }
}

/// Names the stage that a system call belongs to.
pub trait Stage<T> {
    /// `<stage>: <the system's answer>`.
    fn stage(self, stage: &str) -> Result<T, String>;
}

impl<T> Stage<T> for rustix::io::Result<T> {
    fn stage(self, stage: &str) -> Result<T, String> {
        self.map_err(|errno| format!("{stage}: {}", errno_text(errno)))
    }
}

impl<T> Stage<T> for std::io::Result<T> {
    fn stage(self, stage: &str) -> Result<T, String> {
        self.map_err(|error| match Errno::from_io_error(&error) {
            Some(errno) => format!("{stage}: {}", errno_text(errno)),
            None => format!("{stage}: {error}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_answer_reads_as_the_end_of_a_sentence() {
        let failed: rustix::io::Result<()> = Err(Errno::NOENT);
        assert_eq!(
            failed.stage("exec /app/server").unwrap_err(),
            "exec /app/server: no such file or directory"
        );
    }
}
