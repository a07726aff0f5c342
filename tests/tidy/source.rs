//! Source files as the checks see them: code without comments and literals, and without tests.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One file of Rust.
pub struct Source {
    /// Relative to the root of the repository, with `/`.
    pub path: String,
    /// As it is written.
    pub text: String,
    /// The same length, with comments, strings and characters blanked out.
    pub code: String,
    /// The same, with items under `#[cfg(test)]` blanked out as well; nothing is left of a file that is only for tests.
    pub product: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = blank_literals(text);
        let product = blank_tests(&code);
        Self { path: path.into(), text: text.into(), code, product }
    }

    /// The path of its module: `src/buffer/tier.rs` is `buffer::tier`, `src/lib.rs` is the root, which has no name.
    pub fn module(&self) -> Vec<&str> {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let path = path.strip_suffix(".rs").unwrap_or(path);
        path.split('/').filter(|part| !["lib", "mod"].contains(part)).collect()
    }
}

/// Where the repository is.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files of Rust below `folder`, by path. No such folder: no files.
pub fn sources(folder: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    collect(&root().join(folder), &mut paths);
    paths.sort();
    let relative = |path: &Path| {
        let parts = path.strip_prefix(root()).expect("below the root").iter();
        parts.map(|part| part.to_str().expect("a name in UTF-8")).collect::<Vec<_>>().join("/")
    };
    let read = |path: &PathBuf| Source::new(&relative(path), &fs::read_to_string(path).expect("a readable file"));
    without_test_files(paths.iter().map(read).collect())
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("a readable folder").path()) {
        match path.is_dir() {
            true if path.ends_with("target") => {}
            true => collect(&path, paths),
            false if path.extension().is_some_and(|extension| extension == "rs") => paths.push(path),
            false => {}
        }
    }
}

/// Blanks the product of files that are modules under `#[cfg(test)]`, or modules of those.
fn without_test_files(mut sources: Vec<Source>) -> Vec<Source> {
    let only_for_tests: BTreeSet<String> = sources.iter().flat_map(test_files).collect();
    let folders: Vec<String> = only_for_tests.iter().map(|path| folder_of_module(path) + "/").collect();
    for source in &mut sources {
        let inside = folders.iter().any(|folder| source.path.starts_with(folder));
        if inside || only_for_tests.contains(&source.path) {
            source.product = blank(&source.code, 0..source.code.len());
        }
    }
    sources
}

/// Where the modules `#[cfg(test)] mod name;` of a file can lie.
fn test_files(source: &Source) -> Vec<String> {
    let folder = folder_of_module(&source.path);
    let items = test_items(&source.code).into_iter();
    let names = items.filter_map(|item| {
        let (_, after) = source.code[item].split_once(']')?;
        let name = after.trim().trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';')?;
        Some(name.trim().to_owned())
    });
    names.flat_map(|name| [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")]).collect()
}

/// Where the modules of the module in this file lie.
fn folder_of_module(path: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    match file {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        other => format!("{folder}/{}", other.trim_end_matches(".rs")),
    }
}

const TEST: &str = "#[cfg(test)]";

fn blank_tests(code: &str) -> String {
    test_items(code).into_iter().fold(code.to_owned(), |code, item| blank(&code, item))
}

/// Where the items under `#[cfg(test)]` lie, the attribute included.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut items = Vec::new();
    let mut from = 0;
    while let Some(found) = code[from..].find(TEST) {
        let start = from + found;
        let end = item_end(code, start + TEST.len());
        items.push(start..end);
        from = end;
    }
    items
}

/// Behind the item that begins at `start`: its `;`, or the brace that closes its body.
pub fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => {
                depth -= 1;
                if depth == 0 && byte == b'}' {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The line, counted from 1, in which `at` lies.
pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Every identifier and keyword in `code`, with its place.
pub fn identifiers(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let starts = |at: usize| at == 0 || !is_word(code.as_bytes()[at - 1]);
    let begins = move |(at, byte): (usize, u8)| (is_word(byte) && !byte.is_ascii_digit() && starts(at)).then_some(at);
    code.bytes().enumerate().filter_map(begins).map(move |at| {
        let length = code[at..].bytes().take_while(|byte| is_word(*byte)).count();
        (at, &code[at..at + length])
    })
}

fn blank(text: &str, range: Range<usize>) -> String {
    let spaces = text[range.clone()].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' });
    format!("{}{}{}", &text[..range.start], spaces.collect::<String>(), &text[range.end..])
}

/// Blanks comments, strings and characters. Every byte keeps its place.
fn blank_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        out[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = if end > at { end } else { at + 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Behind the comment or literal that begins at `at`; `at` if none does.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let inside_word = at > 0 && is_word(bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => at + block_comment(rest),
        [b'r', b'"' | b'#', ..] if !inside_word => at + raw_string(rest, 1),
        [b'b', b'r', b'"' | b'#', ..] if !inside_word => at + raw_string(rest, 2),
        [b'"', ..] => at + quoted(rest, b'"'),
        [b'b', b'"', ..] if !inside_word => at + 1 + quoted(&rest[1..], b'"'),
        [b'b', b'\'', ..] if !inside_word => at + 1 + quoted(&rest[1..], b'\''),
        // A character, and not a lifetime: an escape, or a quote behind one character.
        [b'\'', b'\\', ..] => at + quoted(rest, b'\''),
        [b'\'', first, ..] if *first != b'\'' => {
            let length = 1 + width(*first);
            if rest.get(length) == Some(&b'\'') { at + length + 1 } else { at }
        }
        _ => at,
    }
}

/// How many bytes a character has that begins with `first`.
fn width(first: u8) -> usize {
    match first {
        0..0xc0 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    }
}

fn block_comment(bytes: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// `r"..."`, `r#"..."#`; zero if it is something else (`r#type`).
fn raw_string(bytes: &[u8], prefix: usize) -> usize {
    let hashes = bytes[prefix..].iter().take_while(|byte| **byte == b'#').count();
    let body = prefix + hashes + 1;
    if bytes.get(body - 1) != Some(&b'"') {
        return 0;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let end = bytes[body..].windows(close.len()).position(|window| window == close);
    end.map_or(bytes.len(), |end| body + end + close.len())
}

fn quoted(bytes: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = r##"let a = "thread::"; // mio::
/* unwrap( /* nested */ */ let b = r#"unsafe " "#; let c = '"'; let d: &'a str = b"\"mio::"; let e = '\'';"##;
    let code = Source::new("src/x.rs", text).code;
    assert_eq!(code.len(), text.len());
    let words: Vec<_> = identifiers(&code).map(|(_, word)| word).collect();
    assert_eq!(words, ["let", "a", "let", "b", "let", "c", "let", "d", "a", "str", "let", "e"], "{code}");
}

#[test]
fn tests_are_not_the_product() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { if x {} }\n}\nfn c() {}\n#[cfg(test)]\nmod more;\n";
    let source = Source::new("src/room/mod.rs", text);
    assert_eq!(source.product.split_whitespace().collect::<Vec<_>>(), ["fn", "a()", "{}", "fn", "c()", "{}"]);
    assert_eq!(test_files(&source), ["src/room/more.rs", "src/room/more/mod.rs"]);
    let others = ["src/room/more.rs", "src/room/more/inner.rs", "src/room/most.rs"];
    let others = others.map(|path| Source::new(path, "use std::thread;"));
    let [_, more, inner, most] = &without_test_files([source].into_iter().chain(others).collect())[..] else {
        panic!()
    };
    assert!(more.product.trim().is_empty() && !more.code.trim().is_empty());
    assert!(inner.product.trim().is_empty() && !most.product.trim().is_empty());
}

#[test]
fn a_file_knows_its_module() {
    let module = |path| Source::new(path, "").module().join("::");
    assert_eq!((module("src/lib.rs"), module("src/id.rs")), ("".into(), "id".into()));
    assert_eq!((module("src/buffer/mod.rs"), module("src/a/b/c.rs")), ("buffer".into(), "a::b::c".into()));
}
