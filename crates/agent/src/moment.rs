//! Locks that a worker may take: never for longer than the few instructions that another running thread keeps one. Its
//! owner may have lost its processor, and then it is back after a time slice of the kernel's: for a worker, an age.

use std::sync::{Mutex, MutexGuard, TryLockError};

/// About a microsecond: longer than anybody who runs keeps such a lock.
const TRIES: usize = 100;

/// The lock, or None if it does not come free at once: the caller goes on without.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    for _ in 0..TRIES {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_lock_that_another_keeps_is_done_without() {
        let mutex = std::sync::Mutex::new(1);
        let kept = mutex.lock().unwrap();
        std::thread::scope(|scope| scope.spawn(|| assert!(super::lock(&mutex).is_none())).join().unwrap());
        drop(kept);
        assert_eq!(super::lock(&mutex).map(|one| *one), Some(1));
    }
}
