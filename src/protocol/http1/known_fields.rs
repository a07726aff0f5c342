//! The fields of recent usual requests, so that the same fields are not parsed again.
//!
//! A client that keeps its connection usually sends the same fields with each request: what program it is, what it
//! accepts, which host it asks. Their meaning depends on their bytes alone. One comparison shows that the bytes are the
//! same again; parsing them needs a look at each name and each value.
//!
//! Threads keep the fields, not connections, so an idle connection holds no memory for them. There are few places, and
//! each connection shares one of them with others. Usually these are clients of the same kind that send the same
//! fields. A client that sends other fields each time makes the others lose what was remembered for them, and nothing
//! else.
//!
//! So the bytes of one client are compared with those of another, and they may contain secrets. The time that a
//! comparison takes depends only on the lengths: guessing does not reveal how much of a guess is right.

use std::cell::RefCell;

use super::usual_fields::Section;
use super::words;

/// Places of one thread.
const PLACES: usize = 8;
/// The longest section that is kept. That of a browser, without cookies, is about half as long.
const SECTION_MAX: usize = 1 << 10;

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

/// A section that was read. If its length is zero, there is none yet.
struct Entry {
    section: Section,
    /// The limit with which it was read.
    fields_max: u32,
    bytes: [u8; SECTION_MAX],
}

/// Reads the section of fields at the front of `bytes`, at most `fields_max` of them, for the connection that has this
/// place. `None`: it is not usual, or not all there.
#[inline]
pub(super) fn read(bytes: &[u8], fields_max: u32, place: &mut Option<Place>) -> Option<Section> {
    let known = place.and_then(|place| KNOWN.with_borrow(|known| known.find(bytes, fields_max, place)));
    known.or_else(|| read_anew(bytes, fields_max, place))
}

#[inline(never)]
fn read_anew(bytes: &[u8], fields_max: u32, place: &mut Option<Place>) -> Option<Section> {
    let section = Section::read(bytes, fields_max)?;
    KNOWN.with_borrow_mut(|known| known.keep(&bytes[..section.len as usize], section, fields_max, place));
    Some(section)
}

impl Known {
    #[inline]
    fn find(&self, bytes: &[u8], fields_max: u32, place: Place) -> Option<Section> {
        let entry = self.entries.get(usize::from(place.0))?;
        let (length, section) = (entry.section.len as usize, entry.section);
        let (known, bytes) = (entry.bytes.get(..length)?, bytes.get(..length)?);
        let is_known = length > 0 && entry.fields_max == fields_max && words::are_same(known, bytes);
        is_known.then_some(section)
    }

    fn keep(&mut self, bytes: &[u8], section: Section, fields_max: u32, place: &mut Option<Place>) {
        if bytes.len() > SECTION_MAX {
            return;
        }
        let Place(number) = *place.get_or_insert_with(|| self.deal());
        let entry = &mut self.entries[usize::from(number)];
        entry.bytes[..bytes.len()].copy_from_slice(bytes);
        (entry.section, entry.fields_max) = (section, fields_max);
    }

    /// The place of one more connection.
    fn deal(&mut self) -> Place {
        self.dealt = (self.dealt + 1) % PLACES as u8;
        Place(self.dealt)
    }
}

impl Entry {
    const EMPTY: Self = Self { section: Section { len: 0, body_len: 0 }, fields_max: 0, bytes: [0; SECTION_MAX] };
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &[u8] = b"Host: a\r\n\r\nbehind";
    const POST: &[u8] = b"Host: a\r\nContent-Length: 12\r\n\r\nbehind";

    fn section(len: u32, body_len: u32) -> Option<Section> {
        Some(Section { len, body_len })
    }

    /// What this thread knows at `place`.
    fn known(bytes: &[u8], fields_max: u32, place: Option<Place>) -> Option<Section> {
        KNOWN.with_borrow(|known| known.find(bytes, fields_max, place.expect("a place")))
    }

    #[test]
    fn the_same_fields_are_known_and_no_others() {
        let mut place = None;
        assert_eq!(read(HOST, 9, &mut place), section(11, 0));
        assert_eq!(known(HOST, 9, place), section(11, 0));
        assert_eq!(known(b"Host: a\r\n\r\nsomething else", 9, place), section(11, 0));
        for other in [&b"Host: b\r\n\r\nbehind"[..], b"host: a\r\n\r\nbehind", &HOST[..10], POST, b""] {
            assert_eq!(known(other, 9, place), None, "{other:?}");
        }
        assert_eq!(known(HOST, 8, place), None, "another limit");
    }

    #[test]
    fn an_empty_place_knows_nothing() {
        for bytes in [HOST, b""] {
            assert_eq!(Known { entries: [Entry::EMPTY; PLACES], dealt: 0 }.find(bytes, 0, Place(0)), None);
        }
    }

    #[test]
    fn a_connection_has_one_place_and_keeps_its_last_fields_there() {
        let mut place = None;
        assert_eq!(read(HOST, 9, &mut place), section(11, 0));
        let first = place.map(|Place(number)| number);
        assert_eq!(read(POST, 9, &mut place), section(31, 12));
        assert_eq!(place.map(|Place(number)| number), first);
        assert_eq!((known(POST, 9, place), known(HOST, 9, place)), (section(31, 12), None));
        assert_eq!(read(HOST, 9, &mut place), section(11, 0));
    }

    #[test]
    fn connections_share_few_places() {
        let deal = || {
            let mut place = None;
            read(HOST, 9, &mut place).expect("usual fields");
            place.map(|Place(number)| number)
        };
        let places: Vec<_> = (0..2 * PLACES).map(|_| deal()).collect();
        assert_eq!(places[..PLACES], places[PLACES..]);
        assert!((0..PLACES as u8).all(|place| places.contains(&Some(place))), "{places:?}");
    }

    #[test]
    fn what_is_too_long_or_not_usual_is_not_kept() {
        let mut place = None;
        let long = [b"Host: a\r\nX: ".as_slice(), &[b'x'; SECTION_MAX], b"\r\n\r\n"].concat();
        assert_eq!(read(&long, 9, &mut place), section(long.len() as u32, 0));
        assert_eq!(read(b"Accept: */*\r\n\r\n", 9, &mut place), None, "no host");
        assert_eq!(read(b"Host: a\r\nExpect: 100-continue\r\n\r\n", 9, &mut place), None);
        assert_eq!(read(&HOST[..9], 9, &mut place), None, "not whole");
        assert!(place.is_none());
    }
}
