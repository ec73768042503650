//! Multiplies the finished jobs of a ledger, to see how it behaves when it has grown: every copy has an id and a key of
//! its own, and all the rows of the job it was made from.
//!
//! `cargo run --release -p lucius-sqlite --example grow -- DATA_DIRECTORY JOBS`, with no host on that directory.

#![allow(clippy::print_stdout, reason = "a program for a person at a terminal")]

use std::error::Error;
use std::path::Path;

use rusqlite::{Connection, params};

/// Copies in one transaction.
const AT_ONCE: i64 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "give the data directory and how many finished jobs it shall hold";
    let directory = arguments.next().ok_or(usage)?;
    let wanted: i64 = arguments.next().ok_or(usage)?.parse()?;
    let ledger = Connection::open(Path::new(&directory).join("ledger.db"))?;
    ledger.pragma_update(None, "cache_size", -256 * 1_024)?;
    let count = "SELECT count(*), max(n) FROM jobs WHERE state = 'SUCCEEDED'";
    let (mut there, mut last): (i64, i64) =
        ledger.query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if there == 0 {
        return Err("there is no finished job to copy: run `lucius bench` on it first".into());
    }
    let plugins = plugins(&ledger)?;
    while there < wanted {
        let many = AT_ONCE.min(there).min(wanted - there);
        copy(&ledger, &plugins, last, many)?;
        (there, last) = (there + many, last + many);
    }
    println!("{there} finished jobs");
    Ok(())
}

/// Copies the newest `many` finished jobs behind the last number.
fn copy(ledger: &Connection, plugins: &[String], last: i64, many: i64) -> rusqlite::Result<()> {
    let transaction = ledger.unchecked_transaction()?;
    transaction.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS copies (old INTEGER PRIMARY KEY, new INTEGER NOT NULL, key BLOB NOT NULL)",
    )?;
    transaction.execute("DELETE FROM copies", [])?;
    transaction.execute(
        "INSERT INTO copies SELECT n, ?1 + row_number() OVER (ORDER BY n), randomblob(32)
         FROM (SELECT n FROM jobs WHERE state = 'SUCCEEDED' AND n <= ?1 ORDER BY n DESC LIMIT ?2)",
        params![last, many],
    )?;
    // The front of an id is its time, which stays; what follows is random, and so it is again.
    transaction.execute_batch(
        "INSERT INTO jobs (n, id, version, tenant, request_type, mode, lane, state, created_at, due_kind, due_at,
                progress, protocol, ended_at, error_code, signature)
         SELECT c.new, CAST(substr(j.id, 1, 6) || randomblob(10) AS BLOB), j.version, j.tenant, j.request_type,
                j.mode, j.lane, j.state, j.created_at, j.due_kind, j.due_at, j.progress, j.protocol, j.ended_at,
                j.error_code, j.signature
         FROM copies c JOIN jobs j ON j.n = c.old;
         INSERT INTO specs (job, spec, key) SELECT c.new, s.spec, c.key FROM copies c JOIN specs s ON s.job = c.old;
         INSERT INTO outbox (job, step, attempt, lane, service, state, publish_at)
         SELECT c.new, o.step, o.attempt, o.lane, o.service, o.state, o.publish_at
         FROM copies c JOIN outbox o ON o.job = c.old;
         INSERT INTO events (job, last_seq, body)
         SELECT c.new, e.last_seq, e.body FROM copies c JOIN events e ON e.job = c.old;
         INSERT INTO idempotency (tenant, key, job, digest)
         SELECT i.tenant, c.key, c.new, i.digest
         FROM copies c JOIN jobs j ON j.n = c.old JOIN specs s ON s.job = c.old
              JOIN idempotency i ON i.tenant = j.tenant AND i.key = s.key;",
    )?;
    for plugin in plugins {
        transaction.execute(
            "INSERT INTO pins (plugin, job)
             SELECT ?1, c.new FROM copies c JOIN pins p ON p.plugin = ?1 AND p.job = c.old",
            params![plugin],
        )?;
    }
    transaction.commit()
}

/// The plugins that jobs were accepted with; pins are found by them.
fn plugins(ledger: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = ledger.prepare("SELECT DISTINCT plugin FROM pins")?;
    statement.query_map([], |row| row.get(0))?.collect()
}
