//! LAW any split: the same bytes give the same messages, the same refusal and the same rest, however they were cut.

#[path = "common/http1_cases.rs"]
mod http1_cases;
#[path = "common/splits.rs"]
mod splits;

use splits::assert_any_split;

#[test]
fn http1_cases_give_the_same_in_any_pieces() {
    for case in http1_cases::all() {
        assert_any_split(&case.name, &case.protocol(), &case.input, http1_cases::see);
    }
}

/// The cases, damaged: a byte changed, left out or doubled, a part repeated. Most are refused, all at the same byte.
#[test]
fn damaged_http1_cases_give_the_same_in_any_pieces() {
    const DAMAGES: u64 = 8;
    const TELLING: &[u8] = b"\r\n\0 \t:;,0f/\"#\x80H";
    let mut random = Random(0x5eed);
    for case in http1_cases::all().into_iter().filter(|case| case.input.len() < 1024) {
        for round in 0..DAMAGES {
            let mut input = case.input.clone();
            for _ in 0..=round / 3 {
                let at = random.below(input.len());
                match random.below(4) {
                    0 => input[at] = TELLING[random.below(TELLING.len())],
                    1 => drop(input.remove(at)),
                    2 => input.insert(at, input[at]),
                    _ => input.extend_from_within(at..),
                }
                input.extend_from_slice(b"!");
            }
            let name = format!("{} damaged to {}", case.name, input.escape_ascii());
            assert_any_split(&name, &case.protocol(), &input, http1_cases::see);
        }
    }
}

/// xorshift64: enough to choose where to damage, and the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}
