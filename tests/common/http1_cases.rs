//! The case files in `tests/data/http1`; their README describes the format.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use sluicegate::http1::{Http1, Layout, Limits, RequestView, Version};

use super::splits::{End, Played};

pub struct Case {
    pub name: String,
    pub section: String,
    pub about: String,
    /// The requirements that it proves, of `requirements.txt`.
    pub proves: Vec<String>,
    pub limits: Limits,
    /// The lines of the outcome, as `outcome` writes them.
    pub outcome: Vec<String>,
    /// All that the server sends, escaped, and what it does then.
    pub answer: Option<String>,
    pub then: Option<String>,
    /// The client ends its side behind the input.
    pub client_ends: bool,
    pub input: Vec<u8>,
    /// Where the client waits for the server before it goes on.
    pub pauses: Vec<usize>,
}

impl Case {
    pub fn protocol(&self) -> Http1 {
        prototype(self.limits)
    }

    /// The input, cut where the client waits.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.pauses.iter().copied());
        let ends = self.pauses.iter().copied().chain(std::iter::once(self.input.len()));
        starts.zip(ends).map(|(start, end)| &self.input[start..end])
    }
}

/// The same value for the same limits, as a server has: so heads of one case are known to the next.
fn prototype(limits: Limits) -> Http1 {
    static MADE: Mutex<Vec<(Limits, Http1)>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().expect("nobody panics with it");
    let place = made.iter().position(|(of, _)| *of == limits).unwrap_or_else(|| {
        made.push((limits, Http1::with_limits(limits)));
        made.len() - 1
    });
    made[place].1.clone()
}

/// All cases, by name.
pub fn all() -> Vec<Case> {
    all_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/http1"))
}

/// The same, for a crate that lies elsewhere.
pub fn all_in(folder: &Path) -> Vec<Case> {
    let mut cases: Vec<Case> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "http"))
        .map(|path| parse(path.file_stem().unwrap().to_str().unwrap(), &fs::read_to_string(&path).unwrap()))
        .collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    cases
}

/// A line of the input at which the client waits.
const PAUSE: &str = "\\|";

fn parse(name: &str, text: &str) -> Case {
    let (head, input) = text.split_once("\n\n").unwrap_or_else(|| panic!("{name}: no empty line"));
    let mut case = Case {
        name: name.into(),
        section: String::new(),
        about: String::new(),
        proves: Vec::new(),
        limits: Limits::default(),
        outcome: Vec::new(),
        answer: None,
        then: None,
        client_ends: false,
        input: Vec::new(),
        pauses: Vec::new(),
    };
    for line in input.lines() {
        if line == PAUSE { case.pauses.push(case.input.len()) } else { case.input.extend(unescape(line)) }
    }
    for line in head.lines() {
        let (key, value) = line.split_once(": ").unwrap_or((line, ""));
        match key {
            "section" => case.section = value.into(),
            "about" => case.about = value.into(),
            "proves" => case.proves = value.split(' ').map(String::from).collect(),
            "answer" => *case.answer.get_or_insert_default() += &escape(&unescape(value)),
            "then" => case.then = Some(value.into()),
            "client" if value == "ends" => case.client_ends = true,
            "limits" => value.split(' ').for_each(|limit| set_limit(&mut case.limits, limit)),
            // Unescaped and escaped again, so that a repetition in the file equals what it stands for.
            "message" | "host" | "field" | "body" | "trailer" | "refused" | "partial" => {
                case.outcome.push(format!("{key}: {}", escape(&unescape(value))));
            }
            _ => panic!("{name}: unknown key {key:?}"),
        }
    }
    case
}

fn set_limit(limits: &mut Limits, limit: &str) {
    let (name, value) = limit.split_once('=').unwrap();
    let value = value.parse().unwrap();
    match name {
        "head_max" => limits.head_max = value,
        "fields_max" => limits.fields_max = value,
        "target_max" => limits.target_max = value,
        "body_max" => limits.body_max = value,
        "chunk_framing_max" => limits.chunk_framing_max = value,
        _ => panic!("unknown limit {name}"),
    }
}

/// Everything about a message that a processor can see.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    line: String,
    host: Option<String>,
    fields: Vec<String>,
    body: Vec<u8>,
    trailers: Vec<String>,
}

impl Seen {
    /// Whether the connection goes on after the answer.
    pub fn stays(&self) -> bool {
        self.line.ends_with(" stay")
    }

    pub fn body_len(&self) -> usize {
        self.body.len()
    }
}

pub fn see(layout: &Layout, bytes: &[u8]) -> Seen {
    // The framing that is left behind the message must not matter to who reads it.
    let request = RequestView::new(layout, &bytes[..layout.live_len()]);
    let version = if request.version() == Version::Http10 { "1.0" } else { "1.1" };
    let after = if request.keep_alive() { "stay" } else { "close" };
    let lines = |fields: sluicegate::http1::Headers<'_>| {
        fields.map(|(name, value)| escape(&[name.as_bytes(), b"=", value].concat())).collect()
    };
    assert!(request.headers().all(|(name, _)| request.header(&name.to_uppercase()).is_some()));
    Seen {
        line: escape(format!("{} {} {version} {after}", request.method(), request.target()).as_bytes()),
        host: request.host().map(String::from),
        fields: lines(request.headers()),
        body: request.body().to_vec(),
        trailers: lines(request.trailers()),
    }
}

/// The outcome in the words of the case files. Host and fields appear there only if the file wants to see them.
pub fn outcome(played: &Played<Seen>, wanted: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    for message in &played.messages {
        lines.push(format!("message: {}", message.line));
        let host = message.host.iter().map(|host| format!("host: {host}"));
        let fields = message.fields.iter().map(|field| format!("field: {field}"));
        lines.extend(host.chain(fields).filter(|line| wanted.contains(line)));
        if !message.body.is_empty() {
            lines.push(format!("body: {}", escape(&message.body)));
        }
        lines.extend(message.trailers.iter().map(|field| format!("trailer: {field}")));
    }
    match &played.end {
        End::Open { kept, .. } if kept.is_empty() => {}
        End::Open { kept, .. } => lines.push(format!("partial: {}", kept.len())),
        End::Refused { status, .. } => lines.push(format!("refused: {status}")),
    }
    lines
}

/// `\r \n \t \\ \xHH`, and `\{count text}`, which repeats the text.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let (byte, length) = match escaped.as_bytes()[0] {
            b'r' => (b'\r', 1),
            b'n' => (b'\n', 1),
            b't' => (b'\t', 1),
            b'\\' => (b'\\', 1),
            b'x' => (u8::from_str_radix(&escaped[1..3], 16).unwrap(), 3),
            b'{' => {
                let (repetition, behind) = escaped[1..].split_once('}').unwrap();
                let (count, text) = repetition.split_once(' ').unwrap();
                bytes.extend(unescape(text).repeat(count.parse().unwrap()));
                rest = behind;
                continue;
            }
            other => panic!("unknown escape {other:?} in {text}"),
        };
        bytes.push(byte);
        rest = &escaped[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

pub fn escape(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
