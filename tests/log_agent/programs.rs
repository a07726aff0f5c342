//! The programs, as their users run them: signals, kills, exit codes, what they print.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

use crate::agent::recovery::recover;
use crate::child::Example;
use crate::clients::{finish, frames, http_get, newest, send_until_broken, until};
use crate::disks::{Folder, SmallDisk};
use crate::net::{connect, frame, pattern};
use crate::rig::{ODD, read_all};
use crate::store::name::Kind;
use crate::verify;

const SIZES: (u32, u32) = (26, 120);

fn serve(folder: &Folder, flags: &[&str]) -> (Example, SocketAddr) {
    Example::serve_at("log_agent", &["127.0.0.1", "0"], &[&["--dir", folder.text()], flags].concat())
}

/// How often the agent is killed: `SLUICEGATE_KILLS`.
fn kills() -> u32 {
    std::env::var("SLUICEGATE_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(100)
}

#[test]
fn killed_at_any_moment_it_keeps_what_it_has_acknowledged() {
    const CLIENTS: u16 = 3;
    let mut acknowledged_in_all = 0;
    let mut folder = Folder::new();
    for run in 0..kills() {
        if run % 10 == 0 {
            // So that what is read after each kill does not grow and grow.
            folder = Folder::new();
        }
        let flags = ["--ack", "--rotate-mb", "1", "--cap", "4096", "--qcap-bytes", "256K", "--writers", "2"];
        let (agent, address) = serve(&folder, &flags);
        let acked = [const { AtomicU64::new(0) }; CLIENTS as usize];
        let sum = || acked.iter().map(|number| number.load(SeqCst)).sum::<u64>();
        // From before the first record is written to some hundred acknowledgements later.
        let enough = u64::from(pattern(4, run as usize)[3]) * u64::from(run % 5);
        thread::scope(|scope| {
            for (thread, acked) in (0..CLIENTS).zip(&acked) {
                scope.spawn(move || send_until_broken(address, run, thread, SIZES, u64::MAX, acked));
            }
            until("enough is acknowledged", || sum() >= enough);
            agent.signal("KILL");
            agent.ends().by_signal(9);
        });
        recover(folder.path()).expect("recovered");
        let found = verify::look(folder.path(), run, CLIENTS, SIZES).expect("read");
        assert_eq!(found.faults, Vec::<String>::new(), "kill {run}: none torn, none twice, none out of order");
        for (found, acked) in found.records.iter().zip(&acked) {
            let acked = acked.load(SeqCst);
            assert!(*found >= acked, "kill {run}: {acked} records were acknowledged, {found} are there");
        }
        acknowledged_in_all += sum();
    }
    println!("{} kills, {acknowledged_in_all} records acknowledged", kills());
    assert!(acknowledged_in_all > 0);
}

/// Bytes of segments that are not packed. One may be packed, and gone, before it is asked for.
fn bytes_in(folder: &Folder) -> u64 {
    let files = folder.files(".log").into_iter();
    files.filter_map(|file| fs::metadata(folder.path().join(file)).ok()).map(|file| file.len()).sum()
}

#[test]
fn sigterm_under_load_loses_nothing_that_was_received() {
    for flags in [&["--ack"][..], &["--writers", "3"], &["--compress", "zstd", "--fsync", "never"]] {
        let folder = Folder::new();
        let (agent, address) = serve(&folder, &[flags, &["--rotate-mb", "1"]].concat());
        let acked = [const { AtomicU64::new(0) }; 4];
        thread::scope(|scope| {
            for (thread, acked) in (0..4).zip(&acked) {
                scope.spawn(move || send_until_broken(address, 7, thread, SIZES, 20_000, acked));
            }
            // What is packed already has been there.
            until("there is load", || bytes_in(&folder) > 100_000 || !folder.files(".zst").is_empty());
            agent.shuts_down("TERM");
            let ended = agent.ends();
            let goodbye = ended.stderr.lines().find(|line| line.contains("goodbye; ")).expect("it says so").to_owned();
            let number = |name: &str| -> u64 {
                let digits = goodbye.split_once(name).expect("it is there").1;
                digits.split(|letter: char| !letter.is_ascii_digit()).next().expect("digits").parse().expect("a number")
            };
            let found = verify::look(folder.path(), 7, 4, SIZES).expect("read");
            assert_eq!(found.faults, Vec::<String>::new());
            assert_eq!((number("records in: "), number("written: ")), {
                let there = found.records.iter().sum();
                (there, there)
            });
            for (found, acked) in found.records.iter().zip(&acked) {
                assert!(*found >= acked.load(SeqCst));
            }
            ended.with_code(0);
        });
        assert_eq!(recover(folder.path()).expect("recovered").unfinished, 0, "all segments are finished");
    }
}

#[test]
fn what_cannot_work_is_one_clear_line_and_exit_1() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let run = |port: &str, dir: &str, flags: &[&str]| {
        Example::run("log_agent", &[&["127.0.0.1", port, "--dir", dir], flags].concat())
    };
    run(&port, folder.text(), &[]).failed_with("127.0.0.1");
    run("0", "/proc/no/such", &[]).failed_with("cannot make /proc/no/such");
    run("0", folder.text(), &["--memory-max", "1M"]).failed_with("--memory-max is 1048576, but the memory ceiling is");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    run("0", file.to_str().expect("text"), &[]).failed_with("is it writable");
}

#[test]
fn wrong_values_name_their_flag_and_exit_2() {
    for (flags, named) in [
        (&["--cap", "0"][..], "--cap"),
        (&["--cap", "1T"], "--cap"),
        (&["--low", "65536"], "--low"),
        (&["--qcap", "0"], "--qcap"),
        (&["--qcap-bytes", "10"], "--qcap-bytes"),
        (&["--rotate-mb", "0"], "--rotate-mb"),
        (&["--rotate-mb", "4096"], "--rotate-mb"),
        (&["--writers", "0"], "--writers"),
        (&["--fsync", "sometimes"], "--fsync"),
        (&["--ack", "--fsync", "never"], "--fsync"),
        (&["--disk-max", "1"], "--disk-max"),
        (&["--disk-max", "1M", "--cap", "1M"], "--disk-max"),
        (&["--when-disk-full", "weep"], "--when-disk-full"),
        (&["--compress", "arj"], "--compress"),
        (&["--qcap-bytes", "1000000G"], "--qcap-bytes"),
        (&["--rotate-secs", "18446744073709551615"], "--rotate-secs"),
        (&["--idle-timeout", "31622401"], "--idle-timeout"),
        (&["--grace", "18446744073709551615"], "--grace"),
        (&["--metrics", "foo"], "--metrics"),
        (&["--metrics", "127.0.0.1:99999"], "--metrics"),
        (&["--frobnicate"], "--frobnicate"),
    ] {
        Example::run("log_agent", &[&["127.0.0.1", "0"], flags].concat()).misused(named);
    }
    Example::run("log_agent", &["127.0.0.1", "99999"]).misused("99999");
    Example::run("log_agent", &["127.0.0.1"]).misused("PORT");
    let help = Example::run("log_agent", &["--help"]).stdout;
    for flag in ["--dir", "--rotate-mb", "--cap", "--qcap", "--low", "--ack", "--fsync", "--metrics", "--grace"] {
        assert!(help.contains(flag), "{flag}");
    }
}

#[test]
fn few_records_may_wait_without_further_flags() {
    for most in ["100", "1"] {
        let folder = Folder::new();
        let (agent, address) = serve(&folder, &["--qcap", most]);
        let mut peer = connect(address);
        peer.write_all(&frames(1, 0, 0..1000, SIZES)).expect("taken");
        finish(peer);
        agent.shuts_down("TERM");
        agent.ends().with_code(0);
        assert_eq!(read_len(&folder), 1000, "--qcap {most}");
    }
    Example::run("log_agent", &["127.0.0.1", "0", "--qcap", "100", "--low", "100"]).misused("--low");
}

#[test]
fn an_address_that_cannot_be_bound_is_named_with_its_flag() {
    let folder = Folder::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    let port = address.port().to_string();
    let fails = |words: &[&str], text: &str| {
        let ended = Example::run("log_agent", &[words, &["--dir", folder.text()]].concat());
        assert!(ended.stderr.starts_with(&format!("error: {text}")), "{text}: {ended:#?}");
        ended.with_code(1);
    };
    fails(&["127.0.0.1", &port], &format!("cannot bind {address}: address already in use; "));
    // The first interface is the loopback, which has no such address.
    fails(&["fe80::1%lo", "0"], "cannot bind [fe80::1%1]:0: ");
    fails(&["no host", "0"], "cannot bind \"no host:0\": ");
    let metrics = ["127.0.0.1", "0", "--metrics", &address.to_string()];
    fails(&metrics, &format!("--metrics: cannot bind {address}: address already in use; "));
    fails(&["127.0.0.1", "0", "--metrics", "no host:0"], "--metrics: cannot bind \"no host:0\": ");
}

#[test]
fn both_servers_say_which_of_them_goes_down() {
    let folder = Folder::new();
    let (agent, address) = serve(&folder, &["--metrics", "127.0.0.1:0"]);
    agent.shuts_down("TERM");
    let ended = agent.ends().with_code(0);
    let lines: Vec<_> = ended.stderr.lines().filter(|line| line.contains("shutting down: ")).collect();
    assert_eq!(lines.len(), 2, "{ended:#?}");
    let is_agents =
        lines.iter().map(|line| line.contains(&format!("shutting down: {address} with 0 connections open")));
    assert!(is_agents.eq([true, false]), "{lines:?}");
}

#[test]
fn the_spammer_sends_and_proves_it() {
    let folder = Folder::new();
    let (agent, address) = serve(&folder, &["--ack", "--writers", "2"]);
    let port = address.port().to_string();
    let flags = "3 0 --size 26..400 --count 20000 --ack --verify";
    let spam = |host: &str| {
        let args: Vec<_> = [host, &port].into_iter().chain(flags.split(' ')).chain([folder.text()]).collect();
        Example::run("log_spammer", &args)
    };
    let ended = spam("127.0.0.1");
    for line in
        ["sent 20000 records, ", "acknowledged 20000 of 20000 records", "verified: all 20000 acknowledged records"]
    {
        assert!(ended.stdout.contains(line), "{ended:#?}");
    }
    agent.shuts_down("INT");
    let ended = agent.ends().with_code(0);
    assert!(ended.stderr.contains("goodbye; connections: 3, records in: 20000, written: 20000 ("), "{ended:#?}");
    spam("127.0.0.1").failed_with("does log_agent run there?");
    Example::run("log_spammer", &["127.0.0.1", "1", "1", "5", "--verify", folder.text(), "--size", "5"])
        .misused("--size");
}

#[test]
fn the_spammer_keeps_its_rate_from_the_start() {
    let folder = Folder::new();
    let (_agent, address) = serve(&folder, &[]);
    let port = address.port().to_string();
    // Long enough that the first is sent in that time, wherever its thread is held up.
    let ended = Example::run("log_spammer", &["127.0.0.1", &port, "50", "1", "--seconds", "5"]).with_code(0);
    let sent =
        ended.stdout.split_once("sent ").and_then(|(_, sent)| sent.split_once(" records, ")).expect("it says so");
    let sent: u64 = sent.0.parse().expect("a number");
    assert!((1..=6).contains(&sent), "a record at once, and one a second: {ended:#?}");
}

#[test]
fn what_was_set_aside_is_proved_and_printed() {
    let folder = Folder::new();
    let (agent, address) = serve(&folder, &["--ack", "--json", "--writers", "2"]);
    let port = address.port().to_string();
    let flags = "2 0 --size 26..400 --count 2000 --ack --verify";
    let args: Vec<_> = ["127.0.0.1", &port].into_iter().chain(flags.split(' ')).chain([folder.text()]).collect();
    let ended = Example::run("log_spammer", &args).with_code(0);
    assert!(ended.stdout.contains("verified: all 2000 acknowledged records"), "{ended:#?}");
    let follower = Example::start("log_cat", &[folder.text(), "--bad", "--follow"]);
    let mut peer = connect(address);
    peer.write_all(&[frame(b"{}"), frame(b"no JSON")].concat()).expect("taken");
    follower.says("no JSON");
    finish(peer);
    agent.shuts_down("TERM");
    agent.ends().with_code(0);

    let cat = |flags: &[&str]| Example::run("log_cat", &[&[folder.text()], flags].concat());
    assert_eq!(cat(&[]).with_code(0).stdout, "{}\n");
    assert_eq!(cat(&["--bad"]).with_code(0).stdout.lines().count(), 2001);
    assert_eq!(cat(&["--bad", "--connection", "3"]).with_code(0).stdout, "no JSON\n");
    cat(&["--bad", "--verify"]).misused("--verify");
}

#[test]
fn log_cat_prints_what_was_received() {
    let folder = Folder::new();
    let (agent, address) = serve(&folder, &["--rotate-mb", "1"]);
    for record in ODD {
        let mut peer = connect(address);
        peer.write_all(&frame(record)).expect("taken");
        finish(peer);
    }
    let mut peer = connect(address);
    peer.write_all(&frames(3, 0, 0..3, (26, 26))).expect("taken");
    finish(peer);
    agent.shuts_down("TERM");
    agent.ends().with_code(0);

    let cat = |flags: &[&str]| Example::run("log_cat", &[&[folder.text()], flags].concat());
    let all = cat(&["--verify"]);
    assert!(all.stdout.contains("1 segments: 11 records, ") && all.stdout.contains("finished"), "{all:#?}");
    assert_eq!(cat(&["--connection", "3"]).stdout, "a line\n");
    assert_eq!(cat(&["--connection", "5"]).stdout, "two\nlines\n");
    assert_eq!(cat(&["--connection", "1.5"]).stdout, "two\nlines\n", "of the start that began with segment 1");
    assert_eq!(cat(&["--connection", "2.5"]).stdout, "");
    cat(&["--connection", "1.2.3"]).misused("--connection");
    assert_eq!(cat(&["--connection", "9"]).stdout.lines().count(), 3);
    assert_eq!(cat(&["--until", "2001-09-09"]).stdout, "");
    assert!(cat(&["--since", "2001-09-09", "--connection", "3"]).stdout == "a line\n");
    cat(&["--since", "never"]).misused("--since");

    let path = folder.path().join(&folder.files(".log")[0]);
    let mut bytes = fs::read(&path).expect("read");
    bytes[3] ^= 1;
    fs::write(&path, bytes).expect("written");
    cat(&["--verify"]).failed_with("1 records are not those that were received");
    assert_eq!(read_len(&folder), 11);
}

fn read_len(folder: &Folder) -> usize {
    let segment = crate::store::listing::segments(folder.path(), Kind::Log).expect("listed")[0];
    let mut reader = crate::store::reader::SegmentReader::open(folder.path(), segment).expect("opened");
    let mut count = 0;
    while let crate::store::reader::Step::Record { .. } = reader.step().expect("read") {
        count += 1;
    }
    count
}

#[test]
fn log_cat_follows() {
    let folder = Folder::new();
    let (agent, address) = serve(&folder, &[]);
    let mut peer = connect(address);
    peer.write_all(&frame(b"the first")).expect("taken");
    let cat = Example::start("log_cat", &[folder.text(), "--follow"]);
    cat.says("the first");
    peer.write_all(&frame(b"the second")).expect("taken");
    cat.says("the second");
    finish(peer);
    agent.shuts_down("TERM");
    agent.ends().with_code(0);
    // The next agent, the next segment.
    let (_agent, address) = serve(&folder, &[]);
    let mut peer = connect(address);
    peer.write_all(&frame(b"the third")).expect("taken");
    cat.says("the third");
    assert_eq!(read_all(&folder, Kind::Log).len(), 3);
}

#[test]
fn a_real_disk_that_is_full_is_waited_for() {
    let Some(disk) = SmallDisk::mount() else { return println!("mounting is not allowed here") };
    let (agent, address) = serve(&disk.0, &["--rotate-mb", "1", "--ack"]);
    let sent = thread::spawn(move || {
        let peer = connect(address);
        let mut writing = peer.try_clone().expect("cloned");
        let writer = thread::spawn(move || {
            writing.write_all(&frames(1, 0, 0..50_000, (90, 110))).expect("taken");
            writing.shutdown(std::net::Shutdown::Write).expect("connected");
        });
        let mut said = Vec::new();
        std::io::Read::read_to_end(&mut &peer, &mut said).expect("the end of the stream");
        writer.join().expect("no panic");
        newest(&said)
    });
    let line = agent.logs(": No space left on device");
    assert!(
        line.contains("writer 0 cannot go on: cannot ") && line.contains(" log_"),
        "what has failed, and where: {line}"
    );
    disk.grow();
    agent.logs("goes on after");
    assert_eq!(sent.join().expect("no panic"), 50_000);
    agent.shuts_down("TERM");
    agent.ends().with_code(0);
    let found = verify::look(disk.0.path(), 1, 1, (90, 110)).expect("read");
    assert_eq!((found.records, found.faults), (vec![50_000], vec![]));
}

#[test]
fn the_manuals_client_is_told_how_many_are_on_disk() {
    let manual = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/log_agent/README.md"));
    let manual = manual.expect("it is there");
    let (_, behind) = manual.split_once("```python\n").expect("a client");
    let (client, _) = behind.split_once("```").expect("its end");
    let folder = Folder::new();
    let (_agent, address) = serve(&folder, &["--ack"]);
    let script = folder.path().join("client.py");
    fs::write(&script, client).expect("written");
    let python = Command::new("python3")
        .arg(script)
        .args(["127.0.0.1", &address.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    // Where there is no Python, nobody uses this client.
    let Ok(mut python) = python else { return };
    let mut lines = python.stdin.take().expect("piped");
    for number in 0..1000 {
        writeln!(lines, "line {number}").expect("taken");
    }
    drop(lines);
    let output = python.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1000 of 1000 records are on disk\n");
}

#[test]
fn memory_stays_below_the_ceiling_that_was_printed() {
    // For the senders, which are this process's.
    rlimit::increase_nofile_limit(4096).expect("as far as it is allowed");
    let folder = Folder::new();
    // No more than a few records find space: everything fills up behind them.
    let flags = ["--disk-max", "2M", "--qcap-bytes", "8M", "--metrics", "127.0.0.1:0"];
    let (agent, address) = serve(&folder, &flags);
    let page = http_get(address_in(&agent.says("metrics on http://")), "/metrics");
    let ceiling = number_of(&page, "log_agent_memory_ceiling_bytes");
    let large = frame(&pattern(1 << 20, 1));
    let more_than_one = large.repeat(2);
    // Each sends a record and a part of one, as much of it as is taken; but so many bytes only when it is asked to.
    let mut senders: Vec<_> = (0..60).map(|_| (connect(address), &more_than_one[..1_700_000])).collect();
    senders.iter().for_each(|(sender, _)| sender.set_nonblocking(true).expect("set"));
    let mut send = |later: usize| {
        for (sender, rest) in &mut senders {
            while rest.len() > later
                && let Ok(count @ 1..) = sender.write(&rest[..rest.len() - later])
            {
                *rest = &rest[count..];
            }
        }
    };
    let small: Vec<_> = (0..1500)
        .map(|_| {
            let mut sender = connect(address);
            sender.write_all(&large[..3000]).expect("the kernel takes it");
            sender
        })
        .collect();
    let numbers = || http_get(address_in(&agent.says("metrics on http://")), "/metrics");
    // Before any record is whole: once the writer is in trouble, nobody is read who would need another block.
    until("all have blocks that can", || {
        send(1_000_000);
        let page = numbers();
        let most = |tier| number_of(&page, &format!("log_agent_inbound_blocks_high_water{{tier=\"{tier}\"}}"));
        // All blocks for large records, and one for each small sender or nearly so.
        most("large") >= 16 && most("small") > 1000
    });
    until("the queue is full as well", || {
        send(0);
        let page = numbers();
        // At least what the writer holds.
        number_of(&page, "log_agent_queue_bytes") > 1 << 20 && number_of(&page, "log_agent_writers_in_trouble") == 1
    });
    agent.logs("cannot go on: --disk-max 2097152 leaves no room");
    let status = fs::read_to_string(format!("/proc/{}/status", agent.id())).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is told");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10;
    println!("peak {} KiB of {} KiB", peak >> 10, ceiling >> 10);
    assert!(peak < ceiling, "{peak} of {ceiling}");
    drop((senders, small));
}

#[test]
fn a_huge_line_is_recovered_within_the_ceiling() {
    let folder = Folder::new();
    // Nothing in it, and no end of a line: neither takes memory.
    let huge = fs::File::create(folder.path().join("log_20010909_014640_0001.log")).expect("made");
    huge.set_len(300 << 20).expect("set");
    let flags = ["--qcap-bytes", "2M", "--cap", "64K", "--connections-max", "64", "--metrics", "127.0.0.1:0"];
    let (agent, _) = serve(&folder, &flags);
    let page = http_get(address_in(&agent.says("metrics on http://")), "/metrics");
    let ceiling = number_of(&page, "log_agent_memory_ceiling_bytes");
    let status = fs::read_to_string(format!("/proc/{}/status", agent.id())).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is told");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10;
    assert!(peak < ceiling && ceiling < 200 << 20, "{peak} of {ceiling}");
    // The longest record that there may be; what is behind it has no end, and was torn.
    assert_eq!(folder.size("log_20010909_014640_0001.log"), 256 << 20);
}

fn address_in(line: &str) -> SocketAddr {
    line.trim_start_matches("metrics on http://").trim_end_matches("/metrics").parse().expect("an address")
}

fn number_of(page: &str, name: &str) -> u64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in\n{page}")).parse().expect("a number")
}
