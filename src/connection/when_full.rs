//! What happens to the connection of a slow reader.

/// What happens to a connection whose peer takes its answers too slowly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Its messages wait, and TCP makes its peer wait, too.
    #[default]
    PauseReads,
    /// The connection is closed. If it is only over its share, because others hold the memory for answers, it waits
    /// instead.
    Close,
}
