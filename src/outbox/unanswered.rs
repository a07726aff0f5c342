//! Messages that were handled and not answered.

use std::fmt;

use crate::encode_error::EncodeError;

/// Why a message that was handled was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unanswered {
    /// Its reply was dropped unused, at once or after it was deferred.
    Dropped,
    /// Its handling panicked, here or on a worker.
    Panicked,
    /// The answer could not be written.
    Failed(EncodeError),
}

impl Unanswered {
    /// Why a reply was not used.
    pub(crate) fn unused(panicked: bool) -> Self {
        if panicked { Self::Panicked } else { Self::Dropped }
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped => f.write_str("the reply was dropped unused"),
            Self::Panicked => f.write_str("its handling panicked"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}
