//! Errors at start that say what to do.

use std::error::Error;
use std::fmt;
use std::io;

/// An error, preceded by what was tried. `Debug` reads like `Display`, because a `main` that returns the error prints
/// it with `Debug`.
struct Explained {
    text: String,
    source: io::Error,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Explained {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// `{tried}: {reason}`, with the kind of `source`.
pub(super) fn explain(tried: impl fmt::Display, source: io::Error) -> io::Error {
    let text = format!("{tried}: {}", reason(&source));
    io::Error::new(source.kind(), Explained { text, source })
}

/// The same, followed by what to do.
pub(super) fn advise(tried: impl fmt::Display, source: io::Error, advice: &str) -> io::Error {
    let text = format!("{tried}: {}; {advice}", reason(&source));
    io::Error::new(source.kind(), Explained { text, source })
}

/// What went wrong, in words that fit into the middle of a sentence: `Permission denied (os error 13)` is `permission
/// denied`.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words);
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_words_and_the_kind_is_kept() {
        let denied = explain("cannot bind 127.0.0.1:80", io::Error::from_raw_os_error(13));
        assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(denied.to_string(), "cannot bind 127.0.0.1:80: permission denied");
        assert!(format!("{denied:?}").contains("error: cannot bind 127.0.0.1:80: permission denied"), "{denied:?}");
        assert!(denied.get_ref().and_then(|explained| explained.source()).is_some(), "the number is still there");
    }
}
