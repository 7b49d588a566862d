//! A name server on loopback for services that look names up, and what makes the system's resolver ask it: without the
//! network, and without rights to change the machine's own settings.

use std::ffi::c_int;
use std::io;
use std::mem::{offset_of, size_of};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

/// The beginning of glibc's `struct __res_state`: the part that has been the same since it became public.
#[repr(C)]
struct State {
    retrans: c_int,
    retry: c_int,
    options: libc::c_ulong,
    servers: c_int,
    addresses: [libc::sockaddr_in; 3],
}

const _: () = assert!(offset_of!(State, addresses) == 20 && size_of::<libc::sockaddr_in>() == 16);

unsafe extern "C" {
    fn __res_init() -> c_int;
    fn __res_state() -> *mut State;
}

/// Has the resolver of the calling thread ask the name server at `server`, and nobody else.
pub(crate) fn ask(server: SocketAddrV4) {
    // SAFETY: the state belongs to the calling thread and is never moved; `__res_init` has filled it in, and its
    // beginning has the layout of `State` in every glibc.
    unsafe {
        if __res_init() != 0 {
            return;
        }
        let state = &mut *__res_state();
        state.servers = 1;
        state.addresses[0] = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: server.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from(*server.ip()).to_be() },
            sin_zero: [0; 8],
        };
    }
}

/// Answers every question for an address with that of this machine, each after `late`.
pub(crate) fn serve(socket: &UdpSocket, late: Duration) -> io::Result<()> {
    let mut question = [0; 512];
    loop {
        let (length, from) = socket.recv_from(&mut question)?;
        let Some(answer) = question.get(..length).and_then(answer) else { continue };
        let socket = socket.try_clone()?;
        std::thread::spawn(move || {
            std::thread::sleep(late);
            socket.send_to(&answer, from)
        });
    }
}

/// The answer to a message of one question.
fn answer(message: &[u8]) -> Option<Vec<u8>> {
    let name = message.get(12..)?.split(|byte| *byte == 0).next()?.len() + 1;
    let question = message.get(12..12 + name + 4)?;
    // An address of version 4; of others there is none.
    let found = question.get(name..name + 2)? == [0, 1];
    let mut answer = message.get(..2)?.to_vec();
    answer.extend([0x85, 0x80, 0, 1, 0, u8::from(found), 0, 0, 0, 0]);
    answer.extend(question);
    if found {
        // The name as in the question, type A, class IN, no time to keep it, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(Ipv4Addr::LOCALHOST.octets());
    }
    Some(answer)
}
