//! The list of requirements, and which cases prove them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::http1_cases::Case;

/// What an RFC asks for.
#[derive(Debug, Default, Clone)]
pub struct Requirement {
    pub id: String,
    pub section: String,
    pub level: String,
    pub says: String,
    /// What was chosen where there was a choice.
    pub choice: Option<String>,
    /// Why there is no case.
    pub none: Option<String>,
    /// A test of the crate that proves it: its file and its name.
    pub test: Option<String>,
}

const LEVELS: [&str; 6] = ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "grammar"];

/// All requirements, in the order of the file.
pub fn parse(text: &str) -> Vec<Requirement> {
    let mut requirements: Vec<Requirement> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (key, value) = line.split_once(": ").unwrap_or_else(|| panic!("no key in {line:?}"));
        let value = value.to_owned();
        if key == "id" {
            requirements.push(Requirement { id: value, ..Requirement::default() });
            continue;
        }
        let requirement = requirements.last_mut().unwrap_or_else(|| panic!("{line:?} is before the first id"));
        match key {
            "section" => requirement.section = value,
            "level" => requirement.level = value,
            "says" => requirement.says = value,
            "choice" => requirement.choice = Some(value),
            "none" => requirement.none = Some(value),
            "test" => requirement.test = Some(value),
            _ => panic!("{}: unknown key {key:?}", requirement.id),
        }
    }
    requirements
}

/// The names of the cases that prove each requirement.
pub fn proofs(cases: &[Case]) -> BTreeMap<&str, Vec<&Case>> {
    let mut proofs: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
    for case in cases {
        for id in &case.proves {
            proofs.entry(id).or_default().push(case);
        }
    }
    proofs
}

/// Complains of requirements without a proof or a reason, and of cases that prove what nobody asked for.
pub fn complaints(requirements: &[Requirement], cases: &[Case], root: &Path) -> Vec<String> {
    let proofs = proofs(cases);
    let mut complaints = Vec::new();
    for (at, requirement) in requirements.iter().enumerate() {
        let Requirement { id, section, level, says, none, test, .. } = requirement;
        if section.is_empty() || says.is_empty() || !LEVELS.contains(&level.as_str()) {
            complaints.push(format!("{id}: lacks its section, its level or what it says"));
        }
        if requirements[..at].iter().any(|before| before.id == *id) {
            complaints.push(format!("{id}: is there twice"));
        }
        let proven = proofs.contains_key(id.as_str()) || test.is_some();
        match (proven, none) {
            (false, None) => complaints.push(format!("{id}: has no case, no test and no reason why not")),
            (true, Some(_)) => complaints.push(format!("{id}: has a case, and a reason why it has none")),
            _ => {}
        }
        if let Some(test) = test.as_ref().filter(|test| !exists(test, root)) {
            complaints.push(format!("{id}: there is no test {test}"));
        }
    }
    for (id, cases) in &proofs {
        if !requirements.iter().any(|requirement| requirement.id == *id) {
            complaints.push(format!("{}: proves {id}, which is no requirement", cases[0].name));
        }
    }
    let idle = cases.iter().filter(|case| case.proves.is_empty());
    complaints.extend(idle.map(|case| format!("{}: proves nothing", case.name)));
    complaints
}

/// `file function`: the file has a test of that name.
fn exists(test: &str, root: &Path) -> bool {
    let Some((file, name)) = test.split_once(' ') else { return false };
    let text = fs::read_to_string(root.join(file)).unwrap_or_default();
    text.contains(&format!("#[test]\nfn {name}()"))
}

#[test]
fn what_is_not_proven_is_told() {
    let complain = |text: &str| complaints(&parse(text), &[], Path::new(env!("CARGO_MANIFEST_DIR")));
    let whole = "id: a\nsection: RFC 1\nlevel: MUST\nsays: b\n";
    assert_eq!(complain(whole), ["a: has no case, no test and no reason why not"]);
    assert_eq!(complain(&format!("{whole}none: c\n")), Vec::<String>::new());
    assert_eq!(complain(&format!("{whole}none: c\n\n{whole}none: c\n")), ["a: is there twice"]);
    assert_eq!(complain("id: a\nlevel: MUST\nnone: c\n").len(), 1);
    let test = "src/protocol/http1/tests.rs response_splitting_is_impossible";
    assert_eq!(complain(&format!("{whole}test: {test}\n")), Vec::<String>::new());
    assert_eq!(complain(&format!("{whole}test: {test}_at_all\n")).len(), 1);
}
