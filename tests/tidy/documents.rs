//! What documents say of the code: names and paths that exist, and numbers that are those of the code.

use std::collections::BTreeSet;

use super::source::{Source, identifiers};

/// A name between backticks, with its line and with what stands before it in that line.
#[derive(Debug, PartialEq, Eq)]
struct Span<'a> {
    line: usize,
    text: &'a str,
    before: &'a str,
}

/// Complains of names between backticks that the repository does not have. `exists` answers for paths. `foreign` are
/// names of the operating system, of other crates and of protocols; each has to be used.
///
/// - With a `/` or a known ending it is a file or folder, from the root of the repository or below `src/`.
/// - With `()` behind it, it is a function that is defined somewhere below `src/`.
/// - After a file and a colon, it is a function that is defined in that file; several are separated by commas.
/// - Any other single name, or names joined by `::`, is an identifier that the code uses.
/// - What has blanks or operators in it is a quotation, and is not checked.
pub fn unknown_names(
    document: &str,
    sources: &[Source],
    exists: impl Fn(&str) -> bool,
    foreign: &[&str],
) -> Vec<String> {
    let known = Known::of(sources);
    let spans = spans(document);
    let mut complaints = Vec::new();
    let mut file: Option<&Source> = None;
    for span in &spans {
        let Span { line, text, before } = *span;
        if is_path(text) {
            file = find(sources, text);
            if !exists(text) && !exists(&format!("src/{text}")) {
                complaints.push(format!("line {line}: there is no `{text}`"));
            }
            continue;
        }
        // A list of functions goes on over `: ` and `, ` only.
        if !matches!(before, ": " | ", ") {
            file = None;
        }
        if foreign.contains(&text) {
            continue;
        }
        let name = text.strip_suffix("()");
        match (file, name) {
            (Some(file), _) => {
                let name = name.unwrap_or(text).rsplit("::").next().unwrap_or(text);
                if is_name(text) && !functions(file).any(|function| function == name) {
                    complaints.push(format!("line {line}: {} defines no fn {name}", file.path));
                }
            }
            (None, Some(name)) => {
                let last = name.rsplit("::").next().unwrap_or(name);
                if !known.functions.contains(last) {
                    complaints.push(format!("line {line}: no fn {last} is defined below src/"));
                }
            }
            (None, None) if is_name(text) => {
                let missing = text.split("::").find(|part| !known.words.contains(part));
                complaints.extend(missing.map(|part| {
                    format!("line {line}: the code has no `{part}` (if it is somebody else's, list it as foreign)")
                }));
            }
            (None, None) => {}
        }
    }
    let used = |name: &&&str| !spans.iter().any(|span| span.text == **name);
    complaints.extend(foreign.iter().filter(used).map(|name| format!("foreign `{name}` is listed and not mentioned")));
    complaints
}

/// What the code defines and uses.
struct Known<'a> {
    functions: BTreeSet<&'a str>,
    words: BTreeSet<&'a str>,
}

impl<'a> Known<'a> {
    fn of(sources: &'a [Source]) -> Self {
        let functions = sources.iter().flat_map(functions).collect();
        let words = sources.iter().flat_map(|source| identifiers(&source.code).map(|(_, word)| word)).collect();
        Self { functions, words }
    }
}

/// Functions that a file defines.
fn functions(source: &Source) -> impl Iterator<Item = &str> {
    let mut after_fn = false;
    identifiers(&source.code).filter_map(move |(_, word)| {
        let defined = after_fn.then_some(word);
        after_fn = word == "fn";
        defined
    })
}

/// Complains of test names in the last column of a document's tables that no file defines. A name with two underscores
/// or more is one of a test.
pub fn unknown_tests(document: &str, sources: &[Source]) -> Vec<String> {
    let known: BTreeSet<&str> = sources.iter().flat_map(functions).collect();
    let rows = document.lines().enumerate().filter(|(_, line)| line.starts_with('|'));
    let mut complaints = Vec::new();
    for (number, line) in rows {
        let cell = line.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let quoted = cell.split('`').skip(1).step_by(2);
        for name in quoted.filter(|text| is_name(text) && text.matches('_').count() >= 2 && !known.contains(text)) {
            complaints.push(format!("line {}: there is no test {name}", number + 1));
        }
    }
    complaints
}

fn find<'a>(sources: &'a [Source], path: &str) -> Option<&'a Source> {
    sources.iter().find(|source| source.path == path || source.path.strip_prefix("src/") == Some(path))
}

fn is_path(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte));
    let ending = [".rs", ".md", ".toml", ".svg"].iter().any(|ending| text.ends_with(ending));
    plain && (ending || (text.contains('/') && !text.starts_with('/')))
}

fn is_name(text: &str) -> bool {
    let mut parts = text.split("::");
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    parts.all(plain) && !text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The code spans of a document, without its fenced blocks.
fn spans(document: &str) -> Vec<Span<'_>> {
    let mut spans = Vec::new();
    let mut fenced = false;
    for (number, line) in document.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let parts: Vec<&str> = line.split('`').collect();
        let inside = parts.iter().enumerate().filter(|(index, _)| index % 2 == 1 && index + 1 < parts.len());
        spans.extend(inside.map(|(index, text)| Span { line: number + 1, text, before: parts[index - 1] }));
    }
    spans
}

/// The rows of the first table below the heading `## {heading}`, without its own heading: each a list of cells.
pub fn table<'a>(document: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let from = document.lines().skip_while(|line| *line != format!("## {heading}")).skip(1);
    let section = from.take_while(|line| !line.starts_with("## "));
    let rows = section.skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &'a str| line.trim().trim_matches('|').split('|').map(str::trim).collect();
    rows.skip(2).map(cells).collect()
}

/// Complains of settings of a table whose second cell is not the default, and of those that either side does not have.
pub fn wrong_defaults(rows: &[Vec<&str>], defaults: &[(&str, String)]) -> Vec<String> {
    let mut complaints = Vec::new();
    let said = |name: &str| rows.iter().find(|row| row[0] == format!("`{name}`")).and_then(|row| row.get(1));
    for (name, default) in defaults {
        match said(name) {
            None => complaints.push(format!("`{name}` is not in the table; its default is {default}")),
            Some(said) if said != default => complaints.push(format!("`{name}` is {default} and not {said}")),
            Some(_) => {}
        }
    }
    let is_setting = |row: &&Vec<&str>| defaults.iter().any(|(name, _)| row[0] == format!("`{name}`"));
    complaints.extend(rows.iter().filter(|row| !is_setting(row)).map(|row| format!("there is no setting {}", row[0])));
    complaints
}

/// A number with a comma before each three digits.
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let head = digits.len() % 3;
    let (head, rest) = digits.split_at(head);
    let groups = rest.as_bytes().chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    let head = (!head.is_empty()).then(|| head.to_owned());
    head.into_iter().chain(groups).collect::<Vec<_>>().join(",")
}

/// Bytes in the largest unit that divides them.
pub fn bytes(number: usize) -> String {
    let units = [(1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| number >= *unit && number.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", count(number / unit)),
        None => format!("{} B", count(number)),
    }
}

#[test]
fn a_name_that_does_not_exist_is_refused() {
    let sources = [Source::new("src/room/door.rs", "pub struct Door { open: bool }\nimpl Door { fn shut(&self) {} }")];
    let exists = |path: &str| ["src/room/door.rs", "src/room/", "README.md"].contains(&path);
    let check = |document: &str| unknown_names(document, &sources, exists, &["EMFILE"]);
    let fine = "`EMFILE`, `room/door.rs`: `shut`; `Door::shut`, `shut()`, `src/room/`, `README.md`, `a + b`, `64`\n\
                ```\n`nothing`\n```\nand `open";
    assert_eq!(check(fine), Vec::<String>::new());
    for (wrong, complaint) in [
        ("`src/room/wall.rs`", "line 1: there is no `src/room/wall.rs`"),
        ("`Window`", "line 1: the code has no `Window` (if it is somebody else's, list it as foreign)"),
        ("`Door::slam`", "line 1: the code has no `slam` (if it is somebody else's, list it as foreign)"),
        ("`open()`", "line 1: no fn open is defined below src/"),
        ("`room/door.rs`: `open`", "line 1: src/room/door.rs defines no fn open"),
        ("`room/door.rs`: `shut`, `Door::open`", "line 1: src/room/door.rs defines no fn open"),
    ] {
        assert_eq!(check(&format!("{wrong} `EMFILE`")), [complaint]);
    }
    assert_eq!(check("nothing"), ["foreign `EMFILE` is listed and not mentioned"]);
}

#[test]
fn a_default_that_is_not_the_codes_is_refused() {
    let document = "## Other\n| a | b |\n|---|---|\n| `no` | 1 |\n\n## Defaults\n\ntext\n\n| setting | default |\n|---|---|\n\
                    | `max` | 64 KiB | text |\n| `old` | 1 |\n\n| x | y |\n";
    let rows = table(document, "Defaults");
    assert_eq!(rows, [vec!["`max`", "64 KiB", "text"], vec!["`old`", "1"]]);
    let defaults = [("max", bytes(65_536)), ("old", count(1))];
    assert_eq!(wrong_defaults(&rows, &defaults), Vec::<String>::new());
    let changed = [("max", bytes(1 << 20)), ("new", count(16_384))];
    assert_eq!(
        wrong_defaults(&rows, &changed),
        [
            "`max` is 1 MiB and not 64 KiB",
            "`new` is not in the table; its default is 16,384",
            "there is no setting `old`"
        ]
    );
}

#[test]
fn numbers_read_as_people_write_them() {
    assert_eq!([0, 12, 999, 1000, 16_384, 1 << 20].map(count), ["0", "12", "999", "1,000", "16,384", "1,048,576"]);
    assert_eq!([512, 4096, 1_114_112, 1 << 20].map(bytes), ["512 B", "4 KiB", "1,088 KiB", "1 MiB"]);
}

#[test]
fn a_test_that_is_not_there_is_refused() {
    let sources = [Source::new("tests/x.rs", "fn a_door_is_shut() {}")];
    let document = "| planted | caught by |\n|---|---|\n| a `b_c_d` | `a_door_is_shut` |\n| e | `a_door_is_open` |\n";
    assert_eq!(unknown_tests(document, &sources), ["line 4: there is no test a_door_is_open"]);
}
