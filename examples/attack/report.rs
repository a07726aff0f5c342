//! What is printed: a paragraph after each attack, the table, and what was missed.

use std::io;

use crate::attacks::Attack;
use crate::common::say;
use crate::round::Round;
use crate::summary::Summary;

/// Lines of the server's log that are shown of a round.
const COMPLAINTS: usize = 3;

/// What is known of one attack. Counts are those of one round: the last, or that with the most
/// errors of good clients.
pub fn details(attack: &Attack, summary: &Summary, shown: Option<&Round>) -> String {
    let mut lines = vec![format!("{}: {}", attack.name, attack.about)];
    if let Some(round) = shown {
        lines.extend(round.attackers.iter().map(|family| format!("  attackers   {}", family.text)));
        let (before, after) = (&round.numbers_before, &round.numbers_after);
        for (title, family) in
            [("closed", "closed"), ("evicted", "evictions"), ("paused", "pauses"), ("waited", "block_waits")]
        {
            let growth = after.growth(before, family);
            if !growth.is_empty() {
                lines.push(format!("  {title:<11} {growth}"));
            }
        }
        let high =
            |family| after.by(family).map(|(tier, count)| format!("{tier} {count}")).collect::<Vec<_>>().join(", ");
        lines.push(format!(
            "  blocks      most in use: in {}; out {}",
            high("inbound_blocks_high"),
            high("outbound_blocks_high")
        ));
        let slowest = round.during.max() as f64 / 1e6;
        lines
            .push(format!("  good        {} answers during it, the slowest after {slowest:.1} ms", round.during.len()));
        let [server, good] = round.waited_for_cpu;
        lines.push(format!(
            "  machine     {server:.2} s the server, {good:.2} s the good clients waited for a processor"
        ));
        lines.extend(round.complaints.iter().take(COMPLAINTS).map(|line| format!("  log         {line}")));
        let more = round.complaints.len().saturating_sub(COMPLAINTS);
        lines.extend((more > 0).then(|| format!("  log         and {more} more")));
    }
    lines.extend(summary.checks.iter().map(|check| {
        let verdict = if check.met { "met" } else { "MISSED" };
        format!("  {verdict:<11} {}", check.what)
    }));
    lines.join("\n") + "\n"
}

/// A line for each attack.
pub fn table(summaries: &[Summary]) -> String {
    let header = [
        "attack",
        "memory MiB",
        "ceiling",
        "CPU %",
        "at rest",
        "calm p50/p99 ms",
        "during p50/p99 ms",
        "descriptors",
        "blocks",
        "left after s",
        "missed",
    ];
    let rows = summaries.iter().map(|summary| {
        let mebibytes = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
        [
            summary.name.to_owned(),
            summary.memory.map(mebibytes).join(" > "),
            mebibytes(summary.ceiling),
            format!("{:.0}", summary.cpu_during * 100.0),
            format!("{:.1}", summary.cpu_at_rest * 100.0),
            summary.calm.to_string(),
            summary.during.to_string(),
            summary.descriptors.map(|count| count.to_string()).join(" > "),
            summary.blocks.map(|count| count.to_string()).join(" > "),
            summary.settled.map_or("never".into(), |time| format!("{:.1}", time.as_secs_f64())),
            match summary.missed().count() {
                0 => "-".to_owned(),
                count => count.to_string(),
            },
        ]
    });
    let rows: Vec<_> = std::iter::once(header.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let lines = rows.iter().map(|row| {
        let cells = row.iter().enumerate().map(|(column, cell)| match column {
            0 => format!("{cell:<width$}", width = width(0)),
            _ => format!("{cell:>width$}", width = width(column)),
        });
        cells.collect::<Vec<_>>().join("  ")
    });
    lines.chain(["before > most > after".to_owned()]).collect::<Vec<_>>().join("\n")
}

/// Says what was missed; an error if something was.
pub fn verdict(summaries: &[Summary]) -> io::Result<()> {
    let missed = summaries.iter().flat_map(|summary| summary.missed().map(move |check| (summary.name, check)));
    let missed: Vec<_> = missed.collect();
    missed.iter().for_each(|(name, check)| say(format_args!("missed: {name}: {}", check.what)));
    let all: usize = summaries.iter().map(|summary| summary.checks.len()).sum();
    match missed.len() {
        0 => {
            say(format_args!("all {all} targets met"));
            Ok(())
        }
        count => Err(io::Error::other(format!("{count} of {all} targets missed"))),
    }
}
