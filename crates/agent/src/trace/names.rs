//! Texts of the compiler (file names, tokio's operation names) as `&'static str`, each kept once for ever: there are
//! only as many as the program has source files and tokio has operations.

use std::collections::HashMap;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{PoisonError, RwLock};

/// Every text there is, and where a reference to it lies that one pointer finds.
static NAMES: RwLock<Option<HashMap<&'static str, &'static &'static str>>> = RwLock::new(None);

/// The text met last at an address that falls on this place. The compiler's texts do not move, so nearly every one is
/// found here, without a hash of it and without a word that all threads write to.
static RECENT: [AtomicPtr<&'static str>; PLACES] = [const { AtomicPtr::new(ptr::null_mut()) }; PLACES];
const PLACES: usize = 512;

/// The one lasting copy of `text`.
#[inline]
pub(super) fn intern(text: &str) -> &'static str {
    // Texts lie side by side in the program's constants: the last bits tell them apart best.
    let recent = &RECENT[text.as_ptr() as usize % PLACES];
    let known = recent.load(Ordering::Acquire);
    // SAFETY: only references that last for ever are put there, each written before its address.
    if let Some(known) = unsafe { known.as_ref() }
        && *known == text
    {
        return known;
    }
    let lasting = looked_up(text);
    recent.store(ptr::from_ref(lasting).cast_mut(), Ordering::Release);
    lasting
}

#[cold]
fn looked_up(text: &str) -> &'static &'static str {
    let known =
        NAMES.read().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|names| names.get(text).copied());
    known.unwrap_or_else(|| {
        let mut names = NAMES.write().unwrap_or_else(PoisonError::into_inner);
        let names = names.get_or_insert_default();
        names.get(text).copied().unwrap_or_else(|| {
            let text: &'static str = Box::leak(text.into());
            let lasting: &'static &'static str = Box::leak(Box::new(text));
            names.insert(text, lasting);
            lasting
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{PLACES, intern};

    #[test]
    fn one_text_has_one_copy_wherever_it_lies() {
        let first = intern("one_text_has_one_copy");
        assert_eq!(first, "one_text_has_one_copy");
        let elsewhere = String::from("one_text_has_one_copy");
        assert!(std::ptr::eq(first, intern(&elsewhere)));
        assert!(std::ptr::eq(first, intern(&elsewhere)));
    }

    #[test]
    fn texts_that_share_a_place_are_told_apart() {
        // The same address with another text, and an address one round further.
        let bytes = "ab".repeat(PLACES);
        for _ in 0..3 {
            assert_eq!((intern(&bytes[..3]), intern(&bytes[..5])), ("aba", "ababa"));
            assert_eq!((intern(&bytes[..3]), intern(&bytes[PLACES + 1..][..3])), ("aba", "bab"));
        }
    }
}
