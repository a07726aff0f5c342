//! Bytes that are no request, and requests that are almost one.

use std::time::Duration;

use crate::random::Random;
use crate::script::{Family, Script, Step};

const REQUESTS: [&[u8]; 4] = [
    b"GET /plaintext HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"PUT /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nput",
];

/// One in two sends random bytes, the others a mutated request. What is not closed by the server soon closes itself.
pub fn garbage() -> Family {
    Family::new("garbage", 400, 2000.0, |number, mut random| {
        let bytes = match number % 2 {
            0 => {
                let length = 1 + random.below(4096);
                random.bytes(length)
            }
            _ => mutated(&mut random),
        };
        Script::of(true, [Step::send(bytes), Step::Wait(Duration::from_millis(150)), Step::Close])
    })
    .reopening(2000.0)
}

/// A request with up to eight mutations.
fn mutated(random: &mut Random) -> Vec<u8> {
    let mut request = REQUESTS[random.below(REQUESTS.len())].to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(request.len());
        match random.below(5) {
            0 => request[at] ^= 1 << random.below(8),
            1 => request[at] = b"\r\n\0 :,;\t\xff0"[random.below(10)],
            2 => drop(request.remove(at)),
            3 => request.insert(at, request[at]),
            _ => {
                let piece = request[at..].to_vec();
                request.extend(piece);
            }
        }
        if request.is_empty() {
            return b"\r\n".to_vec();
        }
    }
    request
}
