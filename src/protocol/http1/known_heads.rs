//! The heads of recent usual requests, so that the same head or the same fields are not parsed again.
//!
//! A client that keeps its connection usually sends the same fields with each request: what program it is, what it
//! accepts, which host it asks. Many ask for the same target again, too: they poll, report, or check health. What these
//! bytes mean depends on them alone. One comparison shows that they are the same again; parsing them needs a look at
//! each name and each value.
//!
//! Threads keep the heads, not connections, so an idle connection holds no memory for them. There are few places, and
//! each connection shares one of them with others. Usually these are clients of the same kind that send the same
//! fields. A client that sends something else each time makes the others lose what was remembered for them, and nothing
//! else.
//!
//! So the bytes of one client are compared with those of another, and they may contain secrets. A comparison takes a
//! time that depends only on the lengths. Whoever measures well may learn that all fields of a guess are right, and
//! then that its request line is, too, but not how much of a wrong guess is right.

use std::cell::RefCell;

use super::usual_fields::Section;
use super::usual_line::UsualLine;
use super::words;

/// Places of one thread.
const PLACES: usize = 8;
/// The longest request line that is kept.
const LINE_MAX: usize = 1 << 7;
/// The longest section of fields that is kept. That of a browser, without cookies, is about half as long.
const SECTION_MAX: usize = 1 << 10;
/// When the head is not known, one of so many lines is kept. A power of two, because they are counted modulo 256.
const KEEP_EVERY: u8 = 16;

thread_local! {
    // All zeros: a thread that decodes nothing never touches them.
    static KNOWN: RefCell<Known> = const { RefCell::new(Known { entries: [Entry::EMPTY; PLACES], dealt: 0 }) };
}

/// Which place is a connection's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place(u8);

/// What a thread remembers.
struct Known {
    entries: [Entry; PLACES],
    /// How many connections were given a place, modulo the number of places.
    dealt: u8,
}

/// A line and a section that were read, not always by the same request. If a length is zero, there is none.
struct Entry {
    line: UsualLine,
    /// Heads that were not known, for their line or their fields, modulo 256.
    misses: u8,
    section: Section,
    /// The limit with which the section was read.
    fields_max: u32,
    /// The line ends, and the section begins, at [`LINE_MAX`]: so they can be compared as one, and each can be replaced
    /// by another.
    bytes: [u8; LINE_MAX + SECTION_MAX],
}

/// Reads the request line at the front of `bytes` and its section of fields, at most `fields_max` of them, for a
/// connection that has this place. `None`: one of them is not usual, or not all there.
#[inline]
pub(super) fn read(bytes: &[u8], fields_max: u32, place: Place) -> Option<(UsualLine, Section)> {
    let known = KNOWN.with_borrow(|known| known.entries[place.index()].find(bytes, fields_max));
    known.or_else(|| read_anew(bytes, fields_max, place))
}

/// The same for a head that is not known as a whole.
#[inline(never)]
fn read_anew(bytes: &[u8], fields_max: u32, place: Place) -> Option<(UsualLine, Section)> {
    let line = UsualLine::read(bytes)?;
    let (line_bytes, rest) = bytes.split_at(line.len as usize);
    KNOWN.with_borrow_mut(|known| {
        let entry = &mut known.entries[place.index()];
        let section = entry.find_fields(rest, fields_max).or_else(|| entry.read_fields(rest, fields_max))?;
        entry.note_line(line_bytes, line);
        Some((line, section))
    })
}

impl Place {
    /// The place of one more connection.
    #[cold]
    pub(super) fn deal() -> Self {
        KNOWN.with_borrow_mut(|known| {
            known.dealt = (known.dealt + 1) % PLACES as u8;
            Self(known.dealt)
        })
    }

    #[inline]
    pub(super) fn index(self) -> usize {
        usize::from(self.0) % PLACES
    }
}

impl Entry {
    const EMPTY: Self = Self {
        line: UsualLine::NONE,
        misses: 0,
        section: Section { len: 0, body_len: 0 },
        fields_max: 0,
        bytes: [0; LINE_MAX + SECTION_MAX],
    };

    /// The whole head, if `bytes` begin with it.
    #[inline]
    fn find(&self, bytes: &[u8], fields_max: u32) -> Option<(UsualLine, Section)> {
        let (line, section) = (self.line.len as usize, self.section.len as usize);
        let known = self.bytes.get(LINE_MAX.checked_sub(line)?..LINE_MAX + section)?;
        let is_known = line > 0 && section > 0 && self.fields_max == fields_max && begins_with(bytes, known);
        is_known.then_some((self.line, self.section))
    }

    /// The section of fields, if `bytes` begin with it.
    fn find_fields(&self, bytes: &[u8], fields_max: u32) -> Option<Section> {
        let section = self.section.len as usize;
        let known = self.bytes.get(LINE_MAX..LINE_MAX + section)?;
        let is_known = section > 0 && self.fields_max == fields_max && begins_with(bytes, known);
        is_known.then_some(self.section)
    }

    #[inline(never)]
    fn read_fields(&mut self, bytes: &[u8], fields_max: u32) -> Option<Section> {
        let section = Section::read(bytes, fields_max)?;
        let len = section.len as usize;
        if len <= SECTION_MAX {
            self.bytes[LINE_MAX..][..len].copy_from_slice(&bytes[..len]);
            (self.section, self.fields_max) = (section, fields_max);
        }
        Some(section)
    }

    /// Keeps this line, or none. A client with another line each time hardly pays for those that have the same: mostly
    /// nothing is copied, nor compared in vain.
    fn note_line(&mut self, bytes: &[u8], line: UsualLine) {
        self.line = UsualLine::NONE;
        if self.misses.is_multiple_of(KEEP_EVERY) && bytes.len() <= LINE_MAX {
            self.bytes[LINE_MAX - bytes.len()..LINE_MAX].copy_from_slice(bytes);
            self.line = line;
        }
        self.misses = self.misses.wrapping_add(1);
    }
}

#[inline]
fn begins_with(bytes: &[u8], known: &[u8]) -> bool {
    bytes.get(..known.len()).is_some_and(|front| words::are_same(known, front))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "GET /a HTTP/1.1\r\n";
    const HOST: &str = "Host: a\r\n\r\n";
    const POST: &str = "Host: a\r\nContent-Length: 12\r\n\r\n";

    /// A line of so many bytes.
    fn line(len: usize) -> String {
        format!("GET /{} HTTP/1.1\r\n", "x".repeat(len - "GET / HTTP/1.1\r\n".len()))
    }

    /// Fields of so many bytes.
    fn section(len: usize) -> String {
        format!("Host: a\r\nX: {}\r\n\r\n", "x".repeat(len - "Host: a\r\nX: \r\n\r\n".len()))
    }

    /// Heads with bytes behind them, of which each differs from each other one in something.
    fn heads() -> Vec<String> {
        let lines = [LINE, "GET /b HTTP/1.1\r\n", "GET /bc HTTP/1.1\r\n", "HEAD / HTTP/1.1\r\n"].map(String::from);
        let sections = [HOST, POST, "host: a\r\n\r\n", "Host: b\r\n\r\n", "Host: a\r\nContent-Length: 13\r\n\r\n"];
        let sections = sections.map(String::from).into_iter().chain([section(SECTION_MAX + 1)]);
        let sections: Vec<_> = sections.collect();
        let lines = lines.into_iter().chain([line(LINE_MAX + 1)]);
        lines
            .flat_map(|line| sections.iter().map(move |section| format!("{line}{section}behind")).collect::<Vec<_>>())
            .collect()
    }

    /// What a thread that knows nothing yet finds.
    fn anew(head: &str) -> Option<(UsualLine, Section)> {
        let line = UsualLine::read(head.as_bytes())?;
        Some((line, Section::read(&head.as_bytes()[line.len as usize..], 9)?))
    }

    /// What this thread knows at `place`.
    fn known(head: &str, fields_max: u32, place: Place) -> Option<(UsualLine, Section)> {
        KNOWN.with_borrow(|known| known.entries[place.index()].find(head.as_bytes(), fields_max))
    }

    /// A place at which nothing is known.
    fn empty_place() -> Place {
        KNOWN.with_borrow_mut(|known| known.entries = [Entry::EMPTY; PLACES]);
        Place::deal()
    }

    #[test]
    fn the_same_head_is_known_and_no_other() {
        for head in heads().into_iter().filter(|head| head.len() < LINE_MAX) {
            let place = empty_place();
            assert_eq!(read(head.as_bytes(), 9, place), anew(&head));
            for other in heads() {
                let wanted = if other == head { anew(&head) } else { None };
                assert_eq!(known(&other, 9, place), wanted, "{other:?} behind {head:?}");
            }
            let head_len = head.len() - "behind".len();
            assert_eq!(known(&head[..head_len], 9, place), anew(&head));
            for len in 0..head_len {
                assert_eq!(known(&head[..len], 9, place), None, "{len} bytes of {head:?}");
            }
            assert_eq!(known(&head, 8, place), None, "another limit");
        }
    }

    #[test]
    fn what_was_known_before_changes_nothing() {
        for first in heads() {
            for second in heads() {
                let place = empty_place();
                for head in [&first, &second, &first, &first, &second].into_iter().cycle().take(100) {
                    assert_eq!(read(head.as_bytes(), 9, place), anew(head), "{first:?} and {second:?}");
                    assert!(known(head, 9, place).is_none_or(|found| Some(found) == anew(head)));
                }
            }
        }
    }

    #[test]
    fn nothing_is_known_without_both_parts() {
        let place = empty_place();
        for bytes in [[LINE, HOST].concat(), String::new()] {
            assert_eq!(known(&bytes, 0, place), None);
            assert_eq!(Entry::EMPTY.find_fields(bytes.as_bytes(), 0), None);
        }
        read([&line(LINE_MAX + 1), HOST].concat().as_bytes(), 9, place).expect("a usual head");
        assert_eq!(known(HOST, 9, place), None, "fields without a line");

        let place = empty_place();
        let head = LINE.to_owned() + &section(SECTION_MAX + 1);
        read(head.as_bytes(), 9, place).expect("a usual head");
        for limit in [0, 9] {
            assert_eq!(known(&head, limit, place), None, "a line without fields");
        }
    }

    #[test]
    fn fields_are_known_behind_any_line() {
        let place = empty_place();
        read([LINE, HOST].concat().as_bytes(), 9, place).expect("a usual head");
        let fields = |section: &str, fields_max| {
            KNOWN.with_borrow(|known| known.entries[place.index()].find_fields(section.as_bytes(), fields_max))
        };
        assert_eq!(fields("Host: a\r\n\r\nsomething", 9), Some(Section { len: 11, body_len: 0 }));
        for other in ["Host: b\r\n\r\nbehind", "host: a\r\n\r\nbehind", "Host: a\r\n\r", POST, ""] {
            assert_eq!(fields(other, 9), None, "{other:?}");
        }
        assert_eq!(fields(HOST, 8), None, "another limit");
    }

    #[test]
    fn a_line_is_kept_until_another_comes_and_then_each_sixteenth() {
        let (place, head) = (empty_place(), |target: u32| format!("GET /{target} HTTP/1.1\r\n{HOST}"));
        let is_known_then = |target| {
            read(head(target).as_bytes(), 9, place).expect("a usual head");
            known(&head(target), 9, place).is_some()
        };
        assert!((0..40).all(|_| is_known_then(0)));
        assert!((1..16).all(|other| !is_known_then(other)));
        assert!((0..40).all(|_| is_known_then(16)));
        assert!((17..32).all(|other| !is_known_then(other)) && is_known_then(32));
        assert!((0..15).all(|again| !is_known_then(again % 2)) && is_known_then(1), "two in turn");
        assert!(!is_known_then(2));
        assert_eq!(known(&head(1), 9, place), None, "another came");
    }

    #[test]
    fn connections_share_few_places() {
        let dealt = [(); 2 * PLACES].map(|()| Place::deal().index());
        assert_eq!(dealt[..PLACES], dealt[PLACES..]);
        assert!((0..PLACES).all(|place| dealt.contains(&place)), "{dealt:?}");
    }

    #[test]
    fn what_is_longest_is_kept_and_what_is_longer_is_not() {
        let is_known = |line: String, section: String| {
            let (head, place) = (line + &section, empty_place());
            assert_eq!(read(head.as_bytes(), 9, place), anew(&head));
            known(&head, 9, place) == anew(&head)
        };
        assert!(is_known(line(LINE_MAX), section(SECTION_MAX)));
        assert!(!is_known(line(LINE_MAX + 1), section(SECTION_MAX)));
        assert!(!is_known(line(LINE_MAX), section(SECTION_MAX + 1)));
        assert!(!is_known(line(LINE_MAX + 1), section(SECTION_MAX + 1)));
    }

    #[test]
    fn what_is_not_usual_is_not_kept() {
        let place = empty_place();
        let sections = ["Accept: */*\r\n\r\n", "Host: a\r\nExpect: 100-continue\r\n\r\n", &HOST[..HOST.len() - 1]];
        for section in sections {
            assert_eq!(read([LINE, section].concat().as_bytes(), 9, place), None, "{section:?}");
        }
        for line in ["OPTIONS * HTTP/1.1\r\n", "GET /a HTTP/1.0\r\n", &LINE[..LINE.len() - 1]] {
            assert_eq!(read([line, HOST].concat().as_bytes(), 9, place), None, "{line:?}");
        }
        KNOWN.with_borrow(|known| {
            let Entry { line, section, .. } = known.entries[place.index()];
            assert_eq!((line, section.len), (UsualLine::NONE, 0));
        });
    }
}
