//! Strictness, proven: every requirement has its cases, every case goes its whole way through a server, and
//! docs/http-conformance.md says so.

#[path = "common/http1_cases.rs"]
mod http1_cases;
#[path = "common/splits.rs"]
mod splits;
mod http_conformance {
    use super::{http1_cases, splits};

    pub mod peers;
    pub mod requirements;
    pub mod table;
    pub mod whole_path;
    pub mod wire;
}
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use http_conformance::peers::{self, Record};
use http_conformance::whole_path::{Talk, derived, talk};
use http_conformance::{requirements, table};
use http1_cases::Case;

const TABLE: &str = "docs/http-conformance.md";

static CASES: LazyLock<Vec<Case>> = LazyLock::new(http1_cases::all);
static TALKS: LazyLock<BTreeMap<String, Talk>> =
    LazyLock::new(|| CASES.iter().map(|case| (case.name.clone(), talk(case))).collect());

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n{} in all\n", complaints.join("\n"), complaints.len());
}

/// What became of each case here.
fn ours() -> BTreeMap<String, String> {
    TALKS.iter().map(|(name, talk)| (name.clone(), talk.outcome())).collect()
}

fn record() -> Record {
    Record::parse(&read("tests/data/http1/peers/outcomes.txt"))
}

fn differences() -> Vec<peers::Difference> {
    peers::parse_differences(&read("tests/data/http1/peers/differences.txt"))
}

#[test]
fn every_requirement_has_a_case_or_a_reason() {
    let requirements = requirements::parse(&read("tests/data/http1/requirements.txt"));
    assert!(requirements.len() > 100, "only {} requirements were found", requirements.len());
    assert_none(&requirements::complaints(&requirements, &CASES, &root()));
}

#[test]
fn every_case_is_answered_as_the_decoder_says() {
    let wrong = CASES.iter().filter(|case| case.answer.is_none()).filter_map(|case| {
        let (wanted, got) = (derived(case), TALKS[&case.name].outcome());
        (wanted != got).then(|| format!("{}: wanted `{wanted}`, got `{got}`", case.name))
    });
    assert_none(&wrong.collect::<Vec<_>>());
}

#[test]
fn answers_are_what_the_cases_say_to_the_byte() {
    let answered = CASES.iter().filter(|case| case.answer.is_some() || case.then.is_some());
    let wrong = answered.filter_map(|case| {
        let talk = &TALKS[&case.name];
        let (wanted, got) = (case.answer.as_deref().unwrap_or(""), talk.masked());
        let ends = case.then.as_deref() == Some(talk.end.word());
        let end = talk.end.word();
        (wanted != got || !ends)
            .then(|| format!("{}:\n  wanted {wanted} {:?}\n  got    {got} {end:?}", case.name, case.then))
    });
    assert_none(&wrong.collect::<Vec<_>>());
}

#[test]
fn where_others_differ_there_is_a_reason() {
    assert_none(&peers::complaints(&CASES, &ours(), &record(), &differences()));
}

#[test]
fn the_table_is_that_of_the_cases() {
    let requirements = requirements::parse(&read("tests/data/http1/requirements.txt"));
    let document = table::document(&requirements, &CASES, &ours(), &record(), &differences());
    if std::env::var_os("SLUICEGATE_BLESS").is_some() {
        fs::write(root().join(TABLE), document).expect("written");
    } else {
        assert!(document == read(TABLE), "{TABLE} is old: SLUICEGATE_BLESS=1 cargo test --test http_conformance");
    }
}
