//! Length-prefixed messages from hostile bytes: the decoder finds what a decoder of ten lines finds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate_fuzz::Settings;
use sluicegate_fuzz::splits::{End, play};

fuzz_target!(|input: &[u8]| {
    let Some((settings, stream)) = Settings::read(input) else { return };
    let protocol = settings.framing();
    let (payloads, rest) = expected(stream, protocol.payload_max());
    let played = play(&protocol, [stream], |frame, bytes| {
        assert_eq!(frame.range(), 4..bytes.len());
        frame.payload(bytes).to_vec()
    });
    assert!(played.messages == payloads, "{} messages, not {}", played.messages.len(), payloads.len());
    match (&played.end, rest) {
        (End::Open { kept, needs }, Some(rest)) => {
            assert!(kept == rest, "keeps {} bytes of {}", kept.len(), rest.len());
            let claimed = rest.first_chunk().map(|prefix| 4 + u32::from_be_bytes(*prefix) as usize);
            assert_eq!(*needs, claimed);
        }
        (End::Refused { what, .. }, None) => assert!(what.contains(&protocol.payload_max().to_string()), "{what}"),
        (end, rest) => panic!("ends with {end:?}, and {rest:?} was expected to be left"),
    }
});

/// The payloads, and what is left of the stream; nothing if it has to be refused.
fn expected(mut stream: &[u8], payload_max: usize) -> (Vec<Vec<u8>>, Option<&[u8]>) {
    let mut payloads = Vec::new();
    while let Some((prefix, behind)) = stream.split_first_chunk() {
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > payload_max {
            return (payloads, None);
        }
        let Some((payload, next)) = behind.split_at_checked(length) else { break };
        payloads.push(payload.to_vec());
        stream = next;
    }
    (payloads, Some(stream))
}
