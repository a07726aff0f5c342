//! A writer that panics: the agent ends, and says so.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;

use crate::agent::plan::Plan;
use crate::agent::recovery::recover;
use crate::clients::{acking, start_on};
use crate::disks::{Faults, FaultyDisk, Folder};
use crate::logs;
use crate::net::{LONG, connect, frame, over};
use crate::rig::read_all;
use crate::store::name::Kind;

#[test]
fn a_writer_that_panics_ends_the_agent_and_is_named() {
    logs::keep();
    for (before, call) in ["create", "write", "sync"].into_iter().enumerate() {
        let folder = Folder::new();
        let faults = Faults::default();
        let (agent, address) =
            start_on(&Plan { writers: 2, ..acking(&folder) }, FaultyDisk::new(folder.path(), &faults));
        // Neighbours: each has a writer of its own.
        let [mut well, mut ill] = [connect(address), connect(address)];
        let mut said = [0; 8];
        well.write_all(&frame(b"well")).expect("taken");
        well.read_exact(&mut said).expect("acknowledged");
        faults.panic_in(call);
        ill.write_all(&frame(b"ill")).expect("taken");
        let (ended, end) = mpsc::channel();
        thread::spawn(move || ended.send(agent.join()));
        let end = end.recv_timeout(LONG).expect("nobody has asked it to end, but it does");
        let error = end.expect_err("the program's exit code is 1").to_string();
        assert!(error.ends_with(" panicked; 1 records were received and may not be written"), "{call}: {error}");
        assert!(error.starts_with("writer "), "{call}: {error}");
        let lines = logs::with(&["writer ", " panicked; the agent ends"]);
        assert_eq!(lines.len(), before + 1, "{call}: {lines:?}");
        over(&mut well);
        over(&mut ill);
        recover(folder.path()).expect("recovered");
        let payloads: Vec<_> = read_all(&folder, Kind::Log).into_iter().map(|(_, payload)| payload).collect();
        assert!(payloads.contains(&b"well".to_vec()), "{call}: what was acknowledged is there");
    }
}
