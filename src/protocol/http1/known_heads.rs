//! The heads of recent usual requests, so that the same request line or the same fields are not parsed again.
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
//! So the bytes of one client are compared with those of another, and they may contain secrets. The time that a
//! comparison takes depends only on the lengths: guessing does not reveal how much of a guess is right.

use std::cell::RefCell;

use super::usual_fields::Section;
use super::usual_line::RequestLine;
use super::words;

/// Places of one thread.
const PLACES: usize = 8;
/// The longest request line that is kept.
const LINE_MAX: usize = 1 << 7;
/// How often a line is kept in place of another. A power of two.
const LINE_EACH: u8 = 16;
/// The longest section of fields that is kept. That of a browser, without cookies, is about half as long.
const SECTION_MAX: usize = 1 << 10;

thread_local! {
    // All zeros: a thread that decodes nothing never touches them.
    static KNOWN: RefCell<Known> = const { RefCell::new(Known::EMPTY) };
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

/// A line and a section that were read, not always by the same request. If a length is zero, there is none yet.
struct Entry {
    line: RequestLine,
    /// Lines that were not this one, modulo 256.
    others: u8,
    section: Section,
    /// The limit with which the section was read.
    fields_max: u32,
    /// The line ends, and the section begins, at [`LINE_MAX`]: so they can be compared as one, and each can be replaced
    /// by another.
    bytes: [u8; LINE_MAX + SECTION_MAX],
}

/// Reads the request line at the front of `bytes` and its section of fields, at most `fields_max` of them, for the
/// connection that has this place. `None`: one of them is not usual, or not all there.
#[inline]
pub(super) fn read(bytes: &[u8], fields_max: u32, place: &mut Option<Place>) -> Option<(RequestLine, Section)> {
    let known = place.and_then(|place| KNOWN.with_borrow(|known| known.entry(place)?.find(bytes, fields_max)));
    known.or_else(|| read_anew(bytes, fields_max, place))
}

/// The same for a head that is not known as a whole.
#[inline(never)]
fn read_anew(bytes: &[u8], fields_max: u32, place: &mut Option<Place>) -> Option<(RequestLine, Section)> {
    let line = RequestLine::read(bytes)?;
    let (line_bytes, rest) = bytes.split_at(line.len as usize);
    let known = place.and_then(|place| KNOWN.with_borrow(|known| known.entry(place)?.find_fields(rest, fields_max)));
    let section = match known {
        Some(section) => section,
        None => read_fields(rest, fields_max, place)?,
    };
    KNOWN.with_borrow_mut(|known| known.note_line(line_bytes, line, place));
    Some((line, section))
}

#[inline(never)]
fn read_fields(bytes: &[u8], fields_max: u32, place: &mut Option<Place>) -> Option<Section> {
    let section = Section::read(bytes, fields_max)?;
    KNOWN.with_borrow_mut(|known| known.keep_fields(&bytes[..section.len as usize], section, fields_max, place));
    Some(section)
}

impl Known {
    const EMPTY: Self = Self { entries: [Entry::EMPTY; PLACES], dealt: 0 };

    #[inline]
    fn entry(&self, place: Place) -> Option<&Entry> {
        self.entries.get(usize::from(place.0))
    }

    /// Keeps the first line and then each [`LINE_EACH`]th. In between there is none, so that a client with other lines
    /// each time hardly pays for those that have the same: nothing is copied, nor compared in vain.
    fn note_line(&mut self, bytes: &[u8], line: RequestLine, place: &mut Option<Place>) {
        let entry = self.entry_for(place);
        entry.line = RequestLine::NONE;
        if entry.others % LINE_EACH == 0 && bytes.len() <= LINE_MAX {
            entry.bytes[LINE_MAX - bytes.len()..LINE_MAX].copy_from_slice(bytes);
            entry.line = line;
        }
        entry.others = entry.others.wrapping_add(1);
    }

    fn keep_fields(&mut self, bytes: &[u8], section: Section, fields_max: u32, place: &mut Option<Place>) {
        if bytes.len() <= SECTION_MAX {
            let entry = self.entry_for(place);
            entry.bytes[LINE_MAX..][..bytes.len()].copy_from_slice(bytes);
            (entry.section, entry.fields_max) = (section, fields_max);
        }
    }

    fn entry_for(&mut self, place: &mut Option<Place>) -> &mut Entry {
        let Place(number) = *place.get_or_insert_with(|| self.deal());
        &mut self.entries[usize::from(number)]
    }

    /// The place of one more connection.
    fn deal(&mut self) -> Place {
        self.dealt = (self.dealt + 1) % PLACES as u8;
        Place(self.dealt)
    }
}

impl Entry {
    const EMPTY: Self = Self {
        line: RequestLine::NONE,
        others: 0,
        section: Section { len: 0, body_len: 0 },
        fields_max: 0,
        bytes: [0; LINE_MAX + SECTION_MAX],
    };

    /// The whole head, if `bytes` begin with it.
    #[inline]
    fn find(&self, bytes: &[u8], fields_max: u32) -> Option<(RequestLine, Section)> {
        let (line, section) = (self.line.len as usize, self.section.len as usize);
        let is_known = line > 0
            && section > 0
            && self.fields_max == fields_max
            && begins_with(bytes, self.bytes.get(LINE_MAX.wrapping_sub(line)..LINE_MAX + section)?);
        is_known.then_some((self.line, self.section))
    }

    /// The section of fields, if `bytes` begin with it.
    fn find_fields(&self, bytes: &[u8], fields_max: u32) -> Option<Section> {
        let section = self.section.len as usize;
        let is_known = section > 0
            && self.fields_max == fields_max
            && begins_with(bytes, self.bytes.get(LINE_MAX..LINE_MAX + section)?);
        is_known.then_some(self.section)
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

    /// Heads with bytes behind them, of which each differs from each other one in something.
    fn heads() -> Vec<String> {
        let lines = [LINE, "GET /b HTTP/1.1\r\n", "GET /bc HTTP/1.1\r\n", "HEAD / HTTP/1.1\r\n"];
        let sections = [HOST, POST, "host: a\r\n\r\n", "Host: b\r\n\r\n", "Host: a\r\nContent-Length: 13\r\n\r\n"];
        lines.iter().flat_map(|line| sections.map(|section| format!("{line}{section}behind"))).collect()
    }

    /// What a thread that knows nothing yet finds.
    fn anew(head: &str) -> Option<(RequestLine, Section)> {
        let line = RequestLine::read(head.as_bytes())?;
        Some((line, Section::read(&head.as_bytes()[line.len as usize..], 9)?))
    }

    /// What this thread knows at `place`.
    fn known(bytes: &[u8], fields_max: u32, place: Option<Place>) -> Option<(RequestLine, Section)> {
        KNOWN.with_borrow(|known| known.entry(place.expect("a place"))?.find(bytes, fields_max))
    }

    fn forget() {
        KNOWN.set(Known::EMPTY);
    }

    fn number(place: Option<Place>) -> u8 {
        place.map(|Place(number)| number).expect("a place")
    }

    #[test]
    fn the_same_head_is_known_and_no_other() {
        for head in heads() {
            forget();
            let mut place = None;
            assert_eq!(read(head.as_bytes(), 9, &mut place), anew(&head));
            for other in heads() {
                let wanted = if other == head { anew(&head) } else { None };
                assert_eq!(known(other.as_bytes(), 9, place), wanted, "{other:?} behind {head:?}");
            }
            let head_len = head.len() - "behind".len();
            assert_eq!(known(&head.as_bytes()[..head_len], 9, place), anew(&head));
            for len in 0..head_len {
                assert_eq!(known(&head.as_bytes()[..len], 9, place), None, "{len} bytes of {head:?}");
            }
            assert_eq!(known(head.as_bytes(), 8, place), None, "another limit");
        }
    }

    #[test]
    fn what_was_known_before_changes_nothing() {
        for first in heads() {
            for second in heads() {
                let mut place = None;
                for head in [&first, &second, &first, &first, &second].into_iter().cycle().take(100) {
                    assert_eq!(read(head.as_bytes(), 9, &mut place), anew(head), "{first:?} and {second:?}");
                    assert!(known(head.as_bytes(), 9, place).is_none_or(|found| Some(found) == anew(head)));
                }
            }
        }
    }

    #[test]
    fn an_empty_place_knows_nothing() {
        for bytes in [[LINE, HOST].concat(), String::new()] {
            assert_eq!(Entry::EMPTY.find(bytes.as_bytes(), 0), None);
            assert_eq!(Entry::EMPTY.find_fields(bytes.as_bytes(), 0), None);
        }
        let (long, mut place) = (format!("GET /{} HTTP/1.1\r\n", "x".repeat(LINE_MAX)), None);
        read([&long, HOST].concat().as_bytes(), 9, &mut place).expect("a usual head");
        assert_eq!(known(HOST.as_bytes(), 9, place), None, "fields without a line");
    }

    #[test]
    fn fields_are_known_behind_any_line() {
        let mut place = None;
        read([LINE, HOST].concat().as_bytes(), 9, &mut place).expect("a usual head");
        let fields = |section: &str, fields_max| {
            KNOWN.with_borrow(|known| known.entry(place.expect("a place"))?.find_fields(section.as_bytes(), fields_max))
        };
        assert_eq!(fields("Host: a\r\n\r\nsomething", 9), Some(Section { len: 11, body_len: 0 }));
        for other in ["Host: b\r\n\r\nbehind", "host: a\r\n\r\nbehind", "Host: a\r\n\r", POST, ""] {
            assert_eq!(fields(other, 9), None, "{other:?}");
        }
        assert_eq!(fields(HOST, 8), None, "another limit");
    }

    #[test]
    fn a_line_is_kept_until_another_comes_and_then_each_sixteenth() {
        let (mut place, head) = (None, |target: u32| format!("GET /{target} HTTP/1.1\r\n{HOST}"));
        let mut is_known_then = |target| {
            read(head(target).as_bytes(), 9, &mut place).expect("a usual head");
            known(head(target).as_bytes(), 9, place).is_some()
        };
        assert!((0..40).all(|_| is_known_then(0)));
        assert!((1..16).all(|other| !is_known_then(other)));
        assert!((0..40).all(|_| is_known_then(16)));
        assert!((17..32).all(|other| !is_known_then(other)) && is_known_then(32));
        assert!((0..15).all(|again| !is_known_then(again % 2)) && is_known_then(1), "two in turn");
        read(head(2).as_bytes(), 9, &mut place).expect("a usual head");
        assert_eq!(known(head(1).as_bytes(), 9, place), None, "another came");
    }

    #[test]
    fn connections_share_few_places_and_each_stays_at_its_own() {
        let mut places: [Option<Place>; 2 * PLACES] = [None; 2 * PLACES];
        let mut deal = || {
            places.each_mut().map(|place| {
                read([LINE, HOST].concat().as_bytes(), 9, place).expect("a usual head");
                number(*place)
            })
        };
        let dealt = deal();
        assert_eq!(dealt[..PLACES], dealt[PLACES..]);
        assert!((0..PLACES as u8).all(|place| dealt.contains(&place)), "{dealt:?}");
        assert_eq!(deal(), dealt);
    }

    #[test]
    fn what_is_longest_is_kept_and_what_is_longer_is_not() {
        let line = |len: usize| format!("GET /{} HTTP/1.1\r\n", "x".repeat(len - "GET / HTTP/1.1\r\n".len()));
        let section =
            |len: usize| format!("Host: a\r\nX: {}\r\n\r\n", "x".repeat(len - "Host: a\r\nX: \r\n\r\n".len()));
        let is_known = |line: String, section: String| {
            let (head, mut place) = (line + &section, None);
            assert_eq!(read(head.as_bytes(), 9, &mut place), anew(&head));
            place.is_some() && known(head.as_bytes(), 9, place) == anew(&head)
        };
        assert!(is_known(line(LINE_MAX), section(SECTION_MAX)));
        assert!(!is_known(line(LINE_MAX + 1), section(SECTION_MAX)));
        assert!(!is_known(line(LINE_MAX), section(SECTION_MAX + 1)));
        assert!(!is_known(line(LINE_MAX + 1), section(SECTION_MAX + 1)));
    }

    #[test]
    fn what_is_not_usual_is_not_kept() {
        let mut place = None;
        let sections = ["Accept: */*\r\n\r\n", "Host: a\r\nExpect: 100-continue\r\n\r\n", &HOST[..HOST.len() - 1]];
        for section in sections {
            assert_eq!(read([LINE, section].concat().as_bytes(), 9, &mut place), None, "{section:?}");
        }
        for line in ["OPTIONS * HTTP/1.1\r\n", "GET /a HTTP/1.0\r\n", &LINE[..LINE.len() - 1]] {
            assert_eq!(read([line, HOST].concat().as_bytes(), 9, &mut place), None, "{line:?}");
        }
        assert!(place.is_none());
    }
}
