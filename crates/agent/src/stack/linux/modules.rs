//! The code mapped into this process: what `dl_iterate_phdr` tells of every module.

use std::borrow::Cow;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const PF_X: u32 = 1;
const NT_GNU_BUILD_ID: u32 = 3;
const VDSO: &str = "[vdso]";

/// One module (the program, a library, the vDSO) as it is mapped.
pub(crate) struct MappedModule {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// What to subtract from an address to get the address the file speaks of.
    pub(crate) bias: u64,
    pub(crate) path: String,
    /// Lower-case hex; empty if the module has none.
    pub(crate) build_id: String,
    pub(super) code: Vec<(u64, u64)>,
    pub(super) unwind: Option<UnwindSections>,
}

/// `.eh_frame_hdr` and `.eh_frame`, with the addresses they are mapped at.
pub(super) struct UnwindSections {
    pub(super) hdr_at: u64,
    pub(super) hdr: Cow<'static, [u8]>,
    pub(super) frame_at: u64,
    pub(super) frame: Cow<'static, [u8]>,
}

/// Every module mapped now.
pub(crate) fn mapped() -> Vec<MappedModule> {
    list(false)
}

/// The same, with the sections the unwinder reads.
pub(super) fn mapped_with_unwind_sections() -> Vec<MappedModule> {
    list(true)
}

/// How many modules were ever added and removed: unchanged means nothing to read again.
pub(crate) fn generation() -> (u64, u64) {
    unsafe extern "C" fn first(info: *mut libc::dl_phdr_info, _size: usize, data: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the loader passes a valid `info`, `data` is the pair below.
        unsafe { *data.cast::<(u64, u64)>() = ((*info).dlpi_adds, (*info).dlpi_subs) };
        1
    }
    let mut counts = (0u64, 0u64);
    // SAFETY: the callback matches the signature and outlives no reference.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut counts).cast()) };
    counts
}

struct Listing {
    modules: Vec<MappedModule>,
    sections: bool,
    vdso: u64,
    first: bool,
}

fn list(sections: bool) -> Vec<MappedModule> {
    // SAFETY: getauxval has no preconditions.
    let vdso = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    let mut listing = Listing { modules: Vec::new(), sections, vdso, first: true };
    // SAFETY: `each` gets the listing it expects, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(each), (&raw mut listing).cast()) };
    // The loader names the program "": only the kernel knows its path.
    if let Some(program) = listing.modules.iter_mut().find(|m| m.path.is_empty())
        && let Ok(path) = std::fs::read_link("/proc/self/exe")
    {
        program.path = path.to_string_lossy().into_owned();
    }
    listing.modules
}

unsafe extern "C" fn each(info: *mut libc::dl_phdr_info, _size: usize, data: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `data` is the listing of `list`, used by nobody else meanwhile.
    let listing = unsafe { &mut *data.cast::<Listing>() };
    // SAFETY: the loader passes a valid entry.
    let info = unsafe { &*info };
    let is_program = std::mem::replace(&mut listing.first, false);
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the loader gives the array and its length.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let bias = info.dlpi_addr;
    let (mut start, mut end) = (u64::MAX, 0u64);
    // (start, end of what the file backs): reading past the file's end would be a SIGBUS.
    let mut loads = Vec::new();
    let mut code = Vec::new();
    for h in headers.iter().filter(|h| h.p_type == PT_LOAD) {
        let at = bias.wrapping_add(h.p_vaddr);
        start = start.min(at);
        end = end.max(at.saturating_add(h.p_memsz));
        loads.push((at, at.saturating_add(h.p_filesz)));
        if h.p_flags & PF_X != 0 {
            code.push((at, at.saturating_add(h.p_memsz)));
        }
    }
    if start >= end {
        return 0;
    }
    let name = if info.dlpi_name.is_null() {
        &[][..]
    } else {
        // SAFETY: a C string of the loader's, alive for the length of the callback.
        unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes()
    };
    let is_vdso = listing.vdso != 0 && (start..end).contains(&listing.vdso);
    let path = if is_vdso {
        VDSO.to_owned()
    } else if is_program {
        String::new()
    } else {
        OsStr::from_bytes(name).to_string_lossy().into_owned()
    };
    // The bytes from `at` to the end of the segment that holds it.
    let tail = |at: u64| -> Option<&'static [u8]> {
        let (_, end) = loads.iter().find(|(s, e)| (*s..*e).contains(&at))?;
        // SAFETY: mapped and readable for as long as the module is; the loader's lock,
        // held around this callback, keeps it so, and what must live longer is copied.
        Some(unsafe { std::slice::from_raw_parts(at as *const u8, (end - at) as usize) })
    };
    let mut build_id = String::new();
    let mut unwind = None;
    for h in headers {
        let at = bias.wrapping_add(h.p_vaddr);
        if h.p_type == PT_NOTE && build_id.is_empty() {
            if let Some(notes) = tail(at) {
                let length = notes.len().min(h.p_filesz as usize);
                build_id = find_build_id(&notes[..length], h.p_align).unwrap_or_default();
            }
        } else if h.p_type == PT_GNU_EH_FRAME && listing.sections {
            unwind = (|| {
                let hdr = tail(at)?;
                let hdr = &hdr[..hdr.len().min(h.p_filesz as usize)];
                let frame_at = eh_frame_of(hdr, at)?;
                let frame = tail(frame_at)?;
                // A library can be unloaded while the watchdog reads its sections; the
                // program and the vDSO cannot, and the program's are the large ones.
                let keep = |bytes: &'static [u8]| {
                    if is_program || is_vdso { Cow::Borrowed(bytes) } else { Cow::Owned(bytes.to_vec()) }
                };
                Some(UnwindSections { hdr_at: at, hdr: keep(hdr), frame_at, frame: keep(frame) })
            })();
        }
    }
    listing.modules.push(MappedModule { start, end, bias, path, build_id, code, unwind });
    0
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn find_build_id(notes: &[u8], align: u64) -> Option<String> {
    let align = if align == 8 { 8 } else { 4 };
    let mut at = 0usize;
    loop {
        let name_len = u32_at(notes, at)? as usize;
        let desc_len = u32_at(notes, at + 4)? as usize;
        let kind = u32_at(notes, at + 8)?;
        let name = notes.get(at + 12..(at + 12).checked_add(name_len)?)?;
        let desc_at = (at + 12 + name_len).next_multiple_of(align);
        let desc = notes.get(desc_at..desc_at.checked_add(desc_len)?)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" {
            return Some(desc.iter().map(|b| format!("{b:02x}")).collect());
        }
        at = (desc_at + desc_len).next_multiple_of(align);
    }
}

/// Where `.eh_frame` is, as its header says.
fn eh_frame_of(hdr: &[u8], hdr_at: u64) -> Option<u64> {
    if *hdr.first()? != 1 {
        return None;
    }
    let encoding = *hdr.get(1)?;
    let value = match encoding & 0x0f {
        0x03 => u64::from(u32_at(hdr, 4)?),
        0x0b => i64::from(u32_at(hdr, 4)?.cast_signed()).cast_unsigned(),
        0x00 | 0x04 | 0x0c => u64::from_le_bytes(hdr.get(4..12)?.try_into().ok()?),
        _ => return None,
    };
    match encoding & 0xf0 {
        0x00 => Some(value),
        0x10 => Some(hdr_at.wrapping_add(4).wrapping_add(value)),
        0x30 => Some(hdr_at.wrapping_add(value)),
        _ => None,
    }
}
