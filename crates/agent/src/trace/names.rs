//! Texts of the compiler (file names, tokio's operation names) as `&'static str`, each kept once for ever: there are
//! only as many as the program has source files and tokio has operations.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

static NAMES: RwLock<Option<HashSet<&'static str>>> = RwLock::new(None);

/// The one lasting copy of `text`.
pub(super) fn intern(text: &str) -> &'static str {
    let known =
        NAMES.read().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|names| names.get(text).copied());
    known.unwrap_or_else(|| {
        let mut names = NAMES.write().unwrap_or_else(PoisonError::into_inner);
        let names = names.get_or_insert_default();
        names.get(text).copied().unwrap_or_else(|| {
            let lasting: &'static str = Box::leak(text.into());
            names.insert(lasting);
            lasting
        })
    })
}
