//! Why a command could not do its work, as one sentence for the user.

use std::fmt;

/// One clear sentence, printed after `pollscope: `.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// A failure that says `sentence`.
    pub(crate) fn new(sentence: impl Into<String>) -> Failure {
        Failure(sentence.into())
    }

    /// "cannot `deed`: `cause`".
    pub(crate) fn cannot(deed: impl fmt::Display, cause: impl fmt::Display) -> Failure {
        Failure(format!("cannot {deed}: {cause}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
