//! How long files and functions are, and how wide lines; and that each file says what it is.

use super::source::{Source, identifiers, item_end, line_of};

/// Complains of a file of more than `lines_max` lines.
pub fn long_file(source: &Source, lines_max: usize) -> Option<String> {
    let lines = source.text.lines().count();
    (lines > lines_max).then(|| {
        format!("{}: {lines} lines, {} over the limit: which noun can move out?", source.path, lines - lines_max)
    })
}

/// Complains of functions of more than `lines_max` lines, from the line with `fn` to the closing brace.
pub fn long_functions(source: &Source, lines_max: usize) -> Vec<String> {
    let code = &source.code;
    let functions = identifiers(code).filter(|(_, word)| *word == "fn").filter_map(|(at, _)| {
        // A type `fn(..)` has no name.
        let name = identifiers(&code[at..]).nth(1).filter(|(next, _)| code[at + 2..at + next].trim().is_empty())?.1;
        let lines = line_of(code, item_end(code, at) - 1) - line_of(code, at) + 1;
        Some((at, name, lines))
    });
    let long = functions.filter(|(_, _, lines)| *lines > lines_max);
    long.map(|(at, name, lines)| {
        let line = line_of(code, at);
        format!("{}:{line}: fn {name} has {lines} lines, the limit is {lines_max}", source.path)
    })
    .collect()
}

/// Complains of lines of more than `columns_max` characters, unless it is a literal that makes them so: the formatter
/// breaks code, but neither comments nor literals.
pub fn wide_lines(source: &Source, columns_max: usize) -> Vec<String> {
    let lines = (1..).zip(source.text.lines().zip(source.code.lines()));
    let wide = lines.filter_map(|(number, (text, code))| {
        // A comment is what is blanked out up to the end of the line, and begins like one.
        let code = code.trim_end();
        let (before, behind) = text.split_at(code.len());
        let ends_in_comment = behind.trim_start().starts_with("//");
        let has_literal = before != code || !(behind.trim().is_empty() || ends_in_comment);
        let columns = text.chars().count();
        let excused = has_literal && !ends_in_comment;
        (columns > columns_max && !excused).then_some((number, columns))
    });
    let complaint =
        |(number, columns)| format!("{}:{number}: {columns} columns, the limit is {columns_max}: wrap it", source.path);
    wide.map(complaint).collect()
}

/// Complains of a file that does not begin by saying what it is.
pub fn no_introduction(source: &Source) -> Option<String> {
    let first = source.text.lines().next().unwrap_or("");
    let says = first.strip_prefix("//!").is_some_and(|text| !text.trim().is_empty());
    (!says).then(|| format!("{}:1: begins with {first:?} and not with `//! what it is`", source.path))
}

#[test]
fn a_long_file_is_refused() {
    assert_eq!(long_file(&Source::new("src/a.rs", "//! A.\nfn a() {}\n"), 2), None);
    assert!(long_file(&Source::new("src/a.rs", "//! A.\nfn a() {}\n\n"), 2).is_some());
}

#[test]
fn a_long_function_is_refused() {
    let text =
        "trait T {\n    fn short(&self, call: fn(u8) -> u8);\n}\n\nfn long(\n    a: u8,\n) {\n    if a {\n    }\n}\n";
    let source = Source::new("src/a.rs", text);
    assert_eq!(long_functions(&source, 6), Vec::<String>::new());
    assert_eq!(long_functions(&source, 5), ["src/a.rs:5: fn long has 6 lines, the limit is 5"]);
}

#[test]
fn a_wide_line_is_refused_unless_a_literal_makes_it_so() {
    let refused = |text: &str| wide_lines(&Source::new("src/a.rs", text), 20);
    for text in [
        "//! Twenty columns.1",
        "/// Zwanzig Buchstäb",
        "let text = \"a literal\";",
        "\"two \\\n    lines, both of them wide\"",
    ] {
        assert_eq!(refused(text), Vec::<String>::new(), "{text:?}");
    }
    for text in [
        "//! Twenty-one columns",
        "    // A comment: \"quoted\".",
        "let a = 1; // Why it is.",
        "(\"a\", 'b'); // Why it is.",
        "let longer = a_name(of_some);",
    ] {
        assert_eq!(refused(text).len(), 1, "{text:?}");
    }
    assert_eq!(refused("\n/// Zwanzig Buchstäbe."), ["src/a.rs:2: 22 columns, the limit is 20: wrap it"]);
}

#[test]
fn a_file_that_does_not_say_what_it_is_is_refused() {
    assert_eq!(no_introduction(&Source::new("src/a.rs", "//! A thing.\n")), None);
    for text in ["", "//!\n", "// A thing.\n", "\n//! A thing.\n", "use std::io;\n//! A thing.\n"] {
        assert!(no_introduction(&Source::new("src/a.rs", text)).is_some(), "{text:?}");
    }
}
