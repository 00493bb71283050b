//! The master key: where it comes from, and how a key file is made and changed.
//!
//! A text of keys has the line `apron sealing keys 1` and then one key a line, `<id> <key>` in hexadecimal; the last key
//! seals, all open. It is a file of the platform's own, a credential that systemd hands over, or what a command prints.

use super::key::{KEY_LEN, Key, hex, random, unhex};
use super::{KEY_FILE, KEY_ID_LEN, SealError};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FILE_HEADER: &str = "apron sealing keys 1";
/// Largest text of keys that is read, in bytes.
const KEYS_BYTES_MAX: u64 = 64 * 1024;

/// Where the master key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MasterSource {
    /// A file of the platform's own, made with a fresh key when there is none, and rewritten by a rotation.
    File(PathBuf),
    /// A file that another program provides, for example a credential of systemd; never written.
    Provided(PathBuf),
    /// What a program and its arguments print; for keys that a vault keeps.
    Command(Vec<String>),
}

impl MasterSource {
    /// The platform's own key file in the directory of its database.
    pub fn beside(dir: &Path) -> MasterSource {
        MasterSource::File(dir.join(KEY_FILE))
    }

    /// Whether a rotation can write a new key here.
    pub fn is_ours(&self) -> bool {
        matches!(self, MasterSource::File(_))
    }

    /// What it is called in messages.
    pub(crate) fn name(&self) -> String {
        match self {
            MasterSource::File(path) | MasterSource::Provided(path) => path.display().to_string(),
            MasterSource::Command(words) => words.first().cloned().unwrap_or_default(),
        }
    }

    /// Reads the keys, the one that seals last.
    pub(crate) fn load(&self) -> Result<Vec<Key>, SealError> {
        match self {
            MasterSource::File(path) => load_own(path),
            MasterSource::Provided(path) => {
                let file = File::open(path).map_err(|e| file_error("open", path, e))?;
                parse(path, &text_of(path, file)?)
            }
            MasterSource::Command(words) => parse(Path::new(&self.name()), &printed(words)?),
        }
    }
}

/// Reads the platform's own key file; makes it with a fresh key, readable by its owner alone, when there is none.
fn load_own(path: &Path) -> Result<Vec<Key>, SealError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_key_file(path)?;
            File::open(path).map_err(|source| file_error("open", path, source))?
        }
        Err(source) => return Err(file_error("open", path, source)),
    };
    let meta = file
        .metadata()
        .map_err(|source| file_error("read", path, source))?;
    if meta.permissions().mode() & 0o077 != 0 {
        return Err(SealError::KeyFile {
            path: path.to_owned(),
            reason: format!(
                "its mode is {:o}; others must not have access (chmod 600)",
                meta.permissions().mode() & 0o777
            ),
        });
    }
    parse(path, &text_of(path, file)?)
}

fn text_of(path: &Path, file: File) -> Result<String, SealError> {
    let mut text = String::new();
    file.take(KEYS_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|source| file_error("read", path, source))?;
    Ok(text)
}

/// What the configured command prints. Its errors go where the platform's log goes.
fn printed(words: &[String]) -> Result<String, SealError> {
    let failed = |reason: String| SealError::Command {
        command: words.first().cloned().unwrap_or_default(),
        reason,
    };
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| failed("no program is named".to_owned()))?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(format!("it ended with {}", output.status)));
    }
    String::from_utf8(output.stdout).map_err(|_| failed("it printed no text".to_owned()))
}

fn parse(path: &Path, text: &str) -> Result<Vec<Key>, SealError> {
    let wrong = |reason: String| SealError::KeyFile {
        path: path.to_owned(),
        reason,
    };
    let mut lines = text.lines();
    if lines.next() != Some(FILE_HEADER) {
        return Err(wrong(format!("the first line is not `{FILE_HEADER}`")));
    }
    let keys = lines
        .filter(|line| !line.is_empty())
        .enumerate()
        .map(|(index, line)| {
            parse_key(line).ok_or_else(|| wrong(format!("line {} is not a key", index + 2)))
        })
        .collect::<Result<Vec<_>, _>>()?;
    match keys.is_empty() {
        true => Err(wrong("it holds no key".to_owned())),
        false => Ok(keys),
    }
}

fn parse_key(line: &str) -> Option<Key> {
    let (id, key) = line.split_once(' ')?;
    let id = unhex(id).filter(|id| id.len() == KEY_ID_LEN)?;
    Key::new(&id, &unhex(key)?)
}

/// Writes a fresh key beside the wanted place and links it there, so a crash leaves a whole file or none, and of two processes that
/// try at once both end with the same key.
fn make_key_file(path: &Path) -> Result<(), SealError> {
    let text = format!("{FILE_HEADER}\n{}\n", fresh_line()?);
    let draft = path.with_extension(format!("draft-{}", hex(&random::<8>()?)));
    let made = write_draft(&draft, &text)
        .and_then(|()| match std::fs::hard_link(&draft, path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        })
        .and_then(|()| sync_parent(path));
    let removed = std::fs::remove_file(&draft);
    made.and(removed)
        .map_err(|source| file_error("make", path, source))
}

fn fresh_line() -> Result<String, SealError> {
    let id: [u8; KEY_ID_LEN] = random()?;
    let key: [u8; KEY_LEN] = random()?;
    Ok(format!("{} {}", hex(&id), hex(&key)))
}

/// Adds a fresh key at the end of the platform's own key file: it seals from the next reading on, the others still open.
pub(crate) fn add_key(path: &Path) -> Result<(), SealError> {
    let text = std::fs::read_to_string(path).map_err(|e| file_error("read", path, e))?;
    replace(path, &format!("{}\n{}\n", text.trim_end(), fresh_line()?))
}

/// Removes every key but the last from the platform's own key file.
pub(crate) fn keep_last_key(path: &Path) -> Result<(), SealError> {
    let text = std::fs::read_to_string(path).map_err(|e| file_error("read", path, e))?;
    let Some(last) = text.lines().rfind(|line| !line.is_empty()) else {
        return Ok(());
    };
    replace(path, &format!("{FILE_HEADER}\n{last}\n"))
}

/// Puts another text in the place of the file, whole or not at all.
fn replace(path: &Path, text: &str) -> Result<(), SealError> {
    let draft = path.with_extension("draft");
    // What a killed process left of an earlier attempt.
    let cleared = match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    cleared
        .and_then(|()| write_draft(&draft, text))
        .and_then(|()| std::fs::rename(&draft, path))
        .and_then(|()| sync_parent(path))
        .map_err(|source| file_error("rewrite", path, source))
}

fn write_draft(draft: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
        _ => Ok(()),
    }
}

fn file_error(doing: &'static str, path: &Path, source: std::io::Error) -> SealError {
    SealError::File {
        doing,
        path: path.to_owned(),
        source,
    }
}
