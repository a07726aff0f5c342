//! What happens to the connection of a slow reader.

/// What happens to a connection whose peer takes its answers too slowly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Its messages wait, and TCP makes its peer wait, too.
    #[default]
    PauseReads,
    /// The connection is closed at once, without last words: its undelivered output, the replies that it is owed and
    /// the rest of its input are dropped. If it is only over its share, because others hold the memory for answers, it
    /// waits instead.
    Close,
}
