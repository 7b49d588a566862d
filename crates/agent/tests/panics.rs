//! The agent's panic hook: what the program's own hook does stays as it was, and no secret reaches the disk.

#![cfg(tokio_unstable)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::atomic::{AtomicUsize, Ordering};

use pollscope_recording::{Event, Recording, find_recordings};

static BEFORE: AtomicUsize = AtomicUsize::new(0);
static AFTER: AtomicUsize = AtomicUsize::new(0);

#[test]
fn panics_are_noted_and_hooks_are_kept() {
    let place = std::env::temp_dir().join(format!("pollscope-panics-{}", std::process::id()));
    // SAFETY: the only test of this program, and no thread but its own runs yet.
    unsafe { std::env::set_var("POLLSCOPE", &place) };
    std::panic::set_hook(Box::new(|_| {
        BEFORE.fetch_add(1, Ordering::Relaxed);
    }));
    let agent = pollscope_agent::init();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all();
    pollscope_agent::instrument(&mut builder);
    let runtime = builder.build().unwrap();
    // A program may wrap the hook it finds, as error reporters do.
    let found = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        AFTER.fetch_add(1, Ordering::Relaxed);
        found(info);
    }));

    runtime.block_on(async {
        assert!(tokio::spawn(async { panic!("a literal") }).await.unwrap_err().is_panic());
        let secret = String::from("hunter2");
        assert!(tokio::spawn(async move { panic!("password {secret}") }).await.unwrap_err().is_panic());
        let caught = tokio::spawn(async {
            let caught = std::panic::catch_unwind(|| panic!("caught")).is_err();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            caught
        });
        assert!(caught.await.unwrap());
    });
    drop(runtime);
    drop(agent);
    assert_eq!((BEFORE.load(Ordering::Relaxed), AFTER.load(Ordering::Relaxed)), (3, 3), "each hook once a panic");

    let (mut messages, mut places, mut ends) = (Vec::new(), Vec::new(), 0);
    for recording in find_recordings(&place) {
        Recording::open(&recording).unwrap().for_each(|event| match event {
            Event::Panic(panic) => {
                messages.push(panic.message.to_string());
                places.push(panic.place.file.to_string());
            }
            Event::PanicEnd(_) => ends += 1,
            _ => {}
        });
    }
    assert_eq!(messages, ["a literal", "", "caught"]);
    assert!(places.iter().all(|file| file.ends_with("panics.rs")), "{places:?}");
    assert_eq!(ends, 2, "the one that was caught ended no task");
    std::fs::remove_dir_all(&place).unwrap();
}
