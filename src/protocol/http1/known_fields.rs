//! The fields of recent usual requests, so that the same are not read again.
//!
//! A client that keeps its connection sends mostly the same fields with each request: who it is, what it takes, which host
//! it asks. What they say depends on their bytes alone. To see that the bytes are the same again takes one comparison; to
//! read them, a look at each name and each value.
//!
//! They are kept by threads, not by connections: an idle connection holds no memory for them. There are few places, and
//! each connection has one of them, which it shares with others. Mostly these are clients of the same kind, and send the
//! same; who sends other fields each time costs those few their memory, and nobody else.
//!
//! What a client keeps secret is not kept ([`Fields::has_secret`]): nobody's bytes are compared with another's password.

use std::cell::RefCell;

use super::usual_fields::{Fields, Section};

/// Places of one thread.
const PLACES: usize = 8;
/// The longest section that is kept. That of a browser, without cookies, is about half as long.
const LONGEST: usize = 1 << 10;

thread_local! {
    static KNOWN: RefCell<Known> = const { RefCell::new(Known { entries: [Entry::EMPTY; PLACES], dealt: 0 }) };
}

/// Which place is a connection's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place(u8);

/// What a thread remembers.
struct Known {
    entries: [Entry; PLACES],
    /// How many places were given to connections, modulo their number.
    dealt: u8,
}

/// A section that was read.
struct Entry {
    section: Section,
    /// As many fields were allowed. None, while there is no section.
    most: u32,
    bytes: [u8; LONGEST],
}

/// Reads the fields at the front of `bytes`, at most `most` of them, for the connection at `place`. `None`: they are not
/// usual, or not all there.
#[inline]
pub(super) fn read(bytes: &[u8], most: u32, place: &mut Place) -> Option<Section> {
    match KNOWN.with_borrow(|known| known.find(bytes, most, *place)) {
        None => read_anew(bytes, most, place),
        known => known,
    }
}

#[inline(never)]
fn read_anew(bytes: &[u8], most: u32, place: &mut Place) -> Option<Section> {
    let (section, fields) = Fields::read(bytes, most)?;
    if !fields.has_secret {
        KNOWN.with_borrow_mut(|known| known.keep(&bytes[..section.len as usize], section, most, place));
    }
    Some(section)
}

impl Default for Place {
    /// None yet.
    fn default() -> Self {
        Self(u8::MAX)
    }
}

impl Known {
    #[inline]
    fn find(&self, bytes: &[u8], most: u32, place: Place) -> Option<Section> {
        let Entry { section, most: allowed, bytes: known } = self.entries.get(usize::from(place.0))?;
        let is_same = *allowed == most && bytes.starts_with(known.get(..section.len as usize)?);
        is_same.then_some(*section)
    }

    fn keep(&mut self, bytes: &[u8], section: Section, most: u32, place: &mut Place) {
        if bytes.len() > LONGEST {
            return;
        }
        if usize::from(place.0) >= PLACES {
            *place = Place(self.dealt);
            self.dealt = (self.dealt + 1) % PLACES as u8;
        }
        let entry = &mut self.entries[usize::from(place.0)];
        entry.bytes[..bytes.len()].copy_from_slice(bytes);
        (entry.section, entry.most) = (section, most);
    }
}

impl Entry {
    const EMPTY: Self = Self { section: Section { len: 0, body_len: 0 }, most: u32::MAX, bytes: [0; LONGEST] };
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &[u8] = b"Host: a\r\n\r\nbehind";
    const POST: &[u8] = b"Host: a\r\nContent-Length: 12\r\n\r\nbehind";

    /// What is known at `place`, which is this thread's.
    fn known(bytes: &[u8], most: u32, place: Place) -> Option<Section> {
        KNOWN.with_borrow(|known| known.find(bytes, most, place))
    }

    #[test]
    fn the_same_fields_are_known_and_no_others() {
        let mut place = Place::default();
        assert_eq!(known(HOST, 9, place), None);
        let read = read(HOST, 9, &mut place);
        assert_eq!(read, Some(Section { len: 11, body_len: 0 }));
        assert_eq!(known(HOST, 9, place), read);
        assert_eq!(known(b"Host: a\r\n\r\nsomething else", 9, place), read);
        for other in [&b"Host: b\r\n\r\nbehind"[..], b"host: a\r\n\r\nbehind", &HOST[..10], POST, b""] {
            assert_eq!(known(other, 9, place), None, "{other:?}");
        }
        assert_eq!(known(HOST, 8, place), None, "another limit");
    }

    #[test]
    fn a_connection_has_one_place_and_keeps_its_last_fields_there() {
        let mut place = Place::default();
        let first = read(HOST, 9, &mut place);
        let Place(number) = place;
        let second = read(POST, 9, &mut place);
        assert_eq!(second, Some(Section { len: 31, body_len: 12 }));
        assert_eq!((place.0, known(POST, 9, place), known(HOST, 9, place)), (number, second, None));
        assert_eq!(read(HOST, 9, &mut place), first);
    }

    #[test]
    fn connections_share_few_places() {
        let places: Vec<u8> = (0..2 * PLACES)
            .map(|_| {
                let mut place = Place::default();
                read(HOST, 9, &mut place).expect("usual fields");
                place.0
            })
            .collect();
        assert_eq!(places[..PLACES], places[PLACES..]);
        assert!((0..PLACES as u8).all(|place| places.contains(&place)), "{places:?}");
    }

    #[test]
    fn secrets_and_long_sections_are_read_and_not_kept() {
        let long = [b"Host: a\r\nX: ".as_slice(), &[b'x'; LONGEST], b"\r\n\r\n"].concat();
        let secrets: [&[u8]; 4] = [
            b"Host: a\r\nCookie: a=b\r\n\r\n",
            b"Host: a\r\nAUTHORIZATION: Basic YQ==\r\n\r\n",
            b"proxy-Authorization: Basic YQ==\r\nHost: a\r\n\r\n",
            &long,
        ];
        for bytes in secrets {
            let mut place = Place::default();
            let len = bytes.len() as u32;
            assert_eq!(read(bytes, 9, &mut place), Some(Section { len, body_len: 0 }));
            assert_eq!(place.0, Place::default().0, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn what_is_not_usual_is_not_kept() {
        let mut place = Place::default();
        assert_eq!(read(b"Accept: */*\r\n\r\n", 9, &mut place), None, "no host");
        assert_eq!(read(b"Host: a\r\nExpect: 100-continue\r\n\r\n", 9, &mut place), None);
        assert_eq!(read(&HOST[..9], 9, &mut place), None, "not whole");
        assert_eq!(place.0, Place::default().0);
    }
}
