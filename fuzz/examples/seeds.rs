//! Makes the corpora that fuzzing begins with, most of them from the cases of the crate's tests: `cargo run --example
//! seeds`.
//!
//! Writes `corpus/TARGET/CASE`. What is there already stays.

use std::fs;
use std::io;
use std::path::Path;

use sluicegate::sim::Random;
use sluicegate_fuzz::http1_cases::{self, Case};
use sluicegate_fuzz::{SMALL_PAYLOAD_MAX, Settings};

/// Longer inputs only make fuzzing slow: they say nothing that a short one does not.
const SEED_MAX: usize = 4096;

/// The lengths of the pieces in which seeds are cut, behind their count.
const PIECES: [&[u8]; 3] = [&[1, 2], &[2, 7, 1], &[3, 30, 1, 3]];

/// Scripts of the cycle target, and bytes of the longest. Any bytes are one.
const SCRIPTS: usize = 200;
const SCRIPT_MAX: usize = 1024;

fn main() -> io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cases = http1_cases::all_in(&here.join("../tests/data/http1"));
    let mut count = 0;
    let mut seed = |target: &str, name: &str, parts: &[&[u8]]| {
        let folder = here.join("corpus").join(target);
        count += 1;
        fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(name), parts.concat()))
    };
    for Case { name, input, .. } in cases.iter().filter(|case| case.input.len() <= SEED_MAX) {
        for small in [false, true] {
            let name = seed_name(name, small);
            let settings = [Settings { small, length_prefixed: false }.write()];
            seed("decode_http1", &name, &[&settings, input])?;
            seed("split_equivalence", &name, &[&settings, PIECES[name.len() % PIECES.len()], input])?;
        }
        // Its limits are always the default ones.
        let settings = [Settings { small: false, length_prefixed: false }.write()];
        seed("differential_http1", name, &[&settings, input])?;
    }
    for (index, stream) in length_prefixed().iter().enumerate() {
        for small in [false, true] {
            let name = seed_name(&format!("length_prefixed_{index}"), small);
            let settings = [Settings { small, length_prefixed: true }.write()];
            seed("decode_length_prefixed", &name, &[&settings, stream])?;
            seed("split_equivalence", &name, &[&settings, PIECES[index % PIECES.len()], stream])?;
        }
    }
    let mut random = Random::new(1);
    for script in 0..SCRIPTS {
        let length = random.between(64, SCRIPT_MAX);
        seed("cycle", &format!("random_{script}"), &[&random.bytes(length)])?;
    }
    println!("{count} seeds");
    Ok(())
}

fn seed_name(case: &str, small: bool) -> String {
    format!("{case}_{}_limits", if small { "small" } else { "default" })
}

/// Streams that end well, in the middle of a message, and over the limits.
fn length_prefixed() -> Vec<Vec<u8>> {
    let frame = |length: usize| [(length as u32).to_be_bytes().as_slice(), &vec![b'p'; length]].concat();
    let frames = |lengths: &[usize]| lengths.iter().flat_map(|&length| frame(length)).collect::<Vec<u8>>();
    vec![
        frames(&[0]),
        frames(&[0, 1, 0, 5, SMALL_PAYLOAD_MAX]),
        frames(&[3, SMALL_PAYLOAD_MAX + 1]),
        [frames(&[2]), b"\0\0".to_vec()].concat(),
        [frames(&[2]), b"\0\0\0\x09begun".to_vec()].concat(),
        [frames(&[2]), b"\xff\xff\xff\xff".to_vec()].concat(),
        [frames(&[2]), b"\0\x10\0\0".to_vec()].concat(),
        [frames(&[2]), b"\0\x10\0\x01".to_vec()].concat(),
    ]
}
