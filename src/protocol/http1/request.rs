//! A request as its processor reads it.

use std::fmt;

use ascii::AsciiStr;

use super::layout::Layout;
use super::{Http1, grammar, search, words};
use crate::protocol::Message;

/// The two versions that are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// A request: its layout laid over its bytes. Nothing is copied: the parts are slices of the bytes that arrived.
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    layout: &'a Layout,
    bytes: &'a [u8],
}

impl<'a> RequestView<'a> {
    /// Makes a view of `bytes`, which are those of the message for which the layout was made.
    ///
    /// # Panics
    /// This function does not panic; but with other bytes, the methods that return parts of them may.
    #[must_use]
    pub fn new(layout: &'a Layout, bytes: &'a [u8]) -> Self {
        Self { layout, bytes }
    }

    /// The method as it was sent: methods are case-sensitive (RFC 9110 section 9.1).
    #[must_use]
    pub fn method(&self) -> &'a str {
        match &self.bytes[self.layout.method()] {
            // The common methods are spared a check of each byte.
            b"GET" => "GET",
            b"POST" => "POST",
            other => text(other),
        }
    }

    /// The request target as it was sent, without any decoding (RFC 9112 section 3.2): usually a path and a query, but
    /// a client may name the host as well. To choose an answer, use [`path`](Self::path).
    #[must_use]
    pub fn target(&self) -> &'a str {
        text(&self.bytes[self.layout.target()])
    }

    /// The path of the target, without query and host and without any decoding: it begins with `/`. It is `*` if the
    /// request is for the server as a whole (OPTIONS), and empty for CONNECT, which has none.
    #[must_use]
    pub fn path(&self) -> &'a str {
        let (path, _) = self.path_and_query();
        path
    }

    /// The part of the target behind its first `?`, without any decoding; `None` if there is no `?`.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        let (_, query) = self.path_and_query();
        query
    }

    fn path_and_query(&self) -> (&'a str, Option<&'a str>) {
        if self.layout.exchange().is_connect() {
            return ("", None);
        }
        let target = self.target();
        let authority = search::absolute_authority(target.as_bytes());
        let behind = authority.map_or(target, |authority| &target[search::SCHEME.len() + authority.len()..]);
        let (path, query) = behind.split_once('?').map_or((behind, None), |(path, query)| (path, Some(query)));
        (if path.is_empty() { "/" } else { path }, query)
    }

    /// The requested host, with its port if there is one. A target that names a host takes precedence over the Host
    /// field (RFC 9112 section 3.2.2). `None` only with HTTP/1.0.
    #[must_use]
    pub fn host(&self) -> Option<&'a str> {
        let target = &self.bytes[self.layout.target()];
        let authority =
            if self.layout.exchange().is_connect() { Some(target) } else { search::absolute_authority(target) };
        authority.or_else(|| self.header("host")).map(text)
    }

    /// The version of the request line.
    #[must_use]
    pub fn version(&self) -> Version {
        if self.layout.exchange().is_version10() { Version::Http10 } else { Version::Http11 }
    }

    /// Whether the client wants to send more requests on this connection.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.layout.exchange().keep_alive()
    }

    /// The value of the first field with this name, whose case does not matter, without white space around it. The
    /// value has no control characters, but may have bytes beyond ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        let mut fields = self.headers();
        let named =
            std::iter::from_fn(|| fields.next_field()).find(|(seen, _)| seen.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|(_, value)| value)
    }

    /// All fields of the head, in their order, as name and value.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        Headers { lines: &self.bytes[self.layout.fields()] }
    }

    /// The body; empty if there is none. The chunks of a chunked body are already joined.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[self.layout.body()]
    }

    /// The fields behind a chunked body. They are never mixed with those of the head: a program other than the sender
    /// of the head may have added them (RFC 9110 section 6.5.1).
    #[must_use]
    pub fn trailers(&self) -> Headers<'a> {
        Headers { lines: &self.bytes[self.layout.trailers()] }
    }

    /// The head as it arrived, from the request line to the empty line.
    #[must_use]
    pub fn head(&self) -> &'a [u8] {
        &self.bytes[self.layout.head()]
    }
}

impl fmt::Debug for RequestView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestView")
            .field("method", &self.method())
            .field("target", &self.target())
            .field("version", &self.version())
            .field("body_len", &self.body().len())
            .finish_non_exhaustive()
    }
}

/// Only for bytes that were validated to be ASCII; the fallback is never seen.
fn text(bytes: &[u8]) -> &str {
    AsciiStr::from_ascii(bytes).map_or("", AsciiStr::as_str)
}

/// The fields of a head or a trailer section, as name and value. Walks the bytes; each step is a search for a line end.
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    /// Whole validated lines: `name ":" OWS value OWS CRLF`.
    lines: &'a [u8],
}

impl<'a> Headers<'a> {
    /// The next field, with a name that is not text yet: comparing names does not require checking each byte.
    fn next_field(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let colon = words::find(b':', self.lines)?;
        let (name, rest) = self.lines.split_at(colon);
        let end = words::find(b'\n', rest)?;
        self.lines = &rest[end + 1..];
        // From behind the colon to before the CR.
        Some((name, grammar::trim(rest.get(1..end - 1)?)))
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.next_field().map(|(name, value)| (text(name), value))
    }
}

/// The questions that a processor asks about an HTTP request; the answers are those of [`RequestView`].
impl Message<'_, Http1> {
    /// The whole request, as a view that can be copied.
    #[inline]
    pub fn request(&self) -> RequestView<'_> {
        RequestView::new(self.layout(), self.bytes())
    }

    /// The method as it was sent. See [`RequestView::method`].
    pub fn method(&self) -> &str {
        self.request().method()
    }

    /// The request target as it was sent. See [`RequestView::target`].
    pub fn target(&self) -> &str {
        self.request().target()
    }

    /// The path of the target. See [`RequestView::path`].
    pub fn path(&self) -> &str {
        self.request().path()
    }

    /// The part of the target behind its first `?`. See [`RequestView::query`].
    pub fn query(&self) -> Option<&str> {
        self.request().query()
    }

    /// The requested host. See [`RequestView::host`].
    pub fn host(&self) -> Option<&str> {
        self.request().host()
    }

    /// The version of the request line.
    pub fn version(&self) -> Version {
        self.request().version()
    }

    /// Whether the client wants to send more requests on this connection.
    pub fn keep_alive(&self) -> bool {
        self.request().keep_alive()
    }

    /// The value of the first field with this name. See [`RequestView::header`].
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.request().header(name)
    }

    /// All fields of the head, in their order.
    pub fn headers(&self) -> Headers<'_> {
        self.request().headers()
    }

    /// The body; empty if there is none.
    pub fn body(&self) -> &[u8] {
        self.request().body()
    }

    /// The fields behind a chunked body. See [`RequestView::trailers`].
    pub fn trailers(&self) -> Headers<'_> {
        self.request().trailers()
    }

    /// The head as it arrived, from the request line to the empty line.
    pub fn head(&self) -> &[u8] {
        self.request().head()
    }
}
