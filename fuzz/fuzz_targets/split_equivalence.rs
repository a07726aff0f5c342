//! LAW any split: the same bytes give the same messages, the same refusal and the same rest, in whatever pieces they
//! come: whole, byte by byte, and in pieces of lengths that the input says.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use sluicegate::Protocol;
use sluicegate_fuzz::splits::play;
use sluicegate_fuzz::{Settings, cut, http1_cases, read_pieces};

fuzz_target!(|input: &[u8]| {
    let Some((settings, rest)) = Settings::read(input) else { return };
    let Some((lengths, stream)) = read_pieces(rest) else { return };
    if settings.length_prefixed {
        check(&settings.framing(), stream, lengths, |frame, bytes| frame.payload(bytes).to_vec());
    } else {
        check(&settings.http1(), stream, lengths, http1_cases::see);
    }
});

fn check<P: Protocol, M: PartialEq + Debug>(
    protocol: &P,
    stream: &[u8],
    lengths: &[u8],
    read: impl Fn(&P::Layout, &[u8]) -> M,
) {
    let whole = play(protocol, [stream], &read);
    let bytes = play(protocol, stream.chunks(1), &read);
    assert!(bytes == whole, "byte by byte it is {bytes:?}, not {whole:?}");
    let pieces = play(protocol, cut(stream, lengths), &read);
    assert!(pieces == whole, "in pieces of {lengths:?} it is {pieces:?}, not {whole:?}");
}
