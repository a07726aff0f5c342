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

use super::layout::Layout;
use super::limits::LimitsNumber;
use super::usual_fields::Section;
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
    static KNOWN: RefCell<Known> = const { RefCell::new(Known::NOTHING) };
}

/// Which place is a connection's, and which heads there are good for it: those that keep its limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    index: u8,
    limits: LimitsNumber,
}

/// What a thread remembers.
struct Known {
    entries: [Entry; PLACES],
    /// How many connections were given a place, modulo the number of places.
    dealt: u8,
}

/// A line and a section that were read, not always by the same request.
struct Entry {
    /// The line with this section, if there is one.
    head: Head,
    /// Heads that were not known, for their line or their fields, modulo 256.
    misses: u8,
    /// Of no bytes: there is none.
    section: Section,
    /// The limit with which the section was read.
    fields_max: u32,
    /// The line ends, and the section begins, at [`LINE_MAX`]: so they can be compared as one, and each can be replaced
    /// by another.
    bytes: [u8; LINE_MAX + SECTION_MAX],
}

/// A head that is known as a whole.
struct Head {
    /// Where it lies in the bytes of its entry.
    start: usize,
    end: usize,
    /// Those that it keeps.
    limits: LimitsNumber,
    layout: Layout,
}

impl Head {
    /// No head, because no connection has such limits.
    const NONE: Self = Self { start: 0, end: 0, limits: LimitsNumber::NONE, layout: Layout::NONE };
}

/// The layout of the request at the front of `bytes`, if its head is known, for the connection that has this place. The
/// body may be missing.
#[inline]
pub(super) fn find(bytes: &[u8], place: Place) -> Option<Layout> {
    KNOWN.with_borrow(|known| known.entries[place.index()].find(bytes, place.limits))
}

/// The section of fields at the front of `bytes`, at most `fields_max` of them, for the connection that has this place:
/// known, or read and remembered. `None`: it is not usual, or not all there.
pub(super) fn fields(bytes: &[u8], fields_max: u32, place: Place) -> Option<Section> {
    KNOWN.with_borrow_mut(|known| {
        let entry = &mut known.entries[place.index()];
        entry.find_fields(bytes, fields_max).or_else(|| entry.read_fields(bytes, fields_max))
    })
}

/// Notes a head that was not known, with the section that [`fields`] has just found in it. Its layout keeps the limits
/// of the connection that has this place.
pub(super) fn note(head: &[u8], section: Section, layout: Layout, place: Place) {
    KNOWN.with_borrow_mut(|known| known.entries[place.index()].note(head, section, layout, place.limits));
}

impl Place {
    /// The index of none: until a connection is given a place, it looks for its head at the last one.
    const NOT_DEALT: u8 = u8::MAX;

    /// That of a connection with these limits, which is [dealt](Self::deal) one when a head of its is not known.
    pub(super) fn new(limits: LimitsNumber) -> Self {
        Self { index: Self::NOT_DEALT, limits }
    }

    /// True if the connection had no place yet; now it has.
    pub(super) fn deal(&mut self) -> bool {
        let has_none = self.index == Self::NOT_DEALT;
        if has_none {
            self.index = KNOWN.with_borrow_mut(Known::deal);
        }
        has_none
    }

    #[inline]
    fn index(self) -> usize {
        usize::from(self.index) % PLACES
    }
}

impl Known {
    const NOTHING: Self = Self { entries: [Entry::EMPTY; PLACES], dealt: 0 };

    /// The place of one more connection.
    #[cold]
    fn deal(&mut self) -> u8 {
        self.dealt = (self.dealt + 1) % PLACES as u8;
        self.dealt
    }
}

impl Entry {
    const EMPTY: Self = Self {
        head: Head::NONE,
        misses: 0,
        section: Section { len: 0, body_len: 0 },
        fields_max: 0,
        bytes: [0; LINE_MAX + SECTION_MAX],
    };

    /// The whole head, if `bytes` begin with it.
    #[inline]
    fn find(&self, bytes: &[u8], limits: LimitsNumber) -> Option<Layout> {
        let known = self.bytes.get(self.head.start..self.head.end)?;
        if self.head.limits == limits && begins_with(bytes, known) { Some(self.head.layout) } else { None }
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
            (self.section, self.fields_max, self.head) = (section, fields_max, Head::NONE);
        }
        Some(section)
    }

    /// Keeps the line of this head, or none. A client with another line each time hardly pays for those that have the
    /// same: mostly nothing is copied, nor compared in vain.
    fn note(&mut self, head: &[u8], section: Section, layout: Layout, limits: LimitsNumber) {
        self.head = Head::NONE;
        let (line, fields) = head.split_at(head.len() - section.len as usize);
        let is_kept = line.len() <= LINE_MAX && self.section == section && limits != LimitsNumber::SHARED;
        if self.misses.is_multiple_of(KEEP_EVERY) && is_kept {
            debug_assert_eq!(fields, &self.bytes[LINE_MAX..][..fields.len()], "its section was found just now");
            let start = LINE_MAX - line.len();
            self.bytes[start..LINE_MAX].copy_from_slice(line);
            self.head = Head { start, end: start + head.len(), limits, layout };
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
    use std::sync::LazyLock;

    use super::super::Http1;
    use super::super::limits::Limits;
    use super::super::usual;
    use super::super::usual_line::UsualLine;
    use super::*;
    use crate::protocol::Protocol;

    const LINE: &str = "GET /a HTTP/1.1\r\n";
    const HOST: &str = "Host: a\r\n\r\n";
    const POST: &str = "Host: a\r\nContent-Length: 12\r\n\r\n";

    /// As long as the body of any head that is tried.
    const BEHIND: &str = "what is behind";

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
            .flat_map(|line| sections.iter().map(move |section| format!("{line}{section}{BEHIND}")).collect::<Vec<_>>())
            .collect()
    }

    fn limits() -> Limits {
        Limits { fields_max: 9, ..Limits::default() }
    }

    /// The place of a new connection with those limits.
    fn new_place() -> Place {
        static NUMBER: LazyLock<LimitsNumber> = LazyLock::new(LimitsNumber::next);
        Place::new(*NUMBER)
    }

    fn read(head: &str, place: &mut Place) -> Option<Layout> {
        if place.deal()
            && let Some(layout) = known(head, *place)
        {
            return Some(layout);
        }
        usual::request(head.as_bytes(), &limits(), *place)
    }

    /// What a thread that knows nothing yet finds.
    fn anew(head: &str) -> Option<Layout> {
        let line = UsualLine::read(head.as_bytes())?;
        let section = Section::read(&head.as_bytes()[line.len as usize..], 9)?;
        usual::layout(line, section, head.starts_with('H'), &limits())
    }

    /// What this thread knows at `place`.
    fn known(head: &str, place: Place) -> Option<Layout> {
        find(head.as_bytes(), place)
    }

    /// A place at which nothing is known.
    fn empty_place() -> Place {
        KNOWN.with_borrow_mut(|known| known.entries = [Entry::EMPTY; PLACES]);
        new_place()
    }

    #[test]
    fn the_same_head_is_known_and_no_other() {
        for head in heads().into_iter().filter(|head| head.len() < LINE_MAX) {
            let mut place = empty_place();
            assert_eq!(read(&head, &mut place), anew(&head));
            for other in heads() {
                let wanted = if other == head { anew(&head) } else { None };
                assert_eq!(known(&other, place), wanted, "{other:?} behind {head:?}");
            }
            let head_len = head.len() - BEHIND.len();
            assert_eq!(known(&head[..head_len], place), anew(&head));
            for len in 0..head_len {
                assert_eq!(known(&head[..len], place), None, "{len} bytes of {head:?}");
            }
        }
    }

    #[test]
    fn what_was_known_before_changes_nothing() {
        for first in heads() {
            for second in heads() {
                let mut place = empty_place();
                for head in [&first, &second, &first, &first, &second].into_iter().cycle().take(100) {
                    assert_eq!(read(head, &mut place), anew(head), "{first:?} and {second:?}");
                    assert!(known(head, place).is_none_or(|found| Some(found) == anew(head)));
                }
            }
        }
    }

    #[test]
    fn nothing_is_known_without_both_parts() {
        let mut place = empty_place();
        for bytes in [[LINE, HOST].concat(), String::new()] {
            assert_eq!(known(&bytes, place), None, "no place yet");
            assert_eq!(Entry::EMPTY.find_fields(bytes.as_bytes(), 0), None);
        }
        read(&[&line(LINE_MAX + 1), HOST].concat(), &mut place).expect("a usual head");
        for bytes in [HOST, ""] {
            assert_eq!(known(bytes, place), None, "fields without a line");
        }

        let mut place = empty_place();
        let head = LINE.to_owned() + &section(SECTION_MAX + 1);
        read(&head, &mut place).expect("a usual head");
        for bytes in [&head, LINE, ""] {
            assert_eq!(known(bytes, place), None, "a line without fields");
        }
    }

    #[test]
    fn fields_are_known_behind_any_line() {
        let mut place = empty_place();
        read(&[LINE, HOST].concat(), &mut place).expect("a usual head");
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
        let (mut place, head) = (empty_place(), |target: u32| format!("GET /{target} HTTP/1.1\r\n{HOST}"));
        let mut is_known_then = |target| {
            if known(&head(target), place).is_none() {
                read(&head(target), &mut place).expect("a usual head");
            }
            known(&head(target), place).is_some()
        };
        assert!((0..40).all(|_| is_known_then(0)));
        assert!((1..16).all(|other| !is_known_then(other)));
        assert!((0..40).all(|_| is_known_then(16)));
        assert!((17..32).all(|other| !is_known_then(other)) && is_known_then(32));
        assert!((0..15).all(|again| !is_known_then(again % 2)) && is_known_then(1), "two in turn");
        assert!(!is_known_then(2));
        assert_eq!(known(&head(1), place), None, "another came");
    }

    #[test]
    fn fields_that_replace_others_make_the_line_unknown() {
        let mut place = empty_place();
        let heads = [[LINE, HOST].concat(), LINE.to_owned() + POST];
        read(&heads[0], &mut place).expect("a usual head");
        let tight = Limits { body_max: 1, ..limits() };
        let refused = usual::request(heads[1].as_bytes(), &tight, place);
        assert_eq!(refused, None, "its body is too long");
        for head in &heads {
            assert_eq!(known(head, place), None, "{head:?}");
        }
    }

    #[test]
    fn connections_share_few_places() {
        let dealt = [(); 2 * PLACES].map(|()| KNOWN.with_borrow_mut(Known::deal));
        assert_eq!(dealt[..PLACES], dealt[PLACES..]);
        assert!((0..PLACES).all(|place| dealt.contains(&(place as u8))), "{dealt:?}");
    }

    #[test]
    fn a_connection_keeps_the_place_that_it_was_given_first() {
        let mut place = new_place();
        let mut place_then = |head: &str| {
            read(head, &mut place);
            place.index
        };
        let first = place_then("no head");
        assert_ne!(first, Place::NOT_DEALT);
        assert_eq!([place_then(&[LINE, HOST].concat()), place_then("no head")], [first, first]);
    }

    #[test]
    fn who_is_given_a_place_does_not_forget_what_is_known_there() {
        let head = [LINE, HOST].concat();
        let decode = |mut http: Http1| {
            http.decode(&mut head.clone().into_bytes()).expect("a usual head");
            http.place
        };
        empty_place();
        let first = decode(Http1::default());
        for _ in 0..2 * PLACES {
            // Where a connection looks that has no place.
            KNOWN.with_borrow_mut(|known| known.entries[usize::from(Place::NOT_DEALT) % PLACES] = Entry::EMPTY);
            decode(Http1::default());
            assert!(known(&head, first).is_some());
        }
    }

    #[test]
    fn a_head_is_known_only_to_connections_with_its_limits() {
        let head = [LINE, HOST].concat();
        let mut first = empty_place();
        read(&head, &mut first).expect("a usual head");
        let same = Place { index: first.index, ..new_place() };
        let stranger = Place { limits: LimitsNumber::next(), ..first };
        assert_eq!([first, same, stranger].map(|place| known(&head, place)), [anew(&head), anew(&head), None]);
        // Its limits are others, whatever they are.
        for _ in 0..KEEP_EVERY {
            usual::request(head.as_bytes(), &limits(), stranger).expect("a usual head");
        }
        assert_eq!([first, same, stranger].map(|place| known(&head, place)), [None, None, anew(&head)]);
        // Limits whose number others have, too.
        let mut shared = Place { limits: LimitsNumber::SHARED, ..empty_place() };
        assert_eq!((read(&head, &mut shared), known(&head, shared)), (anew(&head), None));
    }

    #[test]
    fn what_is_longest_is_kept_and_what_is_longer_is_not() {
        let is_known = |line: String, section: String| {
            let (head, mut place) = (line + &section, empty_place());
            assert_eq!(read(&head, &mut place), anew(&head));
            known(&head, place) == anew(&head)
        };
        assert!(is_known(line(LINE_MAX), section(SECTION_MAX)));
        assert!(!is_known(line(LINE_MAX + 1), section(SECTION_MAX)));
        assert!(!is_known(line(LINE_MAX), section(SECTION_MAX + 1)));
        assert!(!is_known(line(LINE_MAX + 1), section(SECTION_MAX + 1)));
    }

    #[test]
    fn what_is_not_usual_is_not_kept() {
        let mut place = empty_place();
        let sections = ["Accept: */*\r\n\r\n", "Host: a\r\nExpect: 100-continue\r\n\r\n", &HOST[..HOST.len() - 1]];
        for section in sections {
            assert_eq!(read(&[LINE, section].concat(), &mut place), None, "{section:?}");
        }
        for line in ["OPTIONS * HTTP/1.1\r\n", "GET /a HTTP/1.0\r\n", &LINE[..LINE.len() - 1]] {
            assert_eq!(read(&[line, HOST].concat(), &mut place), None, "{line:?}");
        }
        KNOWN.with_borrow(|known| {
            let Entry { head, section, .. } = &known.entries[place.index()];
            assert_eq!((head.limits, section.len), (LimitsNumber::NONE, 0));
        });
    }
}
