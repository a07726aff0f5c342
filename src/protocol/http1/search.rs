//! Finding the end of a head, or of a trailer section, in bytes that arrive in any pieces.
//!
//! Each byte is looked at once, however the pieces were cut, and everything that is refused here is refused at the
//! wrong byte. So the same bytes give the same answer in whatever pieces they come, and garbage is answered before the
//! end of its head, which may never arrive. Checks that need the whole head are left to `head`.
//!
//! All positions are relative to the first byte of the section.

use super::grammar::{self, Class};
use super::{limits::Limits, malformed, words};
use crate::protocol::ProtocolError;

/// The longest registered method has 17 bytes; "longer than any that it implements" is 501 (RFC 9112 section 3).
const METHOD_MAX: usize = 32;
/// Behind the target: a space, `HTTP/1.1` and the end of the line.
pub(super) const VERSION_LEN: usize = " HTTP/1.1\r\n".len();

/// How much of a head has been read.
#[derive(Debug, Clone, Default)]
pub(super) struct HeadSearch {
    line: RequestLine,
    fields: FieldSearch,
}

/// The parts of a request line, as far as they are known; zero is "not yet".
#[derive(Debug, Clone, Default)]
pub(super) struct RequestLine {
    pub(super) method_len: u8,
    pub(super) target_end: u32,
    pub(super) version10: bool,
    searched: u32,
}

/// How far the lines of a field section were searched for the empty one.
#[derive(Debug, Clone, Default)]
pub(super) struct FieldSearch {
    line_start: u32,
    searched: u32,
    count: u32,
}

impl HeadSearch {
    /// The length of the head once its last byte is there. `head` begins with the request line.
    pub(super) fn find_end(&mut self, head: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        // The fields begin behind the request line, so zero means that it is still being read.
        if self.fields.line_start == 0 {
            // Bytes behind the limit are not looked at: an error there might not have arrived yet with other pieces.
            let within = &head[..head.len().min(limits.head_max as usize)];
            if !self.line.read(within, limits)? {
                // As with a field: the end would have to be here by now.
                let is_too_long = within.len() == limits.head_max as usize;
                return if is_too_long { Err(fields_too_long(limits)) } else { Ok(None) };
            }
            self.fields = FieldSearch::from(self.fields_start(), 0);
        }
        self.fields.find_end(head, limits.head_max as usize, limits)
    }

    pub(super) fn line(&self) -> &RequestLine {
        &self.line
    }

    pub(super) fn field_count(&self) -> u32 {
        self.fields.count
    }

    /// Where the fields begin, once the request line is whole.
    pub(super) fn fields_start(&self) -> usize {
        self.line.target_end as usize + VERSION_LEN
    }
}

impl RequestLine {
    /// `method SP request-target SP HTTP-version CRLF` with exactly these spaces (RFC 9112 section 3). True once the
    /// line is whole.
    fn read(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, ProtocolError> {
        if self.method_len == 0 && !self.read_method(bytes)? {
            return Ok(false);
        }
        if self.target_end == 0 && !self.read_target(bytes, limits)? {
            return Ok(false);
        }
        if !self.read_version(bytes)? {
            return Ok(false);
        }
        check_target(self.method(bytes), self.target(bytes))?;
        Ok(true)
    }

    /// Looks at the first bytes again with each piece: they are few, and the usual request comes in one piece.
    fn read_method(&mut self, bytes: &[u8]) -> Result<bool, ProtocolError> {
        let window = &bytes[..bytes.len().min(METHOD_MAX + 1)];
        match window.iter().position(|&byte| !grammar::is_token_byte(byte)) {
            None if window.len() > METHOD_MAX => {
                Err(ProtocolError::with_status(501, format!("method is longer than {METHOD_MAX} bytes")))
            }
            None => Ok(false),
            Some(end) if end > 0 && window[end] == b' ' => {
                // At most METHOD_MAX, which fits.
                self.method_len = end as u8;
                self.searched = end as u32 + 1;
                Ok(true)
            }
            Some(_) => Err(malformed("request does not begin with a method and a space")),
        }
    }

    /// Goes on where it stopped: targets are long enough for that to pay.
    fn read_target(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, ProtocolError> {
        let start = usize::from(self.method_len) + 1;
        let searched = self.searched as usize;
        let end = searched + grammar::leading(Class::Target, &bytes[searched..]);
        // Also while the target has no end yet, and before a wrong byte that lies beyond the limit.
        if end - start > limits.target_max as usize {
            let what = format!("request target is over target_max = {} bytes", limits.target_max);
            return Err(ProtocolError::with_status(414, what));
        }
        self.searched = end as u32;
        if end == bytes.len() {
            return Ok(false);
        }
        if end == start || bytes[end] != b' ' {
            return Err(malformed("request target is not followed by a space, or has a byte that no URI has"));
        }
        self.target_end = self.searched;
        Ok(true)
    }

    /// At most eleven bytes, so they are simply looked at again with each piece.
    fn read_version(&mut self, bytes: &[u8]) -> Result<bool, ProtocolError> {
        if bytes[self.target_end as usize..].starts_with(b" HTTP/1.1\r\n") {
            self.version10 = false;
            return Ok(true);
        }
        let seen = bytes[self.target_end as usize..].iter().take(VERSION_LEN);
        for (byte, pattern) in seen.clone().zip(b" HTTP/d.d\r\n") {
            let right = if *pattern == b'd' { byte.is_ascii_digit() } else { byte == pattern };
            if !right {
                return Err(malformed("request line does not end with an HTTP version and CR LF"));
            }
        }
        if seen.len() < VERSION_LEN {
            return Ok(false);
        }
        // RFC 9110 section 15.6.6. A minor version above 1 could be served as 1.1 (RFC 9110 section 2.5), but none
        // exists, and a peer that claims one is suspicious.
        match (bytes[self.target_end as usize + 6], bytes[self.target_end as usize + 8]) {
            (b'1', b'1') => self.version10 = false,
            (b'1', b'0') => self.version10 = true,
            _ => return Err(ProtocolError::with_status(505, "HTTP version is neither 1.0 nor 1.1")),
        }
        Ok(true)
    }

    pub(super) fn method<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        &head[..usize::from(self.method_len)]
    }

    pub(super) fn target<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        &head[usize::from(self.method_len) + 1..self.target_end as usize]
    }
}

/// The four forms of RFC 9112 section 3.2. If a form came with the wrong method, one reader might route the request and
/// another serve it.
fn check_target(method: &[u8], target: &[u8]) -> Result<(), ProtocolError> {
    let good = if method == b"CONNECT" {
        grammar::is_connect_authority(target)
    } else if target == b"*" {
        method == b"OPTIONS"
    } else {
        target.starts_with(b"/") || absolute_authority(target).is_some_and(grammar::is_authority)
    };
    if good { Ok(()) } else { Err(malformed("request target is in none of the forms that its method allows")) }
}

/// How an absolute-form begins.
pub(super) const SCHEME: &[u8] = b"http://";

/// The authority in an absolute-form of `http`. No other scheme is served: `https` must be refused on a connection that
/// is not secured (RFC 9110 section 7.4), and the server cannot know whether a proxy in front of it has secured it.
pub(super) fn absolute_authority(target: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = target.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    rest.split(|&byte| byte == b'/' || byte == b'?').next()
}

impl FieldSearch {
    /// A section whose first line begins at `start`, after `count` fields of the same message.
    pub(super) fn from(start: usize, count: u32) -> Self {
        Self { line_start: start as u32, searched: start as u32, count }
    }

    /// The fields that were found so far, those before `start` included.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The position behind the empty line that ends the section, which must lie within `len_max`.
    pub(super) fn find_end(
        &mut self,
        section: &[u8],
        len_max: usize,
        limits: &Limits,
    ) -> Result<Option<usize>, ProtocolError> {
        while let Some(found) = words::find(b'\n', &section[self.searched as usize..]) {
            let line_feed = self.searched as usize + found;
            if line_feed >= len_max {
                return Err(fields_too_long(limits));
            }
            // At least the LF of a line is new here; its CR may have been seen before.
            let line = &section[self.line_start as usize..line_feed];
            match line {
                [b'\r'] => return Ok(Some(line_feed + 1)),
                [.., b'\r'] => {}
                // RFC 9112 section 2.2 lets a bare LF end a line. It is refused, because a reader that does not accept
                // it would see one line here.
                _ => return Err(malformed("LF without CR")),
            }
            self.count += 1;
            if self.count > limits.fields_max {
                let what = format!("more fields than fields_max = {}", limits.fields_max);
                return Err(ProtocolError::with_status(431, what));
            }
            self.line_start = line_feed as u32 + 1;
            self.searched = self.line_start;
        }
        // The limit is exceeded at the same byte whether its line has ended or not. The end would have to be here by
        // now, so the search does not wait for another byte, for which there may be no room.
        if section.len() >= len_max {
            return Err(fields_too_long(limits));
        }
        self.searched = section.len() as u32;
        Ok(None)
    }
}

fn fields_too_long(limits: &Limits) -> ProtocolError {
    let what = format!("head and trailers are over head_max = {} bytes", limits.head_max);
    ProtocolError::with_status(431, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_the_form_of_their_method() {
        let good = [
            "GET /",
            "GET //a",
            "GET http://a",
            "GET HTTP://a:1/?b",
            "GET http://a?b",
            "OPTIONS *",
            "OPTIONS /",
            "CONNECT a:1",
        ];
        let bad = [
            "GET *",
            "GET a:1",
            "GET a",
            "GET ?a",
            "GET ftp://a/",
            "GET https://a/",
            "GET http:/a",
            "GET http://",
            "GET http:///a",
            "GET http://u@a/",
            "CONNECT /",
            "CONNECT a",
            "CONNECT a:0",
            "CONNECT http://a:1",
            "OPTIONS **",
        ];
        let check = |line: &str| {
            let (method, target) = line.split_once(' ').unwrap();
            check_target(method.as_bytes(), target.as_bytes()).is_ok()
        };
        good.into_iter().for_each(|line| assert!(check(line), "{line}"));
        bad.into_iter().for_each(|line| assert!(!check(line), "{line}"));
    }

    #[test]
    fn a_request_line_that_fills_the_head_is_refused_before_more_is_waited_for() {
        let limits = Limits { head_max: 64, target_max: 64, ..Limits::default() };
        // Whatever is wrong with it behind that, or can be seen only when it is whole.
        for (target, version) in [("/", "HTTP/1.1"), ("/", "HTTP/1.7"), ("/", "HTTP/1.1x"), ("x", "HTTP/1.1")] {
            let line = format!("GET {target}{} {version}\r\n\r\n", "a".repeat(50));
            let search = |length: usize| HeadSearch::default().find_end(&line.as_bytes()[..length], &limits);
            assert_eq!(search(63), Ok(None), "{line}");
            for length in 64..=line.len() {
                assert_eq!(search(length).map_err(|error| error.status()), Err(Some(431)), "{length} bytes of {line}");
            }
        }
    }

    #[test]
    fn a_search_looks_at_each_byte_once() {
        let limits = Limits::default();
        let mut search = FieldSearch::default();
        let section = b"name: value\r\nname: va";
        assert_eq!(search.find_end(section, 100, &limits), Ok(None));
        assert_eq!((search.line_start, search.searched, search.count), (13, 21, 1));
    }
}
