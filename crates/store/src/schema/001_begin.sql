CREATE TABLE services (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    deleted    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    deleted_at INTEGER,
    version    INTEGER NOT NULL,
    record     TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
-- A name is free again when its service is deleted.
CREATE UNIQUE INDEX services_name ON services (name) WHERE deleted = 0;
CREATE INDEX services_created ON services (created_at, id) WHERE deleted = 0;
CREATE INDEX services_deleted ON services (deleted_at) WHERE deleted = 1;

CREATE TABLE operations (
    sequence   INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    service    TEXT    NOT NULL REFERENCES services (id) ON DELETE CASCADE,
    stage      TEXT    NOT NULL,
    done       INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    record     TEXT    NOT NULL
) STRICT;
-- One thing at a time is done to a service.
CREATE UNIQUE INDEX operations_unfinished ON operations (service) WHERE done = 0;
CREATE INDEX operations_started ON operations (service, started_at, sequence);

CREATE TABLE journal (
    operation TEXT    NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    sequence  INTEGER NOT NULL,
    stage     TEXT    NOT NULL,
    note      TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (operation, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE instances (
    id      TEXT    NOT NULL PRIMARY KEY,
    service TEXT    NOT NULL REFERENCES services (id),
    role    TEXT    NOT NULL,
    version INTEGER NOT NULL,
    record  TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX instances_service ON instances (service, id);

CREATE TABLE repositories (
    name    TEXT    NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    record  TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE secrets (
    kind   TEXT NOT NULL,
    name   TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE facts (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
