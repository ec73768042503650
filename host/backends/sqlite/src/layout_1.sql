-- One row a job; what changes with every commit, and nothing that does not.
CREATE TABLE jobs (
    n            INTEGER PRIMARY KEY,       -- what the other tables call the job; shorter than its id
    id           BLOB    NOT NULL UNIQUE,   -- UUIDv7, 16 bytes: the order of ids is the order of acceptance
    version      INTEGER NOT NULL,
    tenant       TEXT    NOT NULL,
    request_type TEXT    NOT NULL,
    mode         TEXT    NOT NULL,
    lane         INTEGER NOT NULL,
    state        TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,          -- times are milliseconds since 1970
    due_kind     INTEGER,                   -- 1 ACK, 2 lease, 3 decision; what waits to be published is in outbox
    due_at       INTEGER,
    progress     TEXT    NOT NULL           -- JSON
) STRICT;

-- What a job was accepted with, in a row of its own, so that no commit rewrites it.
CREATE TABLE specs (
    job  INTEGER PRIMARY KEY,
    spec TEXT NOT NULL                      -- JSON
) STRICT;

-- Directives, one row an attempt; all states but PENDING are final.
CREATE TABLE outbox (
    job        INTEGER NOT NULL,
    step       INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    lane       INTEGER NOT NULL,
    service    TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    publish_at INTEGER NOT NULL,
    PRIMARY KEY (job, step, attempt)
) STRICT, WITHOUT ROWID;

-- The event trail, one row a commit: the events of a commit share its moment and are always read together.
CREATE TABLE events (
    job      INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,              -- the number of the last event in body
    body     TEXT    NOT NULL,              -- JSON array, in order
    PRIMARY KEY (job, last_seq)
) STRICT;

-- Which command a tenant's key stands for.
CREATE TABLE idempotency (
    tenant TEXT    NOT NULL,
    key    ANY     NOT NULL,                -- a BLOB for a digest, TEXT for any other key
    job    INTEGER NOT NULL,
    digest BLOB    NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;

-- The registry generations that were ever activated.
CREATE TABLE generations (
    generation   INTEGER PRIMARY KEY,
    activated_at INTEGER NOT NULL,
    digest       BLOB    NOT NULL,
    manifest     TEXT    NOT NULL
) STRICT;

-- A sweep reads what is due and nothing else.
CREATE INDEX jobs_due ON jobs (lane, due_kind, due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX outbox_pending ON outbox (lane, publish_at, job) WHERE state = 'PENDING';

-- Lists are read newest first from one of these. Nearly all jobs end as SUCCEEDED, so that state needs no index: in
-- any other list most rows have it.
CREATE INDEX jobs_by_state ON jobs (state, id, tenant, mode) WHERE state <> 'SUCCEEDED';
CREATE INDEX jobs_by_tenant ON jobs (tenant, id);
CREATE INDEX jobs_by_tenant_and_type ON jobs (tenant, request_type, id);
CREATE INDEX jobs_by_type ON jobs (request_type, id);
