//! Which setting can't be used, and why.

use std::error::Error;
use std::fmt;
use std::io;

/// A setting that can't be used: which one, what is wrong with it, and what to do.
///
/// Comes out of [`Config::validate`](crate::Config::validate) and [`Workers::validate`](crate::Workers::validate), and
/// inside of the [`io::Error`] (kind `InvalidInput`) of whatever tried to make a server with it.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    setting: &'static str,
    what: String,
}

impl ConfigError {
    pub(crate) fn new(setting: &'static str, what: impl Into<String>) -> Self {
        Self { setting, what: what.into() }
    }

    /// The name of the setting, as in [`Config`](crate::Config); of workers it begins with `workers.`.
    pub fn setting(&self) -> &'static str {
        self.setting
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.what)
    }
}

/// The form in which it is printed if `main` returns it.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for ConfigError {}

impl From<ConfigError> for io::Error {
    fn from(error: ConfigError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_error_is_found_again_in_the_io_error() {
        let error = io::Error::from(ConfigError::new("backlog", "is 0"));
        let found = error.get_ref().and_then(|inner| inner.downcast_ref::<ConfigError>());
        assert_eq!(found.map(ConfigError::setting), Some("backlog"));
        assert_eq!(error.to_string(), "backlog: is 0");
    }
}
