//! The end of the agent comes in time, also where the disk takes everything and is only slow.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use sluicegate::http1::Http1;
use sluicegate::{Finish, Message, MessageProcessor, Protocol, Reply, Server};

use crate::agent::compress::Compressor;
use crate::agent::fsync::Fsync;
use crate::agent::lane::TimeIsOver;
use crate::agent::plan::{Packer, Plan};
use crate::agent::recovery::recover;
use crate::agent::run::Agent;
use crate::agent::writers::Deadline;
use crate::child::Example;
use crate::clients::{acking, finish, frames, http_get, plan, start_on, stop, until};
use crate::disks::{Faults, FaultyDisk, Folder};
use crate::logs;
use crate::net::{LONG, connect};
use crate::rig::{Rig, Setup, assert_payloads, read_all, some};
use crate::store::name::Kind;

#[test]
fn a_writer_whose_time_is_over_stops_before_its_next_append() {
    for policy in [Fsync::Batch, Fsync::Never, Fsync::Interval(Duration::from_secs(1))] {
        let mut rig = Rig::new(Setup { policy, rotate_bytes: 100, ..Setup::default() });
        let deadline: Arc<Deadline> = Arc::default();
        rig.writer.end_by(Arc::clone(&deadline));
        let writes = AtomicU64::new(0);
        // Some segments have been written then, with four writes each.
        rig.faults.watch(move |call| {
            if call == "write" && writes.fetch_add(1, SeqCst) == 17 {
                deadline.set(Instant::now());
            }
        });
        rig.give(0, &some(0, 60));
        rig.give(0, &some(60, 60));
        rig.writer.advance(rig.now);
        let there = rig.records(Kind::Log).len();
        assert!((5..50).contains(&there), "{policy}: {there}");
        assert_eq!(rig.numbers.troubles.value(), 0, "{policy}: nothing is wrong with the disk");
        assert_eq!(rig.writer.close(rig.now).lost + there, 120, "{policy}");
        assert_eq!(read_all(&rig.folder, Kind::Log).len(), there, "{policy}: it does not begin anew");
    }
}

/// That time is over as well does not hide what is wrong with the disk.
#[test]
fn a_disk_that_fails_at_the_deadline_is_said_to_do_so() {
    logs::keep();
    for space in [None, Some(0)] {
        let mut rig = Rig::new(Setup::default());
        let deadline: Arc<Deadline> = Arc::default();
        rig.writer.end_by(Arc::clone(&deadline));
        rig.faults.watch(move |call| {
            if call == "write" {
                deadline.set(Instant::now());
            }
        });
        rig.faults.break_write(1);
        rig.give(0, &some(0, 20));
        rig.writer.advance(rig.now);
        assert_eq!(rig.numbers.troubles.value(), 1);
        rig.faults.space(space);
        let name = rig.folder.files(".log")[0].clone();
        assert!(!logs::with(&["writer 0 cannot go on: cannot write "]).is_empty(), "{name}");
        let lost = rig.writer.close(rig.now).lost;
        assert_eq!(lost, if space.is_some() { 20 } else { 0 }, "there is one more try");
    }
    assert!(!logs::with(&["writer 0: its last try has failed: cannot "]).is_empty());
    assert!(!TimeIsOver::is(&std::io::ErrorKind::TimedOut.into()), "disks have such an error, too");
}

#[test]
fn a_slow_disk_does_not_hold_the_end_up_and_the_loss_is_said() {
    const RECORDS: u64 = 3000;
    for acks in [true, false] {
        let folder = Folder::new();
        let usual = if acks { acking(&folder) } else { plan(&folder) };
        let plan = Plan { grace: Duration::ZERO, rotate_bytes: 4096, bytes_high: 8 << 20, ..usual };
        let faults = Faults::default();
        let (agent, address) = start_on(&plan, FaultyDisk::new(folder.path(), &faults));
        let (all_in, wake) = (Arc::new(AtomicBool::new(false)), (Mutex::new(()), Condvar::new()));
        let begins = Arc::clone(&all_in);
        // Nothing until all have come; then some forty seconds for all, or more.
        faults.watch(move |call| {
            if call == "write" {
                until("all have come", || begins.load(SeqCst));
                wake.1.wait_for(&mut wake.0.lock(), Duration::from_millis(20));
            }
        });
        let mut peer = connect(address);
        peer.write_all(&frames(1, 0, 0..RECORDS, (600, 700))).expect("taken");
        until("all are taken in", || agent.numbers.records_in.value() == RECORDS);
        all_in.store(true, SeqCst);
        let began = Instant::now();
        let error = stop(agent).expect_err("that is too much for the time there is").to_string();
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        let (lost, why) = error.split_once(' ').expect("a number first");
        assert!(why.starts_with("records were received and not written"), "{error}");
        recover(folder.path()).expect("recovered");
        let there = read_all(&folder, Kind::Log).len() as u64;
        assert_eq!(lost.parse::<u64>().expect("a number") + there, RECORDS, "{acks}: {there} are there");
    }
}

#[test]
fn packing_ends_with_the_segment_that_is_being_packed() {
    let mut rig = Rig::new(Setup { rotate_bytes: 100, policy: Fsync::Never, ..Setup::default() });
    rig.give(0, &some(0, 20));
    rig.work();
    let asked = Arc::new(AtomicBool::new(false));
    let (reached, stopped) = (Arc::new(AtomicBool::new(false)), Arc::clone(&asked));
    let here = Arc::clone(&reached);
    // The index of a segment is synced before its packed copy gets its name.
    rig.faults.watch(move |call| {
        if call == "sync" {
            here.store(true, SeqCst);
            until("it is asked to stop", || stopped.load(SeqCst));
        }
    });
    let compressor = Compressor::start(Arc::clone(&rig.directory), Packer::Zstd).expect("started");
    until("the first is packed", || reached.load(SeqCst));
    compressor.begin_stop();
    asked.store(true, SeqCst);
    compressor.stop();
    assert_eq!(rig.numbers.segments_compressed.value(), 1);
}

/// As when a signal comes between two lines of the program.
#[test]
fn an_end_that_is_asked_for_before_the_server_runs_is_its_end() {
    let folder = Folder::new();
    let plan = acking(&folder);
    let agent = Agent::start(&plan, |ender| {
        ender.end();
        Ok(())
    });
    let (ended, end) = mpsc::channel();
    thread::spawn(move || ended.send(agent.expect("started").join()));
    end.recv_timeout(LONG).expect("nobody asks it again").expect("in good order");
}

#[test]
fn a_second_signal_ends_it_also_if_nobody_reads_its_log() {
    let folder = Folder::new();
    // The second record finds no room, and is held for the grace.
    let flags = ["--dir", folder.text(), "--ack", "--grace", "1000", "--disk-max", "5000", "--cap", "4096"];
    let (mut agent, address) = Example::serve_unread("log_agent", &["127.0.0.1", "0"], &flags);
    let mut peer = connect(address);
    peer.write_all(&frames(1, 0, 0..1, (3000, 3000))).expect("taken");
    let mut said = [0; 8];
    peer.read_exact(&mut said).expect("acknowledged");
    peer.write_all(&frames(1, 0, 1..2, (3000, 3000))).expect("taken");
    agent.signal("TERM");
    // It listens no more: so that was heard. One that comes too soon is taken for the first.
    until("it goes down", || TcpStream::connect(address).is_err());
    assert!(agent.runs(), "it stays for what it holds");
    until("it ends", || {
        agent.signal("TERM");
        !agent.runs()
    });
    agent.ends().by_signal(15);
}

#[test]
fn an_agent_whose_last_sync_has_failed_says_so_and_ends_with_an_error() {
    let an_hour = Fsync::Interval(Duration::from_secs(3600));
    for (policy, script, suffix) in [
        (an_hour, &[true][..], ".idx"),
        (an_hour, &[false, true], ".log"),
        (an_hour, &[], ""),
        (Fsync::Never, &[true], ""),
    ] {
        let folder = Folder::new();
        let faults = Faults::default();
        faults.fail_syncs(script);
        let plan = Plan { fsync: policy, ..plan(&folder) };
        let (agent, address) = start_on(&plan, FaultyDisk::new(folder.path(), &faults));
        let mut peer = connect(address);
        peer.write_all(&frames(1, 0, 0..20, (30, 60))).expect("taken");
        finish(peer);
        until("all are written", || agent.numbers.records_written.value() == 20);
        let ended = stop(agent);
        if suffix.is_empty() {
            ended.expect("nothing has failed, or nothing was to be synced");
            continue;
        }
        let error = ended.expect_err("nothing comes behind it that would make up for it").to_string();
        let named = format!("cannot sync {}: ", folder.files(suffix)[0]);
        assert!(error.starts_with("the last sync has failed") && error.contains(&named), "{error}");
    }
}

#[test]
fn a_failed_sync_is_told_at_the_end_unless_another_has_succeeded_since() {
    let time = Duration::from_millis(500);
    for (fails_before, more, told) in [(false, false, true), (true, false, true), (true, true, false)] {
        let mut rig = Rig::new(Setup { policy: Fsync::Interval(time), ..Setup::default() });
        rig.give(0, &["one"]);
        rig.work();
        rig.faults.fail_syncs(&[true]);
        if fails_before {
            rig.now += time;
            rig.writer.advance(rig.now);
            assert_eq!(rig.numbers.syncs_failed.value(), 1);
        }
        if more {
            rig.give(0, &["two"]);
            rig.work();
        }
        let closed = rig.writer.close(rig.now);
        assert_eq!((closed.lost, closed.unsynced.is_some()), (0, told), "{fails_before}, {more}");
    }
}

/// What was written before that is not held any more: nothing else would make up for it.
#[test]
fn what_a_segment_has_that_breaks_at_the_end_is_made_durable_all_the_same() {
    let policy = Fsync::Interval(Duration::from_secs(3600));
    let cut_fails: [Option<fn(&Faults)>; 3] =
        [None, Some(|faults| faults.fail_cuts(true)), Some(Faults::fail_cuts_for_want_of_space)];
    for (cut_fails, sync_fails) in cut_fails.into_iter().flat_map(|fails| [(fails, false), (fails, true)]) {
        let mut rig = Rig::new(Setup { policy, ..Setup::default() });
        rig.faults.look_what_is_kept();
        rig.give(0, &["written"]);
        rig.work();
        rig.faults.space(Some(0));
        rig.give(0, &["held"]);
        rig.writer.advance(rig.now).expect("it tries again");
        rig.faults.space(None);
        rig.faults.break_write(1);
        cut_fails.inspect(|fail| fail(&rig.faults));
        rig.faults.fail_syncs(&[sync_fails]);
        let closed = rig.writer.close(rig.now);
        assert_eq!((closed.lost, closed.unsynced.is_some()), (1, sync_fails));
        assert_eq!(rig.numbers.syncs_failed.value(), u64::from(sync_fails));
        let data = rig.faults.kept().last().expect("there was a sync")[&rig.folder.files(".log")[0]].clone();
        assert!(data.starts_with(b"written\n"));
        assert_eq!(rig.numbers.segments_finished.value(), u64::from(cut_fails.is_none()), "it is as good as others");
        recover(rig.folder.path()).expect("recovered");
        assert_payloads(&rig.folder, &["written"]);
    }
}

/// The same of one that is torn, and cannot be cut because there is no space for that.
#[test]
fn what_a_torn_segment_has_is_made_durable_at_the_end() {
    let mut rig = Rig::new(Setup { policy: Fsync::Interval(Duration::from_secs(3600)), ..Setup::default() });
    rig.faults.look_what_is_kept();
    rig.give(0, &["written"]);
    rig.work();
    rig.faults.space(Some(3));
    rig.faults.fail_cuts_for_want_of_space();
    rig.give(0, &["held"]);
    rig.writer.advance(rig.now).expect("it tries again");
    let closed = rig.writer.close(rig.now);
    assert_eq!((closed.lost, closed.unsynced.is_some()), (1, false));
    let data = rig.faults.kept().last().expect("there was a sync")[&rig.folder.files(".log")[0]].clone();
    assert_eq!(data, b"written\n");
}

/// Panics when it is ended.
struct Fails;

impl<P: Protocol> MessageProcessor<P> for Fails {
    fn process(&mut self, _: Message<'_, P>, _: Reply<'_, P>) {}
}

impl Drop for Fails {
    fn drop(&mut self) {
        panic!("as planned");
    }
}

#[test]
fn a_server_that_fails_does_not_hide_how_many_records_are_lost() {
    let why = "the processor thread panicked: as planned";
    for (is_metrics, said) in [(true, format!("; the metrics server has failed: {why}")), (false, format!("; {why}"))] {
        let folder = Folder::new();
        let faults = Faults::default();
        faults.space(Some(0));
        let plan = Plan { grace: Duration::ZERO, ..acking(&folder) };
        let (mut agent, address) = start_on(&plan, FaultyDisk::new(folder.path(), &faults));
        let mut peer = connect(address);
        peer.write_all(&frames(1, 0, 0..3, (30, 60))).expect("taken");
        until("all are taken in", || agent.numbers.records_in.value() == 3);
        if is_metrics {
            let failing = Server::builder(Http1::default()).bind("127.0.0.1:0").expect("bound");
            agent.metrics = Some(failing.start(Fails).expect("started"));
        } else {
            let failing = Server::builder(plan.protocol(&Arc::default())).configure(|config| plan.configure(config));
            agent.server = failing.bind("127.0.0.1:0").expect("bound").start(Fails).expect("started");
            agent.server.stopper().shutdown(Duration::ZERO, Finish::Answer);
        }
        let error = stop(agent).expect_err("both are errors").to_string();
        assert!(error.starts_with("3 records were received and not written") && error.ends_with(&said), "{error}");
    }
}

/// On an address of its own, which no other test listens at.
#[cfg(target_os = "linux")]
#[test]
fn nothing_is_taken_in_before_everything_that_can_fail_is_done() {
    use std::io::ErrorKind;
    let folder = Folder::new();
    let taken = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.2:0").expect("a port"));
    let [address, metrics] = taken.each_ref().map(|taken| taken.local_addr().expect("its address"));
    drop(taken);
    let place = (address.ip().to_string(), address.port());
    let plan = Plan { address: place, metrics: Some(metrics.to_string()), ..acking(&folder) };
    let mut peer = None;
    let failed = Agent::start(&plan, |_| {
        assert!(http_get(metrics, "/metrics").contains("\nlog_agent_records_total 0\n"), "numbers are served");
        let mut sends = connect(address);
        sends.write_all(&crate::net::frame(b"to nobody")).expect("the kernel has it");
        sends.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
        let silence = sends.read(&mut [0; 8]).expect_err("nobody answers").kind();
        assert_eq!(silence, ErrorKind::WouldBlock);
        peer = Some(sends);
        Err(std::io::Error::other("no signals here"))
    });
    assert_eq!(failed.err().expect("it is passed on").to_string(), "no signals here");
    crate::net::over(&mut peer.expect("it was connected"));
    assert_eq!(folder.files(".log").len(), 0);
}
