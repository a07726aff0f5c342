//! What other servers do with the cases, as it was recorded, and why that differs.
//!
//! `tests/peers` records; its command is in docs/http-conformance.md.

use std::collections::BTreeMap;

use super::http1_cases::Case;

/// The servers, in the order of the record.
pub const PEERS: [&str; 2] = ["nginx", "hyper"];

/// What was recorded: which versions, and an outcome of each for every case.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub versions: [String; 2],
    /// By case: the checksum of what was sent, and the outcomes.
    pub outcomes: BTreeMap<String, (u32, [String; 2])>,
}

impl Record {
    #[allow(dead_code, reason = "for who compares")]
    pub fn parse(text: &str) -> Self {
        let mut record = Self::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let parts: Vec<&str> = line.split(" | ").collect();
            match parts.as_slice() {
                ["versions", nginx, hyper] => record.versions = [*nginx, *hyper].map(String::from),
                [name, sum, nginx, hyper] => {
                    let sum = u32::from_str_radix(sum, 16).unwrap_or_else(|_| panic!("a checksum: {line}"));
                    record.outcomes.insert((*name).to_owned(), (sum, [*nginx, *hyper].map(String::from)));
                }
                _ => panic!("neither versions nor an outcome: {line}"),
            }
        }
        record
    }

    #[allow(dead_code, reason = "for who records")]
    pub fn write(&self) -> String {
        let [nginx, hyper] = &self.versions;
        let mut text =
            format!("# Written by tests/peers. Case, checksum of its input, outcomes.\nversions | {nginx} | {hyper}\n");
        for (name, (sum, [nginx, hyper])) in &self.outcomes {
            text.push_str(&format!("{name} | {sum:08x} | {nginx} | {hyper}\n"));
        }
        text
    }
}

/// Targets that ask the user's code here for more than its usual answer.
const ASKS_USER: [&[u8]; 8] =
    [b" /status/", b" /empty", b" /close", b" /upgrade", b" /split", b" /drop", b" /later", b" status:"];

/// Whether a case says anything about others: not with limits of its own, nor when it asks for another answer than 200.
pub fn concerns(case: &Case) -> bool {
    let has = |target: &&[u8]| case.input.windows(target.len()).any(|window| window == *target);
    case.limits == sluicegate::http1::Limits::default() && !ASKS_USER.iter().any(has)
}

/// Of all that a client sends (FNV-1a).
pub fn checksum(case: &Case) -> u32 {
    let ends = [u8::from(case.client_ends)];
    let pauses = case.pauses.iter().flat_map(|pause| (*pause as u32).to_be_bytes());
    let bytes = case.input.iter().copied().chain(pauses).chain(ends);
    bytes.fold(0x811c_9dc5, |sum: u32, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Why some cases go differently at a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub peer: usize,
    pub why: String,
    pub cases: Vec<String>,
}

/// A line `peer: why`, and below it, indented, the names of the cases.
pub fn parse_differences(text: &str) -> Vec<Difference> {
    let mut differences: Vec<Difference> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(names) = line.strip_prefix("  ") {
            let difference = differences.last_mut().unwrap_or_else(|| panic!("no reason above {line:?}"));
            difference.cases.extend(names.split(' ').map(String::from));
            continue;
        }
        let (peer, why) = line.split_once(": ").unwrap_or_else(|| panic!("no peer in {line:?}"));
        let peer = PEERS.iter().position(|known| *known == peer).unwrap_or_else(|| panic!("unknown peer in {line:?}"));
        differences.push(Difference { peer, why: why.to_owned(), cases: Vec::new() });
    }
    differences
}

/// Complains of outcomes that differ without a reason, of reasons without a difference, and of an old record. `ours`
/// are the outcomes here.
pub fn complaints(
    cases: &[Case],
    ours: &BTreeMap<String, String>,
    record: &Record,
    differences: &[Difference],
) -> Vec<String> {
    let mut complaints = Vec::new();
    for case in cases.iter().filter(|case| concerns(case)) {
        let Some((sum, outcomes)) = record.outcomes.get(&case.name) else {
            complaints.push(format!("{}: no outcome was recorded", case.name));
            continue;
        };
        if *sum != checksum(case) {
            complaints.push(format!("{}: was changed after its outcome was recorded", case.name));
        }
        for (peer, theirs) in outcomes.iter().enumerate() {
            let explains = |difference: &&Difference| difference.peer == peer && difference.cases.contains(&case.name);
            let reasons = differences.iter().filter(explains).count();
            let wanted = usize::from(ours[&case.name] != *theirs);
            if reasons != wanted {
                let (name, peer, ours) = (&case.name, PEERS[peer], &ours[&case.name]);
                complaints.push(format!("{name}: {reasons} reasons; here it is `{ours}`, {peer} has `{theirs}`"));
            }
        }
    }
    let known = |name: &&String| !cases.iter().any(|case| case.name == **name && concerns(case));
    let gone = record.outcomes.keys().chain(differences.iter().flat_map(|difference| &difference.cases)).filter(known);
    complaints.extend(gone.map(|name| format!("{name}: is no case of the peers'")));
    complaints
}

#[test]
fn a_record_comes_back_as_it_was_written() {
    let mut record = Record { versions: ["1".into(), "2".into()], ..Record::default() };
    record.outcomes.insert("a".into(), (7, ["200 open".into(), "400 close".into()]));
    assert_eq!(Record::parse(&record.write()), record);
}

#[test]
fn reasons_stand_above_their_cases() {
    let differences = parse_differences("hyper: lenient\n  a b\n  c\n");
    assert_eq!(
        differences,
        [Difference { peer: 1, why: "lenient".into(), cases: vec!["a".into(), "b".into(), "c".into()] }]
    );
}
