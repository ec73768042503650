//! Runs one piece many times, to be counted: `lucius-bench PIECE TIMES`.

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "give a piece and how often it runs, as in: lucius-bench decide 100";
    let piece = arguments.next().context(usage)?;
    let times = arguments.next().and_then(|text| text.parse().ok());
    lucius_bench::run(&piece, times.context(usage)?)
}
