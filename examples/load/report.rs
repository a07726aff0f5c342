//! The summary, for people and for programs.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::cli::{Plan, Protocol};
use crate::crowd::{Outcome, Use};

/// From this share of a core on, a thread is taken to be at its limit.
const BUSY: f64 = 0.95;
/// From this share of the time on, others on the machine are worth a note.
const KEPT_WAITING: f64 = 0.05;
/// In an open loop, if more than one in a hundred requests is later than this, it is worth a note.
const LATE: Duration = Duration::from_millis(1);
/// The latencies that are told, by name.
const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// Some lines for people.
pub fn text(plan: &Plan, outcome: &Outcome) -> String {
    let seconds = outcome.time.as_secs_f64();
    let per_second = |count: u64| count as f64 / seconds.max(1e-9);
    let mut text = headline(plan, outcome);
    let line = |text: &mut String, name: &str, what: String| {
        let _ = write!(text, "\n{name:<12}{what}");
    };
    line(&mut text, "answers", format!("{} good, {:.0} per second", outcome.answers, per_second(outcome.answers)));
    let (sent, received) = (outcome.sent_bytes, outcome.received_bytes);
    let bytes = |count: u64| format!("{} ({}/s)", bytes(count as f64), bytes(per_second(count)));
    line(&mut text, "bytes", format!("{} sent, {} received", bytes(sent), bytes(received)));
    let latency = |(name, quantile): &(&str, f64)| {
        let time = Duration::from_nanos(outcome.tally.latencies.value_at_quantile(*quantile));
        format!("{name} {}", milliseconds(time))
    };
    let latencies: Vec<_> = QUANTILES.iter().map(latency).collect();
    let is_known = !outcome.tally.latencies.is_empty();
    line(
        &mut text,
        "latency",
        if is_known { format!("{} ms", latencies.join("  ")) } else { "none was measured".into() },
    );
    if outcome.tally.reconnects > 0 {
        line(&mut text, "reconnects", format!("{}", outcome.tally.reconnects));
    }
    if let Some(server) = &outcome.server {
        let what = server.as_ref().map_or_else(io::Error::to_string, |server| server_use(server, outcome));
        line(&mut text, "server", what);
    }
    if outcome.tally.troubles.is_empty() {
        line(&mut text, "errors", "none".into());
    }
    for (trouble, count) in &outcome.tally.troubles {
        line(&mut text, "error", format!("{count} x {trouble}"));
    }
    if outcome.load_waited >= KEPT_WAITING {
        let share = 100.0 * outcome.load_waited;
        line(&mut text, "note", format!("other programs kept this one waiting for {share:.0} % of the time"));
    }
    if plan.rate.is_none() && outcome.load_busy >= BUSY {
        line(&mut text, "note", "this program was at its own limit: the server may be able to do more".into());
    }
    let late = Duration::from_nanos(outcome.tally.late.value_at_quantile(0.99));
    if late > LATE {
        let late = milliseconds(late);
        line(
            &mut text,
            "note",
            format!("this program sent late itself, by {late} ms at p99: latencies have that in them"),
        );
    }
    text
}

fn headline(plan: &Plan, outcome: &Outcome) -> String {
    let what = match (plan.protocol, plan.size) {
        (Protocol::Http, 0) => format!("HTTP GET {}", plan.path),
        (Protocol::Http, size) => format!("HTTP POST {} with {size} bytes", plan.path),
        (Protocol::LengthPrefixed, size) => format!("length-prefixed messages of {size} bytes"),
    };
    let how = match plan.rate {
        Some(rate) => format!("open loop at {rate} per second"),
        None => "closed loop".into(),
    };
    let each = match (plan.reconnect, plan.depth) {
        (true, _) => ", each for one request".into(),
        (false, 1) => String::new(),
        (false, depth) => format!(" by {depth}"),
    };
    let idle = if plan.idle > 0 { format!(" and {} idle", plan.idle) } else { String::new() };
    let Plan { server, connections, .. } = plan;
    format!(
        "{what} to {server}, {how}, {connections} connections{each}{idle}; {:.1} s after {:.1} s of warm-up",
        outcome.time.as_secs_f64(),
        outcome.warm_up.as_secs_f64()
    )
}

fn server_use(server: &Use, outcome: &Outcome) -> String {
    let cpu = server.cpu.as_secs_f64();
    format!(
        "{:.2} us of CPU per answer, {:.0} % of a core, {} threads, memory {} now and {} at most",
        cpu * 1e6 / outcome.answers.max(1) as f64,
        100.0 * cpu / outcome.time.as_secs_f64().max(1e-9),
        server.threads,
        bytes(server.memory.now as f64 * 1024.0),
        bytes(server.memory.peak as f64 * 1024.0)
    )
}

/// One line for programs. Times are in microseconds.
pub fn json(plan: &Plan, outcome: &Outcome) -> String {
    let seconds = outcome.time.as_secs_f64();
    let protocol = if plan.protocol == Protocol::Http { "http" } else { "length-prefixed" };
    let mut text = format!(
        "{{\"protocol\":\"{protocol}\",\"connections\":{},\"depth\":{},\"size\":{},\"rate\":{},\"idle\":{},\
         \"reconnect\":{},\"seconds\":{seconds:.6},\"answers\":{},\"answers_ever\":{},\"answers_per_second\":{:.1},\
         \"sent_bytes\":{},\"received_bytes\":{},\"reconnects\":{},\"load_busy\":{:.4},\
         \"load_waited\":{:.4},\"load_late_p99\":{}",
        plan.connections,
        plan.depth,
        plan.size,
        plan.rate.unwrap_or(0.0),
        plan.idle,
        plan.reconnect,
        outcome.answers,
        outcome.tally.answers_ever,
        outcome.answers as f64 / seconds.max(1e-9),
        outcome.sent_bytes,
        outcome.received_bytes,
        outcome.tally.reconnects,
        outcome.load_busy,
        outcome.load_waited,
        microseconds(&outcome.tally.late, 0.99)
    );
    let latency = |quantile| microseconds(&outcome.tally.latencies, quantile);
    let latencies = QUANTILES.map(|(name, quantile)| format!("\"{name}\":{}", latency(quantile)));
    let _ = write!(text, ",\"latency\":{{{}}}", latencies.join(","));
    let _ = match &outcome.server {
        Some(Ok(Use { cpu, memory, threads })) => write!(
            text,
            ",\"server\":{{\"cpu_seconds\":{:.6},\"threads\":{threads},\"memory_kib\":{},\"memory_peak_kib\":{}}}",
            cpu.as_secs_f64(),
            memory.now,
            memory.peak
        ),
        Some(Err(_)) => write!(text, ",\"server\":null"),
        None => Ok(()),
    };
    // The names of troubles have nothing in them that would have to be escaped but an apostrophe, which has not.
    let troubles = outcome.tally.troubles.iter().map(|(trouble, count)| format!("\"{trouble}\":{count}"));
    let _ = write!(text, ",\"errors\":{{{}}}}}", troubles.collect::<Vec<_>>().join(","));
    text
}

/// For programs: `null` if none was measured, as 0 would be a time.
fn microseconds(times: &Histogram<u64>, quantile: f64) -> String {
    if times.is_empty() {
        return "null".into();
    }
    format!("{:.1}", times.value_at_quantile(quantile) as f64 / 1e3)
}

fn milliseconds(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1e3;
    let digits = if milliseconds < 10.0 { 3 } else { 1 };
    format!("{milliseconds:.digits$}")
}

fn bytes(count: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB"];
    let power = (0..3).take_while(|power| count >= 1024_f64.powi(power + 1)).count();
    let digits = usize::from(power > 0);
    format!("{:.digits$} {}", count / 1024_f64.powi(power as i32), units[power])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::plan;
    use crate::tally::Tally;

    fn outcome() -> Outcome {
        Outcome {
            tally: Tally::new(),
            answers: 0,
            sent_bytes: 0,
            received_bytes: 0,
            time: Duration::from_secs(1),
            warm_up: Duration::ZERO,
            load_busy: 0.0,
            load_waited: 0.0,
            server: None,
        }
    }

    #[test]
    fn a_load_that_sends_late_itself_says_so() {
        let plan = Plan { rate: Some(100.0), ..plan(Protocol::Http, 0, 1) };
        let mut outcome = outcome();
        assert!(json(&plan, &outcome).contains(",\"load_late_p99\":null,"));
        outcome.tally.late.record_n(1_000, 98).expect("in its bounds");
        outcome.tally.late.record_n(900_000, 2).expect("in its bounds");
        assert!(!text(&plan, &outcome).contains("note"));
        outcome.tally.late.record_n(5_000_000, 2).expect("in its bounds");
        let text = text(&plan, &outcome);
        assert!(
            text.ends_with(
                "\nnote        this program sent late itself, by 5.001 ms at p99: latencies have that in them"
            ),
            "{text}"
        );
        assert!(json(&plan, &outcome).contains(",\"load_late_p99\":500"), "{}", json(&plan, &outcome));
    }

    #[test]
    fn sizes_and_times_are_readable() {
        assert_eq!([bytes(0.0), bytes(1023.0), bytes(1536.0)], ["0 B", "1023 B", "1.5 KiB"]);
        assert_eq!(bytes(3.0 * 1024_f64.powi(4)), "3072.0 GiB");
        assert_eq!(milliseconds(Duration::from_micros(1234)), "1.234");
        assert_eq!(milliseconds(Duration::from_millis(123)), "123.0");
    }
}
