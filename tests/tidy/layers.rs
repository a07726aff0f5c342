//! Which module may know which.

use super::source::{Source, identifiers, is_word, line_of};

/// Modules at the top of the crate that stand beside each other and do not know each other.
pub struct Row {
    pub name: &'static str,
    pub modules: &'static [&'static str],
}

/// Complains of each path in the product code that leads to a row which is not above, of modules without a row, and of
/// rows with modules that do not exist.
pub fn upward(rows: &[Row], sources: &[Source]) -> Vec<String> {
    let mut complaints = unknown(rows, sources);
    for source in sources {
        let Some(own) = source.module().first().and_then(|module| row_of(rows, module)) else { continue };
        for (line, path) in references(source) {
            if let Some(what) = refused(rows, own, source.module()[0], &path) {
                complaints.push(format!("{}:{line}: `crate::{}`: {what}", source.path, path.join("::")));
            }
        }
    }
    complaints
}

fn refused(rows: &[Row], own: usize, module: &str, path: &[String]) -> Option<String> {
    let target = path.first()?;
    if target == module {
        return None;
    }
    match row_of(rows, target) {
        Some(row) if row < own => None,
        Some(row) if row == own => {
            Some(format!("`{module}` and `{target}` stand side by side in the row `{}`", rows[row].name))
        }
        Some(row) => {
            let (below, above) = (rows[row].name, rows[own].name);
            Some(format!("`{module}` is in the row `{above}`, which does not know `{below}` below it"))
        }
        None => Some("not a module of the crate: name the module it comes from, not its re-export".into()),
    }
}

fn unknown(rows: &[Row], sources: &[Source]) -> Vec<String> {
    let modules = || sources.iter().filter_map(|source| Some((source, *source.module().first()?)));
    let homeless = modules().filter(|(_, module)| row_of(rows, module).is_none());
    let homeless = homeless.map(|(source, module)| {
        format!("{}: `{module}` has no row: in tests/tidy.rs, put it below everything it uses", source.path)
    });
    let listed = rows.iter().flat_map(|row| row.modules);
    let gone = listed.filter(|listed| !modules().any(|(_, module)| module == **listed));
    homeless.chain(gone.map(|gone| format!("`{gone}` has a row in tests/tidy.rs and does not exist"))).collect()
}

fn row_of(rows: &[Row], module: &str) -> Option<usize> {
    rows.iter().position(|row| row.modules.contains(&module))
}

/// Complains when one of `siblings`, modules inside of `parent`, knows another one.
pub fn between_siblings(parent: &str, siblings: &[&str], sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let [first, own, ..] = source.module()[..] else { continue };
        if first != parent || !siblings.contains(&own) {
            continue;
        }
        for (line, path) in references(source) {
            let [first, other, ..] = &path[..] else { continue };
            if first == parent && other != own && siblings.contains(&other.as_str()) {
                complaints.push(format!("{}:{line}: `{own}` and `{other}` do not know each other", source.path));
            }
        }
    }
    complaints
}

/// Every path from the root of the crate in the product code, with its line: `crate::..`, and `super::..` and
/// `self::..` translated; each branch of a group is a path.
fn references(source: &Source) -> Vec<(usize, Vec<String>)> {
    let code = source.product.as_str();
    let module: Vec<String> = source.module().iter().map(|part| (*part).to_owned()).collect();
    let mut found = Vec::new();
    for (at, word) in identifiers(code) {
        let continues = code[..at].ends_with("::");
        let base = match word {
            "crate" => Vec::new(),
            "super" => module[..module.len().saturating_sub(1)].to_vec(),
            "self" => module.clone(),
            _ => continue,
        };
        if continues {
            continue;
        }
        let Some(rest) = code[at + word.len()..].strip_prefix("::") else { continue };
        let mut paths = Vec::new();
        branches(rest, base, &mut paths);
        found.extend(paths.into_iter().map(|path| (line_of(code, at), path)));
    }
    found
}

/// Follows a path of a `use`; returns what is behind it.
fn branches<'a>(code: &'a str, mut path: Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let code = code.trim_start();
    if let Some(mut group) = code.strip_prefix('{') {
        loop {
            group = branches(group, path.clone(), found).trim_start();
            match group.strip_prefix(',') {
                Some(more) if !more.trim_start().starts_with('}') => group = more,
                other => return other.unwrap_or(group).trim_start().strip_prefix('}').unwrap_or(""),
            }
        }
    }
    let length = code.bytes().take_while(|byte| is_word(*byte)).count();
    let (word, mut rest) = code.split_at(length);
    match word {
        "super" => drop(path.pop()),
        "self" | "" => {}
        word => path.push(word.to_owned()),
    }
    if let Some(deeper) = rest.strip_prefix("::") {
        return branches(deeper, path, found);
    }
    if let Some(renamed) = rest.trim_start().strip_prefix("as ") {
        rest = renamed.trim_start().trim_start_matches(|letter: char| letter.is_ascii() && is_word(letter as u8));
    }
    found.push(path);
    rest
}

const ROWS: &[Row] = &[
    Row { name: "ground", modules: &["id", "wake"] },
    Row { name: "memory", modules: &["buffer"] },
    Row { name: "threads", modules: &["processor"] },
];

fn tree(path: &str, text: &str) -> Vec<Source> {
    let others = ["src/id.rs", "src/wake.rs", "src/buffer/mod.rs", "src/processor/mod.rs"];
    let others = others.into_iter().filter(|other| *other != path).map(|other| Source::new(other, ""));
    others.chain([Source::new(path, text), Source::new("src/lib.rs", "use crate::processor::X;")]).collect()
}

#[test]
fn a_row_knows_those_above_it_only() {
    let upward = |path, text| upward(ROWS, &tree(path, text));
    let none = Vec::<String>::new();
    assert_eq!(upward("src/buffer/tier.rs", "use crate::id::Id; use super::block::Block; use crate::buffer::X;"), none);
    assert_eq!(
        upward("src/buffer/tier.rs", "\nuse crate::processor::Turn;"),
        [
            "src/buffer/tier.rs:2: `crate::processor::Turn`: `buffer` is in the row `memory`, which does not know `threads` \
          below it"
        ]
    );
    for text in [
        "fn f() { crate::processor::turn() }",
        "use super::super::processor::Turn;",
        "use crate::{id::Id, processor::{Turn, self}};",
        "use crate::{id::{Id, Other as Name}, processor};",
        "pub(crate) use crate::processor as p;",
        "use crate::Turn;",
        "$crate::processor::turn!()",
    ] {
        assert_ne!(upward("src/buffer/tier.rs", text), none, "{text}");
    }
    let in_tests = "#[cfg(test)]\nmod tests {\n    use crate::processor::Turn;\n}\n// crate::processor";
    assert_eq!(upward("src/buffer/tier.rs", in_tests), none);
}

#[test]
fn modules_of_one_row_do_not_know_each_other() {
    let complaints = upward(ROWS, &tree("src/id.rs", "use crate::wake::WakeFlag;\nuse super::wake;"));
    assert_eq!(complaints.len(), 2, "{complaints:?}");
    assert!(complaints[0].ends_with("`id` and `wake` stand side by side in the row `ground`"), "{complaints:?}");
}

#[test]
fn every_module_has_a_row_and_every_row_its_modules() {
    let homeless = upward(ROWS, &tree("src/attic.rs", ""));
    assert_eq!(homeless, ["src/attic.rs: `attic` has no row: in tests/tidy.rs, put it below everything it uses"]);
    let rest: Vec<_> = tree("src/id.rs", "").into_iter().filter(|source| source.path != "src/wake.rs").collect();
    assert_eq!(upward(ROWS, &rest), ["`wake` has a row in tests/tidy.rs and does not exist"]);
}

#[test]
fn siblings_inside_of_a_module_can_be_kept_apart() {
    let check =
        |text| between_siblings("protocol", &["http1", "lines"], &[Source::new("src/protocol/http1/head.rs", text)]);
    assert_eq!(
        check("use super::framing::X; use crate::protocol::codec::Y; use super::super::codec;"),
        Vec::<String>::new()
    );
    assert_eq!(
        check("use super::super::lines::X;"),
        ["src/protocol/http1/head.rs:1: `http1` and `lines` do not know each other"]
    );
    assert_eq!(check("use crate::protocol::{codec, lines};").len(), 1);
}
