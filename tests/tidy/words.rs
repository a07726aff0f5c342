//! Words that stand only where they are listed.

use super::source::{Source, is_word, line_of};

/// A word, and the files in whose product code it may stand.
pub struct Word {
    pub word: &'static str,
    /// Why it is not allowed everywhere.
    pub why: &'static str,
    pub files: &'static [&'static str],
}

/// Complains of the word where it is not listed, and of files that are listed in vain.
pub fn misplaced(word: &Word, sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let listed = word.files.contains(&source.path.as_str());
        for at in places(&source.product, word.word).filter(|_| !listed) {
            let line = line_of(&source.product, at);
            complaints.push(format!("{}:{line}: `{}` does not belong here: {}", source.path, word.word, word.why));
        }
    }
    for file in word.files {
        let used = |source: &Source| source.path == *file && places(&source.product, word.word).next().is_some();
        if !sources.iter().any(used) {
            complaints.push(format!("{file} may use `{}` and does not: take it off the list", word.word));
        }
    }
    complaints
}

/// Complains of words in the product code of all files below `folder`.
pub fn foreign(folder: &str, words: &[&str], sources: &[Source]) -> Vec<String> {
    let inside = sources.iter().filter(|source| source.path.starts_with(folder));
    let found = inside.flat_map(|source| {
        let words = words.iter().flat_map(|word| places(&source.product, word).map(move |at| (word, at)));
        words.map(|(word, at)| format!("{}:{}: {folder} knows no `{word}`", source.path, line_of(&source.product, at)))
    });
    found.collect()
}

/// Where `word` stands by itself, and not as a part of a longer name.
fn places<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    let is_open = |at: usize| bytes.get(at).is_some_and(|byte| is_word(*byte));
    let ends_open = word.ends_with(|last: char| last.is_ascii() && is_word(last as u8));
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let joined_before = *at > 0 && is_open(at - 1);
        let joined_behind = ends_open && is_open(at + word.len());
        !joined_before && !joined_behind
    })
}

#[test]
fn a_word_out_of_place_is_refused() {
    const CLOCK: Word = Word { word: "Instant::now", why: "time is an argument", files: &["src/clock.rs"] };
    let good = || Source::new("src/clock.rs", "let now = Instant::now();");
    let bad = Source::new("src/a.rs", "\nlet now = std::time::Instant::now();");
    assert_eq!(misplaced(&CLOCK, &[good()]), Vec::<String>::new());
    assert_eq!(
        misplaced(&CLOCK, &[good(), bad]),
        ["src/a.rs:2: `Instant::now` does not belong here: time is an argument"]
    );
    let harmless = "// Instant::now\nlet a = \"Instant::now\"; MyInstant::now(); Instant::nowhere();\n\
                    #[cfg(test)]\nmod tests { fn now() { Instant::now(); } }";
    assert_eq!(misplaced(&CLOCK, &[good(), Source::new("src/a.rs", harmless)]), Vec::<String>::new());
}

#[test]
fn a_list_does_not_outlive_its_reason() {
    const UNWRAP: Word = Word { word: "unwrap(", why: "", files: &["src/a.rs"] };
    assert_eq!(misplaced(&UNWRAP, &[Source::new("src/a.rs", "x.unwrap()")]), Vec::<String>::new());
    for sources in [vec![], vec![Source::new("src/a.rs", "x.unwrap_or(1)")]] {
        assert_eq!(misplaced(&UNWRAP, &sources), ["src/a.rs may use `unwrap(` and does not: take it off the list"]);
    }
}

#[test]
fn a_foreign_word_is_refused_in_its_folder_only() {
    let sources = [Source::new("src/pure/a.rs", "fn a(now: Instant) {}"), Source::new("src/b.rs", "use Instant;")];
    assert_eq!(foreign("src/pure/", &["Instant"], &sources), ["src/pure/a.rs:1: src/pure/ knows no `Instant`"]);
}
