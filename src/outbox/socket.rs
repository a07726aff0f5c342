//! One write to a socket that does not block.

use std::io::{self, IoSlice, Write};

/// How a write went.
pub(crate) struct Wrote {
    pub(crate) bytes: usize,
    /// The socket took less than it was given.
    pub(crate) full: bool,
}

/// One write: vectored only if there is more than one slice. An error that is not `WouldBlock` is the socket's end.
#[inline]
pub(crate) fn write(socket: &mut (impl Write + ?Sized), slices: &[IoSlice<'_>]) -> Result<Wrote, io::ErrorKind> {
    let total: usize = slices.iter().map(|slice| slice.len()).sum();
    loop {
        let result = match slices {
            [one] => socket.write(one),
            several => socket.write_vectored(several),
        };
        return match result {
            Ok(0) if total > 0 => Err(io::ErrorKind::WriteZero),
            Ok(bytes) => Ok(Wrote { bytes, full: bytes < total }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Wrote { bytes: 0, full: true }),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error.kind()),
        };
    }
}
