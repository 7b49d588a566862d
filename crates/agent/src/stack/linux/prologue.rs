//! Where a function that keeps a frame pointer has put it, read off the code it begins with.
//!
//! A sleeping thread shows its stack pointer only. Until some frame has restored the frame pointer from the stack, it is
//! not known; but a function that needs it has set it in its first instructions and moved the stack pointer on from there
//! by an amount that stands in them too. Exact, where a search of the stack may take what an earlier call left behind for
//! a frame, and skip the frames between.

use std::ops::Range;

/// Bytes of a function that are read: no prologue, with its probes of large frames, is longer.
pub(super) const MOST_CODE: usize = 256;

/// How far above the stack pointer, while the function calls another, its frame pointer lies: exactly, or, if it aligns its
/// frame, somewhere in this range. None if the code sets no frame pointer that way.
pub(super) fn distance(code: &[u8]) -> Option<Range<u64>> {
    // push rbp; mov rbp, rsp. Not always first of all: a function may look whether there is anything to do before.
    const SET: [u8; 4] = [0x55, 0x48, 0x89, 0xe5];
    let begin = code.windows(SET.len()).position(|at| at == SET)? + SET.len();
    let mut rest = &code[begin..];
    let (mut size, mut alignment) = (0, 8);
    loop {
        rest = match rest {
            // push
            [0x50..=0x57, rest @ ..] | [0x41, 0x50..=0x57, rest @ ..] => {
                size += 8;
                rest
            }
            // sub rsp, n
            [0x48, 0x83, 0xec, n, rest @ ..] => {
                size += u64::from(*n);
                rest
            }
            [0x48, 0x81, 0xec, a, b, c, d, rest @ ..] => {
                size += u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
                rest
            }
            // add rsp, -128
            [0x48, 0x83, 0xc4, 0x80, rest @ ..] => {
                size += 128;
                rest
            }
            // and rsp, -n
            [0x48, 0x83, 0xe4, n, rest @ ..] => {
                alignment = u64::from(n.wrapping_neg());
                rest
            }
            [0x48, 0x81, 0xe4, a, b, c, d, rest @ ..] => {
                alignment = u64::from(u32::from_le_bytes([*a, *b, *c, *d]).wrapping_neg());
                rest
            }
            // lea r11, [rsp - n]; then page by page, each touched: sub rsp, 4096; mov qword [rsp], 0; cmp rsp, r11; jne
            [
                0x4c,
                0x8d,
                0x9c,
                0x24,
                a,
                b,
                c,
                d,
                0x48,
                0x81,
                0xec,
                0,
                0x10,
                0,
                0,
                0x48,
                0xc7,
                0x04,
                0x24,
                0,
                0,
                0,
                0,
                0x4c,
                0x39,
                0xdc,
                0x75,
                _,
                rest @ ..,
            ] => {
                size += u64::from(u32::from_le_bytes([*a, *b, *c, *d]).wrapping_neg());
                rest
            }
            // mov qword [rsp], 0: one page touched.
            [0x48, 0xc7, 0x04, 0x24, 0, 0, 0, 0, rest @ ..] => rest,
            _ => break,
        };
    }
    // A frame aligned to more than this was not understood.
    (alignment.is_power_of_two() && alignment <= 4096).then_some(size..size + alignment)
}

/// The start of the function an address lies in, from the sorted table in a module's `.eh_frame_hdr`, mapped at `mapped`.
pub(super) fn function_start(header: &[u8], mapped: u64, address: u64) -> Option<u64> {
    /// Version 1; a relative pointer in four bytes; the count in four bytes; pairs relative to the header.
    const USUAL: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
    let (kind, rest) = header.split_first_chunk::<4>()?;
    let (_, rest) = rest.split_first_chunk::<4>()?;
    let (count, table) = rest.split_first_chunk::<4>()?;
    let table = table.as_chunks::<8>().0;
    let table = table.get(..u32::from_le_bytes(*count) as usize).filter(|_| *kind == USUAL)?;
    let start = |[a, b, c, d, ..]: &[u8; 8]| mapped.wrapping_add_signed(i32::from_le_bytes([*a, *b, *c, *d]).into());
    let after = table.partition_point(|entry| start(entry) <= address);
    table.get(after.checked_sub(1)?).map(start)
}

#[cfg(test)]
mod tests {
    use super::{distance, function_start};

    #[test]
    fn the_size_of_a_frame_is_the_sum_of_what_its_prologue_takes() {
        // push rbp; mov rbp, rsp; push r15; push rbx; sub rsp, 0x18; call
        assert_eq!(distance(b"\x55\x48\x89\xe5\x41\x57\x53\x48\x83\xec\x18\xe8"), Some(40..48));
        // Nothing but the two.
        assert_eq!(distance(b"\x55\x48\x89\xe5\xe8"), Some(0..8));
        // test rdi, rdi; je; and only then the prologue, with a frame aligned to 64 bytes.
        let aligned =
            b"\x48\x85\xff\x74\x20\x55\x48\x89\xe5\x41\x56\x53\x48\x83\xe4\xc0\x48\x81\xec\x00\x02\x00\x00\x48";
        assert_eq!(distance(aligned), Some(528..592));
        // Two pages touched one by one, and the rest.
        let probed =
            b"\x55\x48\x89\xe5\x53\x48\x81\xec\x00\x10\x00\x00\x48\xc7\x04\x24\x00\x00\x00\x00\x48\x83\xec\x08\xc3";
        assert_eq!(distance(probed), Some(4112..4120));
        assert_eq!(distance(b"\x53\x48\x83\xec\x10\xe8"), None);
    }

    #[test]
    fn the_table_gives_the_function_before_an_address() {
        let mut header = vec![1, 0x1b, 0x03, 0x3b, 0, 0, 0, 0, 2, 0, 0, 0];
        for start in [-0x200_i32, -0x100] {
            header.extend(start.to_le_bytes());
            header.extend([0; 4]);
        }
        assert_eq!(function_start(&header, 0x1000, 0xe50), Some(0xe00));
        assert_eq!(function_start(&header, 0x1000, 0xf00), Some(0xf00));
        assert_eq!(function_start(&header, 0x1000, 0xd00), None);
        header[3] = 0;
        assert_eq!(function_start(&header, 0x1000, 0xe50), None, "another form of table");
        assert_eq!(function_start(&header[..7], 0x1000, 0xe50), None);
    }
}
