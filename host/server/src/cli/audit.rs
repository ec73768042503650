//! `lucius audit`: who did what, and why.

use clap::Args;

use super::Failure;
use super::client::{Client, HostUrl};
use super::output::{self, text};

#[derive(Args)]
pub(super) struct Flags {
    #[command(flatten)]
    host: HostUrl,
    /// At most this many
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Go on where an earlier list ended
    #[arg(long)]
    cursor: Option<String>,
}

pub(super) async fn run(flags: Flags, json: bool) -> Result<(), Failure> {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &flags.limit.to_string());
    if let Some(cursor) = &flags.cursor {
        query.append_pair("cursor", cursor);
    }
    let client = Client::new(&flags.host)?;
    let page = client.get(&format!("/v1/audit?{}", query.finish())).await?;
    if json {
        output::json(&page);
        return Ok(());
    }
    const COLUMNS: [&str; 7] = [
        "at", "who", "action", "target", "detail", "outcome", "reason",
    ];
    let entries = page["entries"].as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> = entries
        .map(|entry| COLUMNS.map(|name| text(entry, name)).to_vec())
        .collect();
    output::table(&COLUMNS, &rows);
    if let Some(cursor) = page["next_cursor"].as_str() {
        output::line(format!("more with --cursor {cursor}"));
    }
    Ok(())
}
