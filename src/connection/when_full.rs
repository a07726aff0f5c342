//! What a slow reader brings on its connection.

/// What happens to a connection whose peer takes its answers too slowly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Its messages wait; TCP makes its peer wait, too.
    #[default]
    PauseReads,
    /// It is closed. One that only has more than its share, because others hold the memory for answers, waits all the
    /// same.
    Close,
}
