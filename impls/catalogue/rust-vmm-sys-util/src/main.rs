//! The ScmSocket trait of vmm-sys-util: `send_with_fd`, `send_with_fds`, `recv_with_fd`, `recv_with_fds`.

use fdspec_testee::{locked_version, serve, Descriptors, Fault, Options, Profile, Received, RUNTIME};
use libc::{c_void, iovec};
use serde_json::json;
use std::os::fd::{IntoRawFd, RawFd};
use vmm_sys_util::{errno, sock_ctrl_msg::ScmSocket};

/// A socket of any type, by its number: the trait asks for nothing more.
struct Socket(RawFd);

impl ScmSocket for Socket {
    fn socket_fd(&self) -> RawFd {
        self.0
    }
}

struct VmmSysUtil;

fn fault(error: errno::Error) -> Fault {
    Fault::new("vmm_sys_util::errno::Error", Some(error.errno()), error)
}

/// `send_with_fd` and `recv_with_fd` take one slice: the only one, or an empty one where there is none.
fn only<T>(buffers: impl ExactSizeIterator<Item = T>, otherwise: T) -> Result<T, Fault> {
    match buffers.len() {
        0 | 1 => Ok(buffers.last().unwrap_or(otherwise)),
        count => Err(Fault::Unsupported(format!("the calls for one descriptor take one buffer, {count} came"))),
    }
}

impl Descriptors for VmmSysUtil {
    fn send(&mut self, fd: RawFd, buffers: &[Vec<u8>], fds: &[RawFd], options: &Options) -> Result<usize, Fault> {
        let slices = buffers.iter().map(Vec::as_slice);
        let sent = match options.single {
            true => Socket(fd).send_with_fd(only(slices, &[])?, fds[0]),
            false => Socket(fd).send_with_fds(&slices.collect::<Vec<&[u8]>>(), fds),
        };
        sent.map_err(fault)
    }

    fn receive(
        &mut self,
        fd: RawFd,
        buffers: &mut [Vec<u8>],
        room: usize,
        options: &Options,
    ) -> Result<Received, Fault> {
        let (length, fds) = if options.single {
            let mut nothing = Vec::new();
            let buffer = only(buffers.iter_mut(), &mut nothing)?;
            let (length, file) = Socket(fd).recv_with_fd(buffer).map_err(fault)?;
            (length, file.map(IntoRawFd::into_raw_fd).into_iter().collect())
        } else {
            let part =
                |buffer: &mut Vec<u8>| iovec { iov_base: buffer.as_mut_ptr().cast::<c_void>(), iov_len: buffer.len() };
            let mut iovecs: Vec<iovec> = buffers.iter_mut().map(part).collect();
            let mut fds = vec![-1; room];
            // SAFETY: every iovec describes a buffer that outlives the call and is used by nobody else.
            let (length, count) = unsafe { Socket(fd).recv_with_fds(&mut iovecs, &mut fds) }.map_err(fault)?;
            (length, fds[..count].to_vec())
        };
        Ok(Received { length, fds, ..Received::default() })
    }
}

fn main() {
    let lock = include_str!("../Cargo.lock");
    let hello = json!({
        "version": 1,
        "implementation": {
            "name": "vmm-sys-util",
            "version": locked_version(lock, "vmm-sys-util"),
            "language": "Rust",
            "runtime": RUNTIME,
            "links": {"crate libc": locked_version(lock, "libc")},
        },
        "profiles": {"descriptors": {
            "types": ["stream", "dgram", "seqpacket"],
            "capabilities": ["buffers-out", "buffers-in", "empty-out", "plain-out", "many", "single"],
        }},
    });
    let profile = Profile::new(&hello, VmmSysUtil);
    serve(hello, profile)
}
