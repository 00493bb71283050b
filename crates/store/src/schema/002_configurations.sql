-- The account's configurations: one row per kind with the list of all its revisions, which is small and changes as a whole.
CREATE TABLE configurations (
    kind    TEXT    NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    record  TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
