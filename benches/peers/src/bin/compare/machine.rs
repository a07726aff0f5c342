//! Where it was measured, and what.

use std::fs;
use std::process::Command;

/// Crates that are measured, or are much of what is.
const CRATES: [&str; 13] = [
    "actix-web",
    "axum",
    "hyper",
    "hyper-util",
    "may",
    "may_minihttp",
    "message-io",
    "mio",
    "ntex",
    "sluicegate",
    "tiny_http",
    "tokio",
    "tokio-util",
];

/// Lines of a list.
pub fn describe() -> Vec<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or("");
    let kib: f64 = kib.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0.0);
    vec![
        format!("date: {}", said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        format!(
            "machine: {cores} cores of {}, {:.0} GiB of memory",
            model.trim_start_matches([' ', '\t', ':']),
            kib / 1048576.0
        ),
        format!("kernel: {}", said("uname", &["-srm"])),
        format!("compiler: {}, release profile", said("rustc", &["--version"])),
        format!("crates: {}", crates()),
        // nginx writes to stderr.
        format!("nginx: {}", said("sh", &["-c", "nginx -v 2>&1"]).trim_start_matches("nginx version: ")),
        format!("sluicegate at commit {}", said("git", &["describe", "--always", "--dirty"])),
    ]
}

fn crates() -> String {
    let lock = include_str!("../../../Cargo.lock");
    let value = |line: &str, key: &str| Some(line.strip_prefix(key)?.trim_matches('"').to_owned());
    let packages = lock.split("[[package]]").filter_map(|package| {
        let find = |key| package.lines().find_map(|line| value(line, key));
        Some((find("name = ")?, find("version = ")?))
    });
    let ours: Vec<_> = packages
        .filter(|(name, _)| CRATES.contains(&name.as_str()))
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    ours.join(", ")
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_else(|error| format!("unknown: {error}"))
}
