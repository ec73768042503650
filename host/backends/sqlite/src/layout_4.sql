-- What operators look for: failures by reason and by code, jobs by protocol, and when a job ended.
ALTER TABLE jobs ADD COLUMN protocol   TEXT;    -- always there but for a moment in this very layout
ALTER TABLE jobs ADD COLUMN ended_at   INTEGER; -- while the job is over
ALTER TABLE jobs ADD COLUMN error_code TEXT;    -- while it is in FAILED_FINAL
ALTER TABLE jobs ADD COLUMN signature  BLOB;    -- the same

UPDATE jobs SET
    protocol   = (SELECT stored_json(spec) ->> '$.protocol_id' FROM specs WHERE job = n),
    ended_at   = stored_json(progress) ->> '$.completed_at',
    error_code = stored_json(progress) ->> '$.status.failure.code',
    signature  = CASE state WHEN 'FAILED_FINAL'
                 THEN failure_signature(id, progress, (SELECT spec FROM specs WHERE job = n)) END;

CREATE INDEX jobs_by_protocol  ON jobs (protocol, id);
CREATE INDEX jobs_by_error     ON jobs (error_code, id) WHERE error_code IS NOT NULL;
CREATE INDEX jobs_by_signature ON jobs (signature, id, tenant, ended_at) WHERE signature IS NOT NULL;

-- A job that is deleted takes its idempotency key along.
ALTER TABLE specs ADD COLUMN key ANY;
CREATE INDEX idempotency_by_job ON idempotency (job);
UPDATE specs SET key = (SELECT key FROM idempotency WHERE idempotency.job = specs.job);
DROP INDEX idempotency_by_job;
