//! The ScmSocket trait of virtio-driver: `send_with_fd`, `send_with_fds`, `recv_with_fd`, `recv_with_fds`.

use fdspec_testee::{locked_version, serve, Descriptors, Fault, Options, Profile, Received, RUNTIME};
use serde_json::json;
use std::io::IoSlice;
use std::os::fd::{IntoRawFd, RawFd};
use virtio_driver::ScmSocket;

/// A socket of any type, by its number: the trait asks for nothing more.
struct Socket(RawFd);

impl ScmSocket for Socket {
    fn socket_fd(&self) -> RawFd {
        self.0
    }
}

struct VirtioDriver;

impl Descriptors for VirtioDriver {
    fn send(&mut self, fd: RawFd, buffers: &[Vec<u8>], fds: &[RawFd], options: &Options) -> Result<usize, Fault> {
        let buffers: Vec<IoSlice> = buffers.iter().map(|buffer| IoSlice::new(buffer)).collect();
        Ok(match options.single {
            true => Socket(fd).send_with_fd(&buffers, fds[0])?,
            false => Socket(fd).send_with_fds(&buffers, fds)?,
        })
    }

    fn receive(
        &mut self,
        fd: RawFd,
        buffers: &mut [Vec<u8>],
        room: usize,
        options: &Options,
    ) -> Result<Received, Fault> {
        let mut nothing = Vec::new();
        let buffer = buffers.first_mut().unwrap_or(&mut nothing);
        let (length, fds) = if options.single {
            let (length, file) = Socket(fd).recv_with_fd(buffer)?;
            (length, file.map(IntoRawFd::into_raw_fd).into_iter().collect())
        } else {
            let mut fds = vec![-1; room];
            let (length, count) = Socket(fd).recv_with_fds(buffer, &mut fds)?;
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
            "name": "virtio-driver",
            "version": locked_version(lock, "virtio-driver"),
            "language": "Rust",
            "runtime": RUNTIME,
            "links": {"crate libc": locked_version(lock, "libc")},
        },
        "profiles": {"descriptors": {
            "types": ["stream", "dgram", "seqpacket"],
            "capabilities": ["buffers-out", "empty-out", "plain-out", "many", "single"],
        }},
    });
    let profile = Profile::new(&hello, VirtioDriver);
    serve(hello, profile)
}
