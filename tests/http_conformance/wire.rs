//! What came back on a connection, read as its client would, and said in a few words.

/// What became of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "not everybody sees a difference to the end")]
pub enum End {
    /// The server waits for more.
    Open,
    Closed,
    Reset,
}

impl End {
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "close",
            Self::Reset => "reset",
        }
    }
}

/// The statuses of the answers, each with the length of the body that the server's user has seen, and the end:
/// `100 200(5) close`. What is no answer is `raw`.
pub fn outcome(bytes: &[u8], end: End) -> String {
    let mut words = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some(answer) = Answer::read(rest) else {
            words.push("raw".to_owned());
            break;
        };
        words.push(match answer.body_seen {
            0 => answer.status,
            length => format!("{}({length})", answer.status),
        });
        rest = &rest[answer.length..];
    }
    words.push(end.word().to_owned());
    words.join(" ")
}

struct Answer {
    status: String,
    body_seen: usize,
    /// With its body.
    length: usize,
}

impl Answer {
    fn read(bytes: &[u8]) -> Option<Self> {
        let head_len = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&bytes[..head_len]);
        let behind_version = head.strip_prefix("HTTP/1.1 ").or_else(|| head.strip_prefix("HTTP/1.0 "))?;
        let status = behind_version.get(..3)?.to_owned();
        let number = |name: &str| field(&head, name).and_then(|value| value.parse().ok()).unwrap_or(0);
        // Whether it was HEAD is not known here: what follows tells. No body begins like an answer.
        let body = &bytes[head_len..];
        let body_len = if body.starts_with(b"HTTP/1.") { 0 } else { number("content-length").min(body.len()) };
        Some(Self { status, body_seen: number("x-body"), length: head_len + body_len })
    }
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.filter(|(seen, _)| seen.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
}

#[test]
fn answers_in_a_few_words() {
    let said = |text: &str| outcome(text.as_bytes(), End::Open);
    assert_eq!(said(""), "open");
    assert_eq!(said("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"), "100 204 open");
    let post = "HTTP/1.1 200 OK\r\nX-Body: 7\r\ncontent-length: 2\r\n\r\nok";
    assert_eq!(said(&[post, "HTTP/1.1 400 Bad\r\n\r\n"].concat()), "200(7) 400 open");
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(said(&[head, post].concat()), "200 200(7) open");
    assert_eq!(said("HTTP/1.0 200 OK\r\n\r\n"), "200 open");
    assert_eq!(outcome(b"what", End::Reset), "raw reset");
}
