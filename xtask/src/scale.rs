//! What a load costs on Azure and where the first limit is: arithmetic from what one job takes, which tests measure,
//! from the services' published targets, and from prices that are assumptions.
//!
//! `cargo xtask scale` prints it; docs/scale.md holds the same table, and a test compares them.

/// What one job of three steps takes. The black-box tests count the requests on Azurite and on the bus
/// (`a_job_of_three_steps_takes_at_most_25_table_requests_and_12_of_the_bus`); docs/scale.md says how the rest was
/// measured.
struct Job {
    table_requests: f64,
    entities_written: f64,
    entities_kept: f64,
    bytes_kept: f64,
    /// To delete it again, when retention does.
    deletion_requests: f64,
    /// Sends, receives and completes.
    bus_requests: f64,
    messages: f64,
    message_bytes: f64,
}

const JOB: Job = Job {
    table_requests: 16.0,
    entities_written: 26.0,
    entities_kept: 15.0,
    bytes_kept: 16_000.0,
    deletion_requests: 8.0,
    bus_requests: 9.0,
    messages: 3.0,
    message_bytes: 2_000.0,
};

/// Services that have a subscription in every topic: each message is put to the filter of each.
const SUBSCRIPTIONS: f64 = 3.0;

/// Entities a second that an account takes, and that one partition takes, of 1 KiB. An account's target is published in
/// transactions; each entity of a batch counts as one here.
const ACCOUNT_ENTITIES: f64 = 20_000.0;
const PARTITION_ENTITIES: f64 = 2_000.0;
/// Credits a second of a Standard namespace: one a message sent or received, one a filter asked.
const STANDARD_CREDITS: f64 = 1_000.0;
/// What a messaging unit carries, in and out together: about what Microsoft's benchmark saw, no promise.
const UNIT_BYTES: f64 = 4_000_000.0;

/// US dollars. Each price is an assumption, to be replaced by your own; see docs/scale.md.
const PER_10_000_TABLE_REQUESTS: f64 = 0.000_36;
const PER_GB_MONTH: f64 = 0.045;
const STANDARD_MONTH: f64 = 10.0;
const STANDARD_INCLUDED: f64 = 13e6;
const PER_MILLION_BUS_REQUESTS: f64 = 0.8;
const UNIT_MONTH: f64 = 677.0;

const SECONDS_A_MONTH: f64 = 730.0 * 3_600.0;

/// One load.
struct Load {
    name: &'static str,
    jobs_per_second: f64,
    /// Of one tenant in mode DEFAULT, whose jobs share a lane and a list.
    of_one_tenant: f64,
}

const LOADS: [Load; 5] = [
    Load {
        name: "1 job/s",
        jobs_per_second: 1.0,
        of_one_tenant: 0.1,
    },
    Load {
        name: "10 jobs/s",
        jobs_per_second: 10.0,
        of_one_tenant: 1.0,
    },
    Load {
        name: "100 jobs/s",
        jobs_per_second: 100.0,
        of_one_tenant: 10.0,
    },
    Load {
        name: "1,000 jobs/s",
        jobs_per_second: 1_000.0,
        of_one_tenant: 100.0,
    },
    Load {
        name: "500 jobs/s of one tenant",
        jobs_per_second: 500.0,
        of_one_tenant: 500.0,
    },
];

/// Credits that a job takes of a Standard namespace.
fn credits() -> f64 {
    JOB.messages * (1.0 + SUBSCRIPTIONS) + JOB.messages
}

/// What is used up first, and how far it is used.
fn fullest(load: &Load) -> (&'static str, f64) {
    let shares = [
        (
            "entities of an account",
            load.jobs_per_second * JOB.entities_written / ACCOUNT_ENTITIES,
        ),
        (
            "credits of a Standard namespace",
            load.jobs_per_second * credits() / STANDARD_CREDITS,
        ),
        // The tenant's list, two entities a job; and the lane's due rows, two a job.
        (
            "entities of a tenant's partition",
            load.of_one_tenant * 2.0 / PARTITION_ENTITIES,
        ),
    ];
    let fuller = |a: &(&str, f64), b: &(&str, f64)| a.1.total_cmp(&b.1);
    shares
        .into_iter()
        .max_by(fuller)
        .unwrap_or(("nothing", 0.0))
}

fn accounts(load: &Load) -> f64 {
    (load.jobs_per_second * JOB.entities_written / ACCOUNT_ENTITIES).ceil()
}

/// Messaging units; none when a Standard namespace does.
fn units(load: &Load) -> f64 {
    if load.jobs_per_second * credits() <= STANDARD_CREDITS {
        return 0.0;
    }
    let bytes = load.jobs_per_second * JOB.messages * JOB.message_bytes * 2.0;
    let units = (bytes / UNIT_BYTES).ceil().max(1.0);
    [1.0, 2.0, 4.0, 8.0, 16.0]
        .into_iter()
        .find(|it| *it >= units)
        .unwrap_or(units)
}

fn tables_month(load: &Load) -> f64 {
    let jobs = load.jobs_per_second * SECONDS_A_MONTH;
    jobs * JOB.table_requests / 10_000.0 * PER_10_000_TABLE_REQUESTS
}

fn bus_month(load: &Load) -> f64 {
    let units = units(load);
    if units > 0.0 {
        return units * UNIT_MONTH;
    }
    let requests = load.jobs_per_second * SECONDS_A_MONTH * JOB.bus_requests;
    STANDARD_MONTH + (requests - STANDARD_INCLUDED).max(0.0) / 1e6 * PER_MILLION_BUS_REQUESTS
}

/// What is kept of so many jobs: gigabytes, and dollars a month.
fn kept(jobs: f64) -> (f64, f64) {
    let gigabytes = jobs * JOB.bytes_kept / 1e9;
    (gigabytes, gigabytes * PER_GB_MONTH)
}

/// The table, as docs/scale.md has it.
fn table() -> String {
    let mut text = String::from(
        "| load | table requests/s | entities/s | bus credits/s | fullest | storage accounts | bus | tables $/month | bus $/month |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for load in &LOADS {
        let jobs = load.jobs_per_second;
        let (limit, share) = fullest(load);
        let bus = match units(load) {
            0.0 => "Standard".to_owned(),
            units => format!("Premium, {units:.0} units"),
        };
        text.push_str(&format!(
            "| {} | {:.0} | {:.0} | {:.0} | {limit}, {:.1} % | {:.0} | {bus} | {:.0} | {:.0} |\n",
            load.name,
            jobs * JOB.table_requests,
            jobs * JOB.entities_written,
            jobs * credits(),
            share * 100.0,
            accounts(load),
            tables_month(load),
            bus_month(load),
        ));
    }
    let (gigabytes, dollars) = kept(1e9);
    text.push_str(&format!(
        "\nA billion jobs that are kept are {:.0} billion entities and {:.1} TB: {dollars:.0} $ a month.\n",
        JOB.entities_kept,
        gigabytes / 1_000.0,
    ));
    text.push_str(&format!(
        "To delete as many again takes {:.0} $ of requests.\n",
        1e9 * JOB.deletion_requests / 10_000.0 * PER_10_000_TABLE_REQUESTS,
    ));
    text.push_str(&format!(
        "First limits, in jobs of three steps a second: {:.0} for a Standard namespace with {SUBSCRIPTIONS:.0} subscriptions a \
         topic, {:.0} for one storage account, {:.0} for one tenant in mode DEFAULT.\n",
        STANDARD_CREDITS / credits(),
        ACCOUNT_ENTITIES / JOB.entities_written,
        PARTITION_ENTITIES / 2.0,
    ));
    text
}

/// Prints it.
pub(crate) fn run() {
    print!("{}", table());
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_holds_what_the_computation_says() {
        let document = crate::shell::root().join("docs/scale.md");
        let document = std::fs::read_to_string(document).unwrap_or_default();
        let table = super::table();
        assert!(
            document.contains(&table),
            "docs/scale.md is to hold:\n{table}"
        );
    }
}
