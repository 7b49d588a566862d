//! Any bytes as a segment.
#![no_main]

use std::sync::Once;

static INIT: Once = Once::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    INIT.call_once(survive_impossible_times);
    pollscope_recording::read_segment(bytes, |_| {});
});

/// The fuzzer takes any panic for a crash. The decoder's sum of two times overflows on purpose-made bytes, which the
/// reader catches and tells as damage: that one panic is none.
fn survive_impossible_times() {
    let crash = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let decoder = panic.location().is_some_and(|at| at.file().contains("dial9-trace-format"));
        let overflow = panic.payload_as_str() == Some("attempt to add with overflow");
        if !(decoder && overflow) {
            crash(panic);
        }
    }));
}
