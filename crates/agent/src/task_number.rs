//! The number of a task id. tokio shows it only as text, which takes a hundred times as long to make as a poll allows.

use std::sync::atomic::{AtomicU8, Ordering};
use tokio::task::Id;

/// An id is one number and nothing else, so its bytes are the number. That is tokio's own affair and may change, so it
/// is looked at once: the first id of the process is read both ways.
static BYTES: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const ARE_THE_NUMBER: u8 = 1;
const ARE_NOT: u8 = 2;

/// The number of a task id, as its text says it.
#[inline]
pub(crate) fn task_number(id: Id) -> u64 {
    if BYTES.load(Ordering::Relaxed) == ARE_THE_NUMBER
        && let Some(number) = bytes(id)
    {
        return number;
    }
    said(id)
}

#[cold]
fn said(id: Id) -> u64 {
    let number = text(id);
    if BYTES.load(Ordering::Relaxed) == UNKNOWN {
        let is = bytes(id) == Some(number);
        BYTES.store(if is { ARE_THE_NUMBER } else { ARE_NOT }, Ordering::Relaxed);
    }
    number
}

#[inline]
fn bytes(id: Id) -> Option<u64> {
    if size_of::<Id>() != size_of::<u64>() {
        return None;
    }
    // SAFETY: the sizes are the same, and a type of eight bytes that is `Copy` and is shown as a number up to `u64::MAX`
    // has no byte that is not set.
    Some(unsafe { std::mem::transmute_copy(&id) })
}

fn text(id: Id) -> u64 {
    struct Digits(u64);
    impl std::fmt::Write for Digits {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            for digit in text.bytes().filter(u8::is_ascii_digit) {
                self.0 = self.0.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            }
            Ok(())
        }
    }
    let mut digits = Digits(0);
    // Writing into `Digits` cannot fail.
    let _ = std::fmt::Write::write_fmt(&mut digits, format_args!("{id}"));
    digits.0
}

#[cfg(test)]
mod tests {
    use super::{ARE_THE_NUMBER, BYTES, bytes, task_number, text};
    use std::sync::atomic::Ordering;

    #[test]
    fn is_what_the_text_says() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
        for _ in 0..1000 {
            let id = runtime.spawn(async {}).id();
            assert_eq!(task_number(id), id.to_string().parse::<u64>().expect("an id is shown as a number"));
            assert_eq!(text(id), task_number(id));
            assert_eq!(bytes(id), Some(text(id)), "with this tokio the quick way is to be had");
        }
        assert_eq!(BYTES.load(Ordering::Relaxed), ARE_THE_NUMBER);
    }
}
