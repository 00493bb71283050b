//! Checking the chain.

use super::segment::{Hash, begins_with, chained, hex, number, parse, read, segments};
use std::path::{Path, PathBuf};

/// A chain that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Records that were checked.
    pub records: u64,
    /// The numbers of the first and the last; none: there are none.
    pub numbers: Option<(u64, u64)>,
    /// The hash of the last record, hexadecimal. Kept elsewhere, it tells later whether the end was cut off.
    pub head: String,
}

/// Where the chain is broken.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not what was written.
    #[error("`{}`, line {line}: {problem}", path.display())]
    Broken {
        /// The segment.
        path: PathBuf,
        /// The line, from one.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

/// Checks every record that is kept.
///
/// # Errors
/// A file cannot be read, or the first place where the chain is broken.
pub fn verify(dir: &Path) -> Result<Verified, VerifyError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| VerifyError::Io { path, source }
    };
    let mut walk = Walk::default();
    for path in segments(dir).map_err(io(dir))? {
        let text = read(&path).map_err(io(&path))?;
        for (index, line) in text.split_inclusive('\n').enumerate() {
            walk.step(index, line)
                .map_err(|problem| VerifyError::Broken {
                    path: path.clone(),
                    line: index + 1,
                    problem,
                })?;
        }
    }
    Ok(Verified {
        records: walk.records,
        numbers: walk.first.zip(walk.next.map(|next| next - 1)),
        head: hex(&walk.last.unwrap_or_default()),
    })
}

#[derive(Default)]
struct Walk {
    last: Option<Hash>,
    first: Option<u64>,
    next: Option<u64>,
    records: u64,
}

impl Walk {
    fn step(&mut self, index: usize, line: &str) -> Result<(), String> {
        let whole = line.strip_suffix('\n');
        let line = whole.ok_or("the line has no end")?;
        if index == 0 {
            let before = begins_with(line).ok_or("it does not begin as an audit file")?;
            if self.last.is_some_and(|last| last != before) {
                return Err("records are missing before this segment".to_owned());
            }
            self.last = Some(before);
            return Ok(());
        }
        let parsed = parse(line).ok_or("the line is no record")?;
        let number = number(parsed.json).ok_or("the record has no number")?;
        if self.next.is_some_and(|next| next != number) {
            return Err(format!("record {number} is not the one that comes next"));
        }
        let hash = chained(&self.last.unwrap_or_default(), parsed.json);
        if hash != parsed.hash {
            return Err(format!("record {number} or the one before it was changed"));
        }
        self.last = Some(hash);
        self.first.get_or_insert(number);
        self.next = Some(number + 1);
        self.records += 1;
        Ok(())
    }
}
