-- Small documents with a version: keys of clients, pauses, redrives, ...
CREATE TABLE records (
    kind    TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    version INTEGER NOT NULL,
    body    TEXT    NOT NULL,               -- JSON
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
