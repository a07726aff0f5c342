//! STUB of the interface, to be replaced.
use std::sync::Arc;
/// Where an encoder writes its answer.
#[derive(Default)]
pub struct Outbound { bytes: Vec<u8> }
impl Outbound {
    /// An outbound with blocks of its own, outside of any server: for trying an [`Encode`](crate::protocol::Encode).
    pub fn detached() -> Self { Self::default() }
    /// All bytes written so far, copied together (detached outbounds; tests).
    pub fn to_vec(&self) -> Vec<u8> { self.bytes.clone() }
    /// Bytes written so far.
    pub fn len(&self) -> usize { self.bytes.len() }
    /// True when nothing was written.
    pub fn is_empty(&self) -> bool { self.bytes.is_empty() }
    /// Says that about `bytes` copied bytes follow, so that one block can be chosen for all of them.
    pub fn expect(&mut self, bytes: usize) { let _ = bytes; }
    /// Copies `bytes` behind what was written. What finds no room is remembered; everything after it is ignored.
    pub fn put(&mut self, bytes: &[u8]) { self.bytes.extend_from_slice(bytes) }
    /// Appends bytes that live for ever; not copied when that is worth it.
    pub fn put_static(&mut self, bytes: &'static [u8]) { self.put(bytes) }
    /// Appends bytes that are shared; not copied when that is worth it.
    pub fn put_shared(&mut self, bytes: Arc<[u8]>) { self.put(&bytes) }
    /// The `Date` of now, IMF-fixdate (RFC 9110 section 5.6.7), formatted once a second.
    pub fn date(&mut self) -> [u8; 29] { *b"Sun, 06 Nov 1994 08:49:37 GMT" }
    /// Leaves room for a prefix of `N` contiguous bytes that is known only later.
    pub fn reserve_prefix<const N: usize>(&mut self) -> Prefix<N> { let at = self.bytes.len(); self.put(&[0; N]); Prefix { at } }
    /// Fills a prefix in.
    pub fn patch<const N: usize>(&mut self, prefix: Prefix<N>, bytes: [u8; N]) { if let Some(p) = self.bytes.get_mut(prefix.at..prefix.at + N) { p.copy_from_slice(&bytes) } }
}
impl std::io::Write for Outbound {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> { self.put(bytes); Ok(bytes.len()) }
    fn flush(&mut self) -> std::io::Result<()> { Ok(()) }
}
/// Room left by [`Outbound::reserve_prefix`].
#[must_use]
pub struct Prefix<const N: usize> { at: usize }
