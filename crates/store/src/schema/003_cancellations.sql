-- Operations that the operator wants to end without their effect. Apart from the operation's own row, which only its executor
-- writes.
CREATE TABLE cancellations (
    operation TEXT NOT NULL PRIMARY KEY REFERENCES operations (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
