//! The character classes of RFC 9110 and RFC 3986, and the few small rules that several files need.

use std::net::Ipv6Addr;

/// A class of bytes; each has a bit of its own.
#[derive(Clone, Copy)]
pub(super) enum Class {
    /// See [`is_token_byte`].
    Token = 1,
    /// Bytes that may stand in a request target (RFC 3986 section 2), and the braces, brackets, bars, carets and grave
    /// accents that browsers leave unencoded in queries.
    ///
    /// Not among them: `#` (a fragment is never sent, RFC 9112 section 3.2), `\` (some read it as `/`), quotes and
    /// angle brackets, controls, and everything beyond ASCII.
    Target = 2,
    /// See [`is_field_byte`].
    Field = 4,
    /// The bytes of a reg-name, except percent-encoded ones (RFC 3986 section 3.2.2) and the comma.
    Host = 8,
}

/// The classes of each byte. Every byte of a target and of most names is looked up here.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        if byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            )
        {
            classes[at] |= Class::Token as u8;
        }
        if byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\' | b'"' | b'<' | b'>') {
            classes[at] |= Class::Target as u8;
        }
        if matches!(byte, b'\t' | b' '..=b'~' | 0x80..) {
            classes[at] |= Class::Field as u8;
        }
        if byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~')
            || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=')
        {
            classes[at] |= Class::Host as u8;
        }
        at += 1;
    }
    classes
};

fn is_in(class: Class, byte: u8) -> bool {
    CLASSES[usize::from(byte)] & class as u8 != 0
}

/// How many bytes at the front are of that class. Eight of them are checked at once.
#[inline]
pub(super) fn leading(class: Class, bytes: &[u8]) -> usize {
    let mut count = 0;
    for eight in bytes.chunks_exact(8) {
        if eight.iter().fold(class as u8, |all, &byte| all & CLASSES[usize::from(byte)]) == 0 {
            break;
        }
        count += 8;
    }
    count + bytes[count..].iter().take_while(|&&byte| is_in(class, byte)).count()
}

/// tchar (RFC 9110 section 5.6.2): the bytes of methods, field names and transfer codings.
pub(super) fn is_token_byte(byte: u8) -> bool {
    is_in(Class::Token, byte)
}

pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && leading(Class::Token, bytes) == bytes.len()
}

/// field-vchar, space and tab (RFC 9110 section 5.5). Chunk extensions may hold the same.
pub(super) fn is_field_byte(byte: u8) -> bool {
    is_in(Class::Field, byte)
}

/// True if all bytes may stand in a field's value.
#[inline]
pub(super) fn is_field(bytes: &[u8]) -> bool {
    leading(Class::Field, bytes) == bytes.len()
}

/// The elements of a comma-separated list, without the white space around them (RFC 9110 section 5.6.1).
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim)
}

/// The value without the optional white space (space and tab, nothing else) at both ends.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// `uri-host [ ":" port ]` (RFC 9110 section 7.2), with a host that is not empty.
///
/// The RFC lets Host be empty for targets without an authority; an `http` URI always has one, and must be refused
/// when its host is empty (RFC 9110 section 4.2.1).
pub(super) fn is_authority(value: &[u8]) -> bool {
    // The usual host, with or without a port, in one pass.
    let plain = leading(Class::Host, value);
    match value[plain..] {
        [] => return plain > 0,
        [b':'] if plain > 0 => return true,
        [b':', ref port @ ..] if plain > 0 => return is_port(port),
        _ => {}
    }
    let (host, port) = split_port(value);
    is_host(host) && port.is_none_or(|port| port.is_empty() || is_port(port))
}

/// `uri-host ":" port`, the only form of CONNECT (RFC 9112 section 3.2.3). The port must be there, and must be one that
/// can be connected to (RFC 9110 section 9.3.6), which zero is not.
pub(super) fn is_connect_authority(value: &[u8]) -> bool {
    let (host, port) = split_port(value);
    is_host(host) && port.is_some_and(|port| is_port(port) && port.iter().any(|&digit| digit != b'0'))
}

fn split_port(value: &[u8]) -> (&[u8], Option<&[u8]>) {
    // The colons inside of `[::1]` do not begin a port.
    let after_literal = value.iter().rposition(|&byte| byte == b']').map_or(0, |at| at + 1);
    match value.iter().skip(after_literal).position(|&byte| byte == b':') {
        Some(at) => (&value[..after_literal + at], Some(&value[after_literal + at + 1..])),
        None => (value, None),
    }
}

fn is_port(port: &[u8]) -> bool {
    // Among numbers of five digits, the numeric and the alphabetic order are the same.
    let few = port.len() < 5 || (port.len() == 5 && port <= b"65535".as_slice());
    few && !port.is_empty() && port.iter().all(u8::is_ascii_digit)
}

fn is_host(host: &[u8]) -> bool {
    if let [b'[', literal @ .., b']'] = host {
        // IPvFuture (RFC 3986 section 3.2.2) has never been used, and readers would not agree on what it means.
        return std::str::from_utf8(literal).is_ok_and(|literal| literal.parse::<Ipv6Addr>().is_ok());
    }
    !host.is_empty() && is_reg_name(host)
}

/// reg-name = *( unreserved / pct-encoded / sub-delims ), of which IPv4 addresses are a part (RFC 3986 section 3.2.2).
/// The comma is a sub-delim, but in Host it would be two values joined by somebody on the way: refused.
fn is_reg_name(mut name: &[u8]) -> bool {
    loop {
        let plain = leading(Class::Host, name);
        name = match &name[plain..] {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        for good in
            ["a", "example.com", "example.com:80", "example.com:", "127.0.0.1:8080", "[::1]", "[::1]:80", "a%20b"]
        {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        let bad = [
            "", ":80", "a b", "a:b", "a:65536", "a:000080", "a:1:2", "[::1", "::1", "[::1]x", "[v1.a]", "[]", "u@a",
            "a,b", "a/b", "a%2", "a%zz", "\u{e4}", "[::1]]",
        ];
        for bad in bad {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
        assert!(is_connect_authority(b"a:1") && is_connect_authority(b"[::1]:443"));
        assert!(!is_connect_authority(b"a") && !is_connect_authority(b"a:"));
    }

    #[test]
    fn lists_are_trimmed_of_space_and_tab_alone() {
        assert_eq!(list(b" a ,\tb,,c\x0b").collect::<Vec<_>>(), [&b"a"[..], b"b", b"", b"c\x0b"]);
        assert_eq!(trim(b" \t "), b"");
    }
}
