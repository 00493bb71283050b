-- Keys that seal values, each sealed by the master key named beside it. The newest seals.
CREATE TABLE data_keys (
    sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id       TEXT    NOT NULL UNIQUE,
    master   TEXT    NOT NULL,
    sealed   BLOB    NOT NULL
) STRICT;

-- What the APIs of secrets, parameters and keys keep: a record that may be shown, and parts that are sealed.
CREATE TABLE vault (
    kind    TEXT    NOT NULL,
    name    TEXT    NOT NULL,
    version INTEGER NOT NULL,
    record  TEXT    NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE vault_parts (
    kind   TEXT NOT NULL,
    name   TEXT NOT NULL,
    part   TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (kind, name, part),
    FOREIGN KEY (kind, name) REFERENCES vault (kind, name) ON DELETE CASCADE
) STRICT;
