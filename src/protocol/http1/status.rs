//! Status lines, ready to be copied, and the last words of the server.

/// Each line is written out once, by the compiler.
macro_rules! status_lines {
    ($($status:literal $reason:literal)*) => {
        /// The status line, if the status is a registered one (RFC 9110 section 15 and the IANA registry).
        pub(super) fn line(status: u16) -> Option<&'static [u8]> {
            match status {
                $($status => Some(concat!("HTTP/1.1 ", $status, " ", $reason, "\r\n").as_bytes()),)*
                _ => None,
            }
        }
    };
}

// The answer carries the server's own version, also to an HTTP/1.0 client (RFC 9110 section 2.5).
status_lines! {
    200 "OK"
    201 "Created"
    202 "Accepted"
    203 "Non-Authoritative Information"
    204 "No Content"
    205 "Reset Content"
    206 "Partial Content"
    207 "Multi-Status"
    208 "Already Reported"
    226 "IM Used"
    300 "Multiple Choices"
    301 "Moved Permanently"
    302 "Found"
    303 "See Other"
    304 "Not Modified"
    305 "Use Proxy"
    307 "Temporary Redirect"
    308 "Permanent Redirect"
    400 "Bad Request"
    401 "Unauthorized"
    402 "Payment Required"
    403 "Forbidden"
    404 "Not Found"
    405 "Method Not Allowed"
    406 "Not Acceptable"
    407 "Proxy Authentication Required"
    408 "Request Timeout"
    409 "Conflict"
    410 "Gone"
    411 "Length Required"
    412 "Precondition Failed"
    413 "Content Too Large"
    414 "URI Too Long"
    415 "Unsupported Media Type"
    416 "Range Not Satisfiable"
    417 "Expectation Failed"
    418 "I'm a Teapot"
    421 "Misdirected Request"
    422 "Unprocessable Content"
    423 "Locked"
    424 "Failed Dependency"
    425 "Too Early"
    426 "Upgrade Required"
    428 "Precondition Required"
    429 "Too Many Requests"
    431 "Request Header Fields Too Large"
    451 "Unavailable For Legal Reasons"
    500 "Internal Server Error"
    501 "Not Implemented"
    502 "Bad Gateway"
    503 "Service Unavailable"
    504 "Gateway Timeout"
    505 "HTTP Version Not Supported"
    506 "Variant Also Negotiates"
    507 "Insufficient Storage"
    508 "Loop Detected"
    510 "Not Extended"
    511 "Network Authentication Required"
}

/// The text for a client whose request is refused before it is whole. It is general and repeats nothing that the client
/// sent.
pub(super) fn refusal(status: u16) -> &'static str {
    match status {
        408 => "The request took too long to arrive.\n",
        413 => "The body is longer than this server accepts.\n",
        414 => "The request target is longer than this server accepts.\n",
        417 => "This server meets no expectation but 100-continue.\n",
        431 => "The header fields are more or longer than this server accepts.\n",
        501 => "The request asks for something that this server does not implement.\n",
        505 => "This server speaks HTTP/1.1 and HTTP/1.0.\n",
        _ => "The request is malformed, or could be read in more than one way.\n",
    }
}
