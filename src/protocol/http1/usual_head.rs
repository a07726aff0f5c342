//! The beginning of usual answers, up to the number behind `Content-Length`. It stays the same until the second
//! changes.
//!
//! Most answers of a program have one of a few statuses and one of a few types, and otherwise only what every answer
//! has. Their beginning is put together once in a second, and copied in one piece. As with the [known
//! heads](super::known_heads) of requests, threads remember it, in few places: if two kinds of answers that share a
//! place alternate, the beginning is put together anew each time.

use std::cell::RefCell;

use super::head_writer::HeadWriter;
use crate::clock::DATE_LINE;

/// Longer beginnings are not remembered.
pub(super) const MOST: usize = 128;
/// Places of one thread.
const PLACES: usize = 8;

thread_local! {
    // A thread that writes no answer never touches them.
    static HEADS: RefCell<[UsualHead; PLACES]> = const { RefCell::new([UsualHead::NONE; PLACES]) };
}

/// The beginning of answers with one status and one type, in one second.
#[derive(Clone, Copy)]
pub(super) struct UsualHead {
    second: u64,
    content_type: &'static str,
    status: u16,
    /// Zero if the beginning is too long to be remembered.
    len: u8,
    bytes: [u8; MOST],
}

impl UsualHead {
    // No answer has this status.
    const NONE: Self = Self { second: 0, content_type: "", status: 0, len: 0, bytes: [0; MOST] };

    /// Has `write` begin an answer that has this status and this type. `second` and `date_line` are the present time.
    /// `out` is lent to both.
    #[inline]
    pub(super) fn with<O, R>(
        (status, content_type): (u16, &'static str),
        second: u64,
        out: &mut O,
        date_line: impl FnOnce(&mut O) -> [u8; DATE_LINE],
        write: impl FnOnce(&Self, &mut O) -> R,
    ) -> R {
        HEADS.with_borrow_mut(|heads| {
            let head = &mut heads[place(status, content_type)];
            // Equal text at another address counts as different: that only costs time.
            let is_it = head.status == status && std::ptr::eq(head.content_type, content_type);
            if !is_it || head.second != second {
                *head = Self::made(status, content_type, second, &date_line(out));
            }
            write(head, out)
        })
    }

    #[cold]
    fn made(status: u16, content_type: &'static str, second: u64, date_line: &[u8; DATE_LINE]) -> Self {
        let mut bytes = [0; 2 * MOST];
        let len = match content_type.len() {
            0..MOST => {
                let head = HeadWriter::new(&mut bytes).status_and_date(status, date_line).content_type(content_type);
                2 * MOST - head.length_name().left()
            }
            _ => 2 * MOST,
        };
        let len = u8::try_from(len).ok().filter(|&len| usize::from(len) <= MOST).unwrap_or(0);
        let (mut head, (front, _)) = (Self::NONE, bytes.split_at(MOST));
        head.bytes.copy_from_slice(front);
        Self { second, content_type, status, len, ..head }
    }

    /// Begins an answer in `memory`; what is left of it is for the number and what follows. `None` if there is too
    /// little of it, or if the beginning is too long.
    #[inline]
    pub(super) fn begin<'m>(&self, memory: &'m mut [u8]) -> Option<HeadWriter<'m>> {
        // All of it, whatever the length: how many bytes that are, the compiler knows.
        *memory.first_chunk_mut()? = self.bytes;
        let is_known = self.len > 0;
        is_known.then(|| HeadWriter::new(&mut memory[usize::from(self.len)..]))
    }
}

/// Texts that differ are at different places of the program.
#[inline]
fn place(status: u16, content_type: &'static str) -> usize {
    (usize::from(status) ^ (content_type.as_ptr() as usize >> 3)) % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(status: u16, content_type: &'static str, second: u64) -> String {
        let date_line = |_: &mut _| [b'0' + second as u8; DATE_LINE];
        let mut memory = [b'.'; 2 * MOST];
        let left = UsualHead::with((status, content_type), second, &mut memory, date_line, |head, memory| {
            head.begin(memory).map(|head| head.left())
        });
        let written = left.map_or(0, |left| 2 * MOST - left);
        String::from_utf8_lossy(&memory[..written]).into_owned()
    }

    fn expected(status: &str, content_type: &str, second: u64) -> String {
        let date_line = second.to_string().repeat(DATE_LINE);
        format!("HTTP/1.1 {status}\r\n{date_line}{content_type}Content-Length: ")
    }

    #[test]
    fn each_kind_of_answer_has_its_own_beginning_in_each_second() {
        const TEXT: &str = "text/plain";
        // Some of them share their place.
        let kinds = [(200, "200 OK"), (208, "208 Already Reported"), (299, "299 ")];
        let types = [("", ""), (&TEXT[..4], "Content-Type: text\r\n"), (TEXT, "Content-Type: text/plain\r\n")];
        let all = || kinds.into_iter().flat_map(|kind| types.map(|content_type| (kind, content_type)));
        let check = |((status, line), (content_type, field)): ((u16, &str), (&'static str, &str)), second| {
            assert_eq!(begin(status, content_type, second), expected(line, field, second));
        };
        // The same in one second after the other; all others in between; and what shares a place, one after the other.
        all().for_each(|kind| [1, 1, 2, 1].into_iter().for_each(|second| check(kind, second)));
        [1, 1, 2, 1].into_iter().for_each(|second| all().for_each(|kind| check(kind, second)));
        all().for_each(|one| all().for_each(|other| [one, other, one].into_iter().for_each(|kind| check(kind, 3))));
    }

    #[test]
    fn what_is_too_long_is_not_begun() {
        const LONG: &str = "text/a-type-that-is-longer-than-the-place-for-a-beginning-has-bytes-left";
        assert_eq!(begin(200, LONG, 1), "");
        assert_eq!(begin(200, LONG, 1), "");
        assert_eq!(begin(200, "text/plain", 1).len(), 17 + DATE_LINE + 26 + 16);
    }

    #[test]
    fn little_memory_is_left_alone() {
        let begun = |memory: &mut [u8]| {
            let date_line = |_: &mut ()| [b'1'; DATE_LINE];
            UsualHead::with((200, ""), 1, &mut (), date_line, |head, ()| head.begin(memory).map(|head| head.left()))
        };
        assert_eq!(begun(&mut [b'.'; MOST - 1]), None);
        assert_eq!(begun(&mut [b'.'; MOST]), Some(MOST - 17 - DATE_LINE - 16));
    }
}
