//! The whole agent, in this process, with real connections.

use std::fs;
use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use sluicegate::{CloseKind, PauseReason};
use socket2::SockRef;

use crate::agent::directory::bytes_of;
use crate::agent::plan::{Packer, Plan};
use crate::agent::recovery::recover;
use crate::clients::{
    acking, finish, frames, http_get, newest, plan, start, start_on, stop, until, write_until_blocked,
};
use crate::disks::{Faults, FaultyDisk, Folder};
use crate::logs;
use crate::net::{LONG, at_most, connect, frame, over, reset};
use crate::rig::{ODD, assert_payloads, read_all};
use crate::store::name::Kind;
use crate::verify;

#[test]
fn many_clients_are_written_exactly_and_in_order() {
    for writers in [1, 4] {
        let folder = Folder::new();
        let (agent, address) = start(&Plan { writers, ..plan(&folder) });
        thread::scope(|scope| {
            for client in 0..16 {
                scope.spawn(move || {
                    let mut peer = connect(address);
                    peer.write_all(&frames(1, client, 0..1500, (26, 300))).expect("taken");
                    assert_eq!(finish(peer), b"", "nothing is said without --ack");
                });
            }
        });
        stop(agent).expect("everything was written");
        let found = verify::look(folder.path(), 1, 16, (26, 300)).expect("read");
        assert_eq!((found.records, found.faults), (vec![1500; 16], vec![]));
        assert!(folder.files(".log").iter().all(|file| folder.size(file) <= 64 << 10));
        assert_eq!(recover(folder.path()).expect("recovered").unfinished, 0, "all segments are finished");
    }
}

#[test]
fn records_may_come_in_any_pieces() {
    let folder = Folder::new();
    let (agent, address) = start(&plan(&folder));
    let bytes: Vec<u8> = ODD.iter().flat_map(|record| frame(record)).collect();
    for cut in 0..bytes.len() {
        let mut peer = connect(address);
        peer.write_all(&bytes[..cut]).expect("taken");
        peer.write_all(&bytes[cut..]).expect("taken");
        finish(peer);
    }
    let mut peer = connect(address);
    bytes.chunks(1).for_each(|byte| peer.write_all(byte).expect("taken"));
    finish(peer);
    stop(agent).expect("everything was written");
    let expected: Vec<_> = (0..=bytes.len()).flat_map(|_| ODD).collect();
    assert_payloads(&folder, &expected);
}

#[test]
fn the_last_acknowledgement_counts_every_record() {
    let folder = Folder::new();
    let (agent, address) = start(&Plan { writers: 2, ..acking(&folder) });
    thread::scope(|scope| {
        for client in 0..8u16 {
            scope.spawn(move || {
                let mut peer = connect(address);
                peer.write_all(&frames(1, client, 0..400, (26, 100))).expect("taken");
                assert_eq!(newest(&finish(peer)), 400, "told before the end of the connection");
            });
        }
    });
    let found = verify::look(folder.path(), 1, 8, (26, 100)).expect("read");
    assert_eq!((found.records, found.faults), (vec![400; 8], vec![]));
    assert_eq!(agent.numbers.records_acked.value(), 3200);
    stop(agent).expect("everything was written");
}

#[test]
fn a_client_that_waits_for_each_acknowledgement_gets_it() {
    let folder = Folder::new();
    let (agent, address) = start(&acking(&folder));
    let mut peer = connect(address);
    for number in 1..=50u64 {
        peer.write_all(&frame(b"one by one")).expect("taken");
        let mut said = [0; 8];
        peer.read_exact(&mut said).expect("acknowledged");
        assert_eq!(u64::from_be_bytes(said), number);
    }
    drop(peer);
    stop(agent).expect("everything was written");
}

#[test]
fn who_goes_down_acknowledges_before() {
    let folder = Folder::new();
    let (agent, address) = start(&acking(&folder));
    let mut peer = connect(address);
    peer.write_all(&frames(1, 0, 0..2000, (26, 60))).expect("taken");
    let stops = thread::spawn(move || stop(agent).expect("everything was written"));
    let said = {
        let mut said = Vec::new();
        peer.read_to_end(&mut said).expect("the end of the stream");
        said
    };
    drop(peer);
    stops.join().expect("it has ended");
    let found = verify::look(folder.path(), 1, 1, (26, 60)).expect("read");
    assert_eq!((found.records, found.faults), (vec![2000], vec![]), "what was sent before is read out");
    assert_eq!(newest(&said), 2000);
}

#[test]
fn too_long_a_record_ends_its_connection_and_no_other() {
    logs::keep();
    let folder = Folder::new();
    let (agent, address) = start(&plan(&folder));
    let mut good = connect(address);
    good.write_all(&frame(&[b'a'; 64 << 10])).expect("taken");
    for length in [(64 << 10) + 1, u32::MAX] {
        let mut bad = connect(address);
        bad.write_all(&frame(b"before")).expect("taken");
        bad.write_all(&length.to_be_bytes()).expect("taken");
        over(&mut bad);
    }
    let mut half = connect(address);
    half.write_all(&frame(b"whole")).expect("taken");
    half.write_all(&frame(b"torn")[..6]).expect("taken");
    finish(half);
    good.write_all(&frame(b"behind")).expect("taken");
    finish(good);
    let numbers = [&agent.numbers.records_oversize, &agent.numbers.records_incomplete].map(|number| number.value());
    assert_eq!(numbers, [2, 1]);
    assert_eq!(agent.server().metrics().closed_by(CloseKind::Protocol), 2);
    for (length, so_far) in [((64 << 10) + 1, 1), (u32::MAX, 2)] {
        let what = format!("was closed: record of {length} bytes is over --cap, 65536; that makes {so_far} so far");
        assert_eq!(logs::with(&[&what]).len(), 1, "{what}");
    }
    stop(agent).expect("everything was written");
    let mut found: Vec<_> = read_all(&folder, Kind::Log).into_iter().map(|(_, payload)| payload.len()).collect();
    found.sort_unstable();
    assert_eq!(found, [5, 6, 6, 6, 64 << 10]);
}

#[test]
fn two_thousand_stalled_half_records_hold_nobody_up() {
    let folder = Folder::new();
    let (agent, address) = start(&acking(&folder));
    let stalled: Vec<_> = (0..at_most(2000))
        .map(|_| {
            let mut peer = connect(address);
            peer.write_all(&frame(b"half a record")[..9]).expect("taken");
            peer
        })
        .collect();
    let buffered = 9 * stalled.len() as u64;
    until("all halves have arrived", || agent.server().metrics().bytes_buffered == buffered);
    let mut good = connect(address);
    good.write_all(&frames(1, 0, 0..3000, (26, 200))).expect("taken");
    assert_eq!(newest(&finish(good)), 3000);
    assert_eq!(agent.server().metrics().open, stalled.len() as u64, "and the others live on");
    drop(stalled);
    stop(agent).expect("everything was written");
}

#[test]
fn ten_thousand_connections_come_and_go() {
    let folder = Folder::new();
    let (agent, address) = start(&plan(&folder));
    for number in 0..10_000u64 {
        let mut peer = connect(address);
        match number % 4 {
            0 => drop(peer),
            1 => reset(peer),
            _ => {
                peer.write_all(&frames(1, 0, number..number + 1, (26, 26))).expect("taken");
                drop(peer);
            }
        }
    }
    until("all have come and gone", || {
        let numbers = agent.server().metrics();
        numbers.closed_total() + numbers.accepted_unserved == 10_000
    });
    stop(agent).expect("everything was written");
    assert_eq!(read_all(&folder, Kind::Log).len(), 5000);
}

#[test]
fn a_full_disk_makes_senders_wait_and_loses_nothing() {
    for ack in [false, true] {
        let folder = Folder::new();
        let faults = Faults::default();
        let plan = if ack { acking(&folder) } else { plan(&folder) };
        let (agent, address) = start_on(&plan, FaultyDisk::new(folder.path(), &faults));
        faults.space(Some(10_000));
        let mut peer = connect(address);
        let bytes = frames(1, 0, 0..200_000, (90, 110));
        // Some kernels would hold all of it.
        SockRef::from(&peer).set_send_buffer_size(64 << 10).expect("set");
        let taken = write_until_blocked(&mut peer, &bytes, || {
            let paused = agent.server().metrics().paused[PauseReason::NotReady as usize];
            (agent.numbers.troubled.value(), paused) == (1, 1)
        });
        assert!(taken < bytes.len(), "the sender waits");
        faults.space(None);
        // A reader of acknowledgements, so that none of the two waits for the other.
        let sent = thread::scope(|scope| {
            let mut writing = peer.try_clone().expect("cloned");
            scope.spawn(move || {
                writing.write_all(&bytes[taken..]).expect("taken");
                writing.shutdown(std::net::Shutdown::Write).expect("connected");
            });
            let mut said = Vec::new();
            peer.read_to_end(&mut said).expect("the end of the stream");
            newest(&said)
        });
        assert_eq!(sent, if ack { 200_000 } else { 0 });
        assert_eq!((agent.numbers.troubles.value(), agent.numbers.troubled.value()), (1, 0));
        assert!(agent.numbers.pauses.total(Instant::now()) > Duration::ZERO);
        stop(agent).expect("everything was written");
        let found = verify::look(folder.path(), 1, 1, (90, 110)).expect("read");
        assert_eq!((found.records, found.faults), (vec![200_000], vec![]));
    }
}

#[test]
fn a_disk_that_stays_full_does_not_keep_the_agent_alive_and_the_loss_is_said() {
    let folder = Folder::new();
    let faults = Faults::default();
    let grace = Duration::from_millis(100);
    let (agent, address) = start_on(&Plan { grace, ..plan(&folder) }, FaultyDisk::new(folder.path(), &faults));
    faults.space(Some(0));
    let mut peer = connect(address);
    peer.write_all(&frame(b"lost")).expect("taken");
    until("it has noticed", || agent.numbers.troubled.value() == 1);
    let error = stop(agent).expect_err("it could not be written").to_string();
    assert!(error.starts_with("1 records were received and not written"), "{error}");
}

#[test]
fn what_is_not_json_is_set_aside() {
    let folder = Folder::new();
    let (agent, address) = start(&Plan { json: true, ..acking(&folder) });
    let mut peer = connect(address);
    // The last ones are text that is not UTF-8, within a string: a byte that is none, and a character cut short.
    let records = [
        &b"{\"a\": 1}"[..],
        b"{\"a\": 1",
        b"",
        "[\"\u{e9}\", {}]\n".as_bytes(),
        b"\xff",
        b"\"\xff\"",
        b"{\"\xc3\": 1}",
    ];
    for record in records {
        peer.write_all(&frame(record)).expect("taken");
    }
    // And all at once.
    peer.write_all(&records.iter().flat_map(|record| frame(record)).collect::<Vec<_>>()).expect("taken");
    assert_eq!(newest(&finish(peer)), 14);
    assert_eq!(agent.numbers.records_bad.value(), 10);
    stop(agent).expect("everything was written");
    assert_payloads(&folder, &[records[0], records[3]].repeat(2));
    let bad: Vec<_> = read_all(&folder, Kind::Bad).into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(bad, [&records[1..3], &records[4..]].concat().repeat(2));
}

#[test]
fn packed_segments_come_back_exactly() {
    for packer in [Packer::Gzip, Packer::Zstd] {
        let folder = Folder::new();
        let (agent, address) = start(&Plan { packer: Some(packer), ..plan(&folder) });
        let mut peer = connect(address);
        peer.write_all(&frames(1, 0, 0..5000, (26, 300))).expect("taken");
        peer.write_all(&ODD.iter().flat_map(|record| frame(record)).collect::<Vec<_>>()).expect("taken");
        finish(peer);
        until("some are packed", || agent.numbers.segments_compressed.value() > 3);
        stop(agent).expect("everything was written");
        let found = verify::look(folder.path(), 1, 1, (26, 300)).expect("read");
        assert_eq!((found.records, found.faults), (vec![5000], vec![]));
        let all = read_all(&folder, Kind::Log);
        assert!(all[5000..].iter().map(|(_, payload)| payload.as_slice()).eq(ODD));
        let suffix = if packer == Packer::Gzip { ".gz" } else { ".zst" };
        assert!(folder.files(suffix).len() > 3 && folder.files(".tmp").is_empty());
        // The next agent finds its way among them.
        let (agent, _) = start(&plan(&folder));
        stop(agent).expect("nothing to write");
        assert_eq!(read_all(&folder, Kind::Log).len(), 5008);
    }
}

#[test]
fn numbers_are_served_and_everything_is_in_one_ceiling() {
    let folder = Folder::new();
    let (agent, address) = start(&Plan { metrics: Some("127.0.0.1:0".into()), ..acking(&folder) });
    let mut peer = connect(address);
    peer.write_all(&frames(1, 0, 0..100, (26, 100))).expect("taken");
    finish(peer);
    let page = http_get(agent.metrics_address().expect("it is served"), "/metrics");
    for line in [
        "log_agent_records_total 100",
        "log_agent_acknowledged_records_total 100",
        "log_agent_written_records_total 100",
        "log_agent_rewritten_records_total 0",
        "log_agent_queue_records 0",
        "log_agent_connections_total 1",
        "log_agent_connections_paused{reason=\"not_ready\"} 0",
        "log_agent_dropped_records_total{reason=\"incomplete\"} 0",
        "log_agent_segments 1",
        "log_agent_dropped_segments_uncounted_total 0",
        "log_agent_fsync_failures_total 0",
        "# TYPE log_agent_fsync_seconds histogram",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
    }
    for name in ["disk_free_bytes", "records_per_second", "written_megabytes_per_second", "paused_seconds_total"] {
        assert!(page.contains(&format!("\nlog_agent_{name} ")), "{name} is missing in\n{page}");
    }
    let ceiling = agent.server().memory_ceiling();
    let rows: Vec<_> = ceiling.rows().map(|row| row.name()).collect();
    for row in ["batches", "writers", "acknowledgements", "metrics server", "program"] {
        assert_eq!(rows.iter().filter(|name| **name == row).count(), 1, "{row} in {rows:?}");
    }
    assert!(page.contains(&format!("log_agent_memory_ceiling_bytes {}\n", ceiling.total())));
    assert!(http_get(agent.metrics_address().expect("it is served"), "/").is_empty());
    let used = |page: &str| page.lines().find_map(|line| line.strip_prefix("log_agent_disk_used_bytes ")?.parse().ok());
    assert_eq!(used(&page), Some(bytes_of(folder.path()).expect("counted")));
    for file in [&folder.files(".log")[0], &folder.files(".idx")[0]] {
        fs::remove_file(folder.path().join(file)).expect("deleted");
    }
    let page = http_get(agent.metrics_address().expect("it is served"), "/metrics");
    assert_eq!(used(&page), Some(0), "whoever has deleted it");
    stop(agent).expect("everything was written");
}

#[test]
fn segments_are_counted_once_and_not_at_all_if_nobody_can_count_them() {
    let folder = Folder::new();
    let (agent, address) = start(&Plan { metrics: Some("127.0.0.1:0".into()), ..acking(&folder) });
    let mut peer = connect(address);
    peer.write_all(&frames(1, 0, 0..100, (26, 100))).expect("taken");
    finish(peer);
    fs::write(folder.path().join(format!("{}.zst", folder.files(".log")[0])), "packed").expect("written");
    let page = || http_get(agent.metrics_address().expect("it is served"), "/metrics");
    let is_served = |page: &str, name: &str| page.contains(&format!("\nlog_agent_{name}"));
    assert!(is_served(&page(), "segments 1\n"), "it is there plain and packed");
    fs::remove_dir_all(folder.path()).expect("deleted");
    let page = page();
    for (name, served) in
        [("segments ", false), ("disk_used_bytes ", false), ("segments_total{event=\"opened\"} 1", true)]
    {
        assert_eq!(is_served(&page, name), served, "{name} in\n{page}");
    }
    stop(agent).expect("everything was written");
}

/// Whoever holds connections for numbers without asking, with half a request, or without reading, holds nobody up for
/// long.
#[test]
fn idle_connections_do_not_keep_numbers_from_who_asks() {
    let folder = Folder::new();
    let (agent, _) = start(&Plan { metrics: Some("127.0.0.1:0".into()), ..plan(&folder) });
    let address = agent.metrics_address().expect("it is served");
    let whole = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    let held: Vec<_> = (0..at_most(300))
        .map(|number| {
            let mut peer = connect(address);
            peer.write_all(&whole.as_bytes()[..[0, 20, whole.len()][number % 3]]).expect("the kernel takes it");
            peer
        })
        .collect();
    let began = Instant::now();
    let mut peer = connect(address);
    // Nobody has to say that it is the last request.
    peer.write_all(whole.as_bytes()).expect("taken");
    let mut answer = String::new();
    peer.read_to_string(&mut answer).expect("an answer, and its end");
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert!(answer.contains("\nlog_agent_records_total 0\n"), "{answer}");
    assert!(began.elapsed() < LONG / 4, "{:?}", began.elapsed());
    drop(held);
    stop(agent).expect("nothing to write");
}

#[test]
fn one_directory_has_one_agent() {
    let folder = Folder::new();
    let (agent, _) = start(&plan(&folder));
    let error = crate::agent::run::Agent::start(&plan(&folder), |_| Ok(())).err().expect("refused").to_string();
    assert!(error.contains("is in use by another log_agent"), "{error}");
    stop(agent).expect("nothing to write");
    stop(start(&plan(&folder)).0).expect("and then the next");
}
