//! Everything that can go wrong with durable state.

use crate::seal::SealError;

/// Why a call of the store failed. Except for [`StoreError::Busy`], trying again without a change does not help.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Something that must be unique exists already.
    #[error("cannot {doing}: {what} exists already")]
    Conflict {
        /// What was tried.
        doing: &'static str,
        /// What is taken, for example `services.name`.
        what: String,
    },
    /// As many exist as may.
    #[error("cannot {doing}: the limit of {limit} is reached")]
    Limit {
        /// What was tried.
        doing: &'static str,
        /// How many may exist.
        limit: u32,
    },
    /// The operation was cancelled meanwhile and must not go on.
    #[error("cannot {doing}: it was cancelled")]
    Cancelled {
        /// What was tried.
        doing: &'static str,
    },
    /// The record to work on does not exist.
    #[error("cannot {doing}: {what} does not exist")]
    NotFound {
        /// What was tried.
        doing: &'static str,
        /// What is missing.
        what: String,
    },
    /// Another writer held the database for too long.
    #[error("cannot {doing}: the database is busy")]
    Busy {
        /// What was tried.
        doing: &'static str,
    },
    /// The disk of the database is full.
    #[error("cannot {doing}: the disk of the database is full ({reason})")]
    Full {
        /// What was tried.
        doing: &'static str,
        /// What the engine said.
        reason: String,
    },
    /// The database cannot be written.
    #[error("cannot {doing}: the database is read-only ({reason})")]
    ReadOnly {
        /// What was tried.
        doing: &'static str,
        /// What the engine said.
        reason: String,
    },
    /// The database or a record in it is not what this platform wrote.
    #[error("cannot {doing}: the database is damaged ({reason})")]
    Damaged {
        /// What was tried.
        doing: &'static str,
        /// What was found.
        reason: String,
    },
    /// A later version of the platform wrote this.
    #[error(
        "cannot {doing}: it has version {found}, this program knows versions up to {known}; use the newer program"
    )]
    TooNew {
        /// What was tried.
        doing: &'static str,
        /// The version found.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// A secret cannot be sealed or opened.
    #[error("cannot seal or open a secret")]
    Sealing(#[from] SealError),
    /// The record is not one that can be stored.
    #[error("cannot {doing}: {reason}")]
    Invalid {
        /// What was tried.
        doing: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Anything else, in the engine's words.
    #[error("cannot {doing}: {reason}")]
    Other {
        /// What was tried.
        doing: &'static str,
        /// What the engine said.
        reason: String,
    },
}

/// Primary result codes of SQLite (sqlite.org, "Result and Error Codes"); the low byte of an extended code.
mod code {
    pub const BUSY: i64 = 5;
    pub const LOCKED: i64 = 6;
    pub const READONLY: i64 = 8;
    pub const IOERR: i64 = 10;
    pub const CORRUPT: i64 = 11;
    pub const FULL: i64 = 13;
    pub const CANTOPEN: i64 = 14;
    pub const NOTADB: i64 = 26;
    /// Extended: the shared-memory file beside the database could not be made large enough.
    pub const IOERR_SHMSIZE: i64 = 4874;
}

impl StoreError {
    pub(crate) fn missing(doing: &'static str, what: impl Into<String>) -> StoreError {
        StoreError::NotFound {
            doing,
            what: what.into(),
        }
    }

    pub(crate) fn from_engine(doing: &'static str, error: &sqlx::Error) -> StoreError {
        let reason = error.to_string();
        match error {
            sqlx::Error::PoolTimedOut => StoreError::Busy { doing },
            sqlx::Error::RowNotFound => StoreError::missing(doing, "the record"),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                StoreError::Damaged { doing, reason }
            }
            sqlx::Error::Database(database) => StoreError::from_database(doing, database.as_ref()),
            _ => StoreError::Other { doing, reason },
        }
    }

    fn from_database(doing: &'static str, error: &dyn sqlx::error::DatabaseError) -> StoreError {
        let reason = error.message().to_owned();
        if error.is_unique_violation() {
            let what = reason.rsplit(": ").next().unwrap_or(&reason).to_owned();
            return StoreError::Conflict { doing, what };
        }
        if error.is_foreign_key_violation() {
            return StoreError::missing(doing, "the service it belongs to");
        }
        let extended = error
            .code()
            .and_then(|code| code.parse::<i64>().ok())
            .unwrap_or(0);
        match extended & 0xff {
            code::BUSY | code::LOCKED => StoreError::Busy { doing },
            code::FULL => StoreError::Full { doing, reason },
            code::IOERR if extended == code::IOERR_SHMSIZE => StoreError::Full { doing, reason },
            code::READONLY => StoreError::ReadOnly { doing, reason },
            code::CORRUPT | code::NOTADB => StoreError::Damaged { doing, reason },
            code::CANTOPEN => StoreError::Other {
                doing,
                reason: format!("{reason}; check the directory and its permissions"),
            },
            _ => StoreError::Other {
                doing,
                reason: format!("{reason} (code {extended})"),
            },
        }
    }
}

/// Turns an engine error into ours, naming what was tried.
pub(crate) fn at(doing: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| StoreError::from_engine(doing, &error)
}
