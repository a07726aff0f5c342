//! Prints a finding as a case file of `tests/data/http1`: `cargo run --example as_case decode_http1 ARTIFACT`.
//!
//! Only its first three lines are left to be written by hand: the rule, why, and what must come of it.

use std::{env, fs, io};

use sluicegate_fuzz::{Settings, read_pieces};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [target, artifact] = arguments.as_slice() else {
        return Err(io::Error::other("the arguments are a target, decode_http1 or split_equivalence, and a file"));
    };
    let input = fs::read(artifact)?;
    let behind_settings = Settings::read(&input);
    let stream = match target.as_str() {
        "split_equivalence" => behind_settings.and_then(|(settings, rest)| Some((settings, read_pieces(rest)?.1))),
        _ => behind_settings,
    };
    let Some((settings, stream)) = stream.filter(|(settings, _)| !settings.length_prefixed || target == "decode_http1")
    else {
        return Err(io::Error::other("there is no HTTP in it"));
    };
    println!("section: RFC \nabout: \nrefused: ");
    if settings.small {
        let limits = settings.http1_limits();
        println!(
            "limits: head_max={} fields_max={} target_max={} body_max={} chunk_framing_max={}",
            limits.head_max, limits.fields_max, limits.target_max, limits.body_max, limits.chunk_framing_max
        );
    }
    println!();
    for line in stream.split_inclusive(|&byte| byte == b'\n') {
        println!("{}", escape(line));
    }
    Ok(())
}

/// In the escapes of the case files, which have none for quotes.
fn escape(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'")
}
