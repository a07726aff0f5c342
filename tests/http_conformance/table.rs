//! The document: requirements with their proofs, cases with their outcomes, and why outcomes differ.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::http1_cases::Case;
use super::peers::{Difference, PEERS, Record};
use super::requirements::{Requirement, proofs};

const INTRODUCTION: &str = "\
<!-- Written by tests/http_conformance.rs. Change the cases or the requirements, and bless. -->

# HTTP conformance

Every MUST and MUST NOT for servers in RFC 9112 (HTTP/1.1) and in sections 5 to 10 of RFC 9110 (HTTP semantics), in our
words, with the cases that prove it or the reason why none does; besides those SHOULD, MAY and rules of the grammar that
bear on how a request is framed. What binds clients alone is left out; what binds intermediaries has a row a section.

Where the RFC leaves a choice, the hardened one is taken, and the row says which: what two readers could read in two
ways is refused, for this server may stand behind a proxy that reads it the other way.

The requirements are `tests/data/http1/requirements.txt`, the cases the files beside it. Each case goes through the
decoder, in any pieces (`tests/http1.rs`, `tests/protocol_splits.rs`), and through a whole server in the simulator
(`tests/http_conformance.rs`); there, too, this document is compared with them:

```
cargo test --test http_conformance                        # fails when a requirement is unproven, or this is not the table
SLUICEGATE_BLESS=1 cargo test --test http_conformance     # writes this file
```

The same bytes were sent to nginx (from Debian, default settings, as a proxy before an HTTP server, because it reads
bodies only then) and to hyper's server (default settings). This records it anew, and fails on a difference without a
reason; it needs `nginx` to be installed:

```
cargo run --manifest-path tests/peers/Cargo.toml
```

An outcome is the statuses of the answers, each with the length of the body that was read if there was one, and what
became of the connection: `200(5) 400 close` is an answer to a request with a body of five bytes, then a refusal, and the
end of the connection; `open` alone is a server that waits for more. Cases with limits of their own, and those that ask
the user's code for another answer than 200, were not sent.
";

/// The whole document.
pub fn document(
    requirements: &[Requirement],
    cases: &[Case],
    ours: &BTreeMap<String, String>,
    record: &Record,
    differences: &[Difference],
) -> String {
    let mut text = INTRODUCTION.to_owned();
    let proofs = proofs(cases);
    let [nginx, hyper] = &record.versions;
    text.push_str("\n## Requirements\n\n");
    text.push_str("In the last columns: in how many of the cases the others do the same.\n\n");
    writeln!(text, "| section | | what is asked | proof, or why none | choice | nginx {nginx} | hyper {hyper} |")
        .unwrap();
    text.push_str("|---|---|---|---|---|---|---|\n");
    for requirement in requirements {
        let cases = proofs.get(requirement.id.as_str()).map_or(&[][..], Vec::as_slice);
        let proof = proof(requirement, cases);
        let choice = requirement.choice.as_deref().unwrap_or("");
        let same = [0, 1].map(|peer| same(cases, ours, record, peer));
        let Requirement { section, level, says, .. } = requirement;
        let [nginx, hyper] = same;
        writeln!(text, "| {section} | {level} | {says} | {proof} | {choice} | {nginx} | {hyper} |").unwrap();
    }
    text.push_str("\n## Cases\n\n");
    text.push_str("The numbers are those of the reasons below.\n\n");
    writeln!(text, "| case | section | what | here | nginx {nginx} | hyper {hyper} |").unwrap();
    text.push_str("|---|---|---|---|---|---|\n");
    for case in cases {
        let here = &ours[&case.name];
        let theirs = [0, 1].map(|peer| theirs(case, here, record, differences, peer));
        let (name, section, about) = (&case.name, &case.section, cell(&case.about));
        let [nginx, hyper] = theirs;
        writeln!(text, "| `{name}` | {section} | {about} | {here} | {nginx} | {hyper} |").unwrap();
    }
    text.push_str("\n## Why others differ\n\n");
    for (number, Difference { peer, why, cases }) in (1..).zip(differences) {
        let (peer, count) = (PEERS[*peer], cases.len());
        let cases = if count == 1 { "1 case" } else { &format!("{count} cases") };
        writeln!(text, "{number}. {peer}, {cases}: {why}").unwrap();
    }
    text
}

fn proof(requirement: &Requirement, cases: &[&Case]) -> String {
    let mut proofs: Vec<String> = cases.iter().map(|case| format!("`{}`", case.name)).collect();
    if let Some((file, name)) = requirement.test.as_deref().and_then(|test| test.split_once(' ')) {
        proofs.push(format!("test `{name}` in {file}"));
    }
    proofs.extend(requirement.none.clone());
    proofs.join(", ")
}

fn same(cases: &[&Case], ours: &BTreeMap<String, String>, record: &Record, peer: usize) -> String {
    let compared = cases.iter().filter_map(|case| Some((&ours[&case.name], &record.outcomes.get(&case.name)?.1[peer])));
    let (same, all) = compared.fold((0, 0), |(same, all), (here, there)| (same + u32::from(here == there), all + 1));
    if all == 0 { String::new() } else { format!("{same} of {all}") }
}

fn theirs(case: &Case, here: &str, record: &Record, differences: &[Difference], peer: usize) -> String {
    let Some((_, outcomes)) = record.outcomes.get(&case.name) else { return "not sent".into() };
    let outcome = &outcomes[peer];
    if outcome == here {
        return "same".into();
    }
    let explains = |difference: &Difference| difference.peer == peer && difference.cases.contains(&case.name);
    match differences.iter().position(explains) {
        Some(at) => format!("{outcome} ({})", at + 1),
        None => outcome.clone(),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
