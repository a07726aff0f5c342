//! The heads of usual answers.
//!
//! Most answers of a program have one of a few statuses and one of a few types, and otherwise only what every answer
//! has. Their head is put together once in a second, and copied in one piece; while it is the same but for the length
//! of the body, only that is written anew. As with the [known heads](super::known_heads) of requests, threads remember
//! it, in few places: if two kinds of answers that share a place alternate, the head is put together anew each time.

use std::cell::RefCell;

use super::head_writer::HeadWriter;
use crate::buffer::COPY_BELOW;
use crate::clock::DATE_LINE;

/// Longer heads are not remembered.
pub(super) const MOST: usize = 128;
/// The longest number, for the longest body that is copied, and the end of its line and of the head.
const LENGTH_MOST: usize = (COPY_BELOW - 1).ilog10() as usize + 1 + END.len();
/// The end of the last line and of the head.
const END: &[u8; 4] = b"\r\n\r\n";
/// Places of one thread.
const PLACES: usize = 8;

thread_local! {
    // A thread that writes no answer never touches them.
    static HEADS: RefCell<[UsualHead; PLACES]> = const { RefCell::new([UsualHead::NONE; PLACES]) };
}

/// The head of answers with one status and one type, in one second.
#[derive(Clone, Copy)]
pub(super) struct UsualHead {
    second: u64,
    content_type: &'static str,
    status: u16,
    /// How much of it is the same for bodies of all lengths. Zero if that is too long to be remembered.
    stem: u8,
    /// How long it is for a body of `body_len` bytes. Zero if `stem` is.
    len: u8,
    body_len: usize,
    bytes: [u8; MOST],
}

impl UsualHead {
    // No answer has this status.
    const NONE: Self = Self { second: 0, content_type: "", status: 0, stem: 0, len: 0, body_len: 0, bytes: [0; MOST] };

    /// Has `write` begin an answer that has this status, this type and a body of this length, which is copied. `second`
    /// and `date_line` are the present time. `out` is lent to both.
    #[inline]
    pub(super) fn with<O, R>(
        (status, content_type, body_len): (u16, &'static str, usize),
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
                head.set_length(body_len);
            } else if head.body_len != body_len {
                head.set_length(body_len);
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
        let stem = if len <= MOST - LENGTH_MOST { len as u8 } else { 0 };
        let (mut head, (front, _)) = (Self::NONE, bytes.split_at(MOST));
        head.bytes.copy_from_slice(front);
        Self { second, content_type, status, stem, ..head }
    }

    #[inline(never)]
    fn set_length(&mut self, body_len: usize) {
        self.body_len = body_len;
        if self.stem > 0 {
            let left = HeadWriter::new(&mut self.bytes[usize::from(self.stem)..]).number(body_len, END).left();
            self.len = (MOST - left) as u8;
        }
    }

    /// Begins an answer in `memory`; what is left of it is for the body. `None` if there is too little of it, or if the
    /// head is too long.
    #[inline]
    pub(super) fn begin<'m>(&self, memory: &'m mut [u8]) -> Option<HeadWriter<'m>> {
        if self.len == 0 {
            return None;
        }
        // All of it, whatever the length: how many bytes that are, the compiler knows, and it calls nothing for so few.
        *memory.first_chunk_mut()? = self.bytes;
        Some(HeadWriter::new(&mut memory[usize::from(self.len)..]))
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

    const TEXT: &str = "text/plain";
    /// The longest type whose heads are remembered, and one that is longer by a byte.
    const LONGEST: &str = "text/a-type-that-is-as-long-as-can";
    const LONGER: &str = "text/a-type-that-is-as-long-as-can+";

    fn begin(status: u16, content_type: &'static str, body_len: usize, second: u64) -> String {
        let date_line = |_: &mut _| [b'0' + second as u8; DATE_LINE];
        let mut memory = [b'.'; 2 * MOST];
        let kind = (status, content_type, body_len);
        let left = UsualHead::with(kind, second, &mut memory, date_line, |head, memory| {
            head.begin(memory).map(|head| head.left())
        });
        let written = left.map_or(0, |left| 2 * MOST - left);
        String::from_utf8_lossy(&memory[..written]).into_owned()
    }

    fn expected(status: &str, content_type: &str, body_len: usize, second: u64) -> String {
        let date_line = second.to_string().repeat(DATE_LINE);
        format!("HTTP/1.1 {status}\r\n{date_line}{content_type}Content-Length: {body_len}\r\n\r\n")
    }

    #[test]
    fn each_kind_of_answer_has_its_own_head_in_each_second() {
        // Some of them share their place.
        let kinds = [(200, "200 OK"), (208, "208 Already Reported"), (299, "299 ")];
        let types = [("", ""), (&TEXT[..4], "Content-Type: text\r\n"), (TEXT, "Content-Type: text/plain\r\n")];
        let all = || kinds.into_iter().flat_map(|kind| types.map(|content_type| (kind, content_type)));
        let check = |((status, line), (content_type, field)): ((u16, &str), (&'static str, &str)), body_len, second| {
            assert_eq!(begin(status, content_type, body_len, second), expected(line, field, body_len, second));
        };
        // The same in one second after the other; all others in between; and what shares a place, one after the other.
        all().for_each(|kind| [1, 1, 2, 1].into_iter().for_each(|second| check(kind, 9, second)));
        [1, 1, 2, 1].into_iter().for_each(|second| all().for_each(|kind| check(kind, 9, second)));
        all().for_each(|one| all().for_each(|other| [one, other, one].into_iter().for_each(|kind| check(kind, 9, 3))));
        // Bodies of all lengths, one after the other; the head of the longest and of the shortest number comes twice.
        for body_len in [0, 9, 10, 99, 100, 999, 1000, 4095, 4095, 0, 0] {
            all().for_each(|kind| check(kind, body_len, 3));
        }
        for body_len in [0, 9, 10, 4095, 4095, 0, 0] {
            check((kinds[0], types[2]), body_len, 3);
        }
    }

    #[test]
    fn what_is_too_long_is_not_begun() {
        for body_len in [0, 4095, 0, 0] {
            let field = format!("Content-Type: {LONGEST}\r\n");
            assert_eq!(begin(200, LONGEST, body_len, 1), expected("200 OK", &field, body_len, 1));
            assert_eq!(begin(200, LONGER, body_len, 1), "");
        }
        assert_eq!(expected("200 OK", &format!("Content-Type: {LONGEST}\r\n"), 4095, 1).len(), MOST);
    }

    #[test]
    fn little_memory_is_left_alone() {
        let begun = |memory: &mut [u8]| {
            let date_line = |_: &mut ()| [b'1'; DATE_LINE];
            let kind = (200, "", 7);
            UsualHead::with(kind, 1, &mut (), date_line, |head, ()| head.begin(memory).map(|head| head.left()))
        };
        assert_eq!(begun(&mut [b'.'; MOST - 1]), None);
        assert_eq!(begun(&mut [b'.'; MOST]), Some(MOST - 17 - DATE_LINE - 16 - 5));
    }
}
