// The program of caller.c in Rust: std, and libc's functions declared here, as std has no control messages yet.
use std::io::{Error, ErrorKind};
use std::mem::size_of;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

#[repr(C)]
struct IoVec {
    base: *mut u8,
    length: usize,
}

#[repr(C)]
struct MsgHdr {
    name: *mut u8,
    namelen: u32,
    iov: *mut IoVec,
    iovlen: usize,
    control: *mut u8,
    controllen: usize,
    flags: i32,
}

extern "C" {
    fn recvmsg(fd: i32, message: *mut MsgHdr, flags: i32) -> isize;
    fn sendmsg(fd: i32, message: *const MsgHdr, flags: i32) -> isize;
    fn close(fd: i32) -> i32;
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
}

const MSG_CMSG_CLOEXEC: i32 = 0x4000_0000;
const MSG_NOSIGNAL: i32 = 0x4000;

fn message(data: &mut IoVec, control: &mut [u64; 3], room: usize) -> MsgHdr {
    assert_eq!(size_of::<MsgHdr>(), 56);
    let place = if room == 0 { std::ptr::null_mut() } else { control.as_mut_ptr().cast() };
    MsgHdr { name: std::ptr::null_mut(), namelen: 0, iov: data, iovlen: 1, control: place, controllen: room, flags: 0 }
}

fn answer(sock: &UnixStream, line: &str, fd: Option<i32>) {
    let mut bytes = line.as_bytes().to_vec();
    let mut done = 0;
    while done < bytes.len() {
        let rest = &mut bytes[done..];
        let mut data = IoVec { base: rest.as_mut_ptr(), length: rest.len() };
        let number = fd.unwrap_or(-1);
        let mut control = [20, 1 | 1 << 32, number as u32 as u64];
        let room = if done == 0 && fd.is_some() { 24 } else { 0 };
        let sent = unsafe { sendmsg(sock.as_raw_fd(), &message(&mut data, &mut control, room), MSG_NOSIGNAL) };
        if sent < 0 {
            let fault = Error::last_os_error();
            assert_eq!(fault.kind(), ErrorKind::Interrupted, "{fault}");
        } else {
            done += sent as usize;
        }
    }
}

fn one_round(sock: &UnixStream) {
    let mut room = [0u8; 64];
    let mut control = [0u64; 3];
    let (got, controllen) = loop {
        let mut data = IoVec { base: room.as_mut_ptr(), length: room.len() };
        let mut header = message(&mut data, &mut control, 24);
        let got = unsafe { recvmsg(sock.as_raw_fd(), &mut header, MSG_CMSG_CLOEXEC) };
        if got >= 0 {
            break (got, header.controllen);
        }
        let fault = Error::last_os_error();
        if fault.kind() != ErrorKind::Interrupted {
            return answer(sock, &format!("errno {}\n", fault.raw_os_error().unwrap()), None);
        }
    };
    let told = control[0] as usize;
    assert_eq!(control[1], 1 | 1 << 32);
    let count = (told.min(controllen) - 16) / 4;
    let fd = control[2] as i32;
    let facts = std::fs::metadata(format!("/proc/self/fd/{fd}")).unwrap();
    use std::os::unix::fs::MetadataExt;
    answer(sock, &format!("{told} {count} {}:{} {got}\n", facts.dev(), facts.ino()), Some(fd));
    unsafe { close(fd) };
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let sock = UnixStream::connect(&arguments[1]).unwrap();
    let rounds: usize = arguments[2].parse().unwrap();
    let all_rounds = move || (0..rounds).for_each(|_| one_round(&sock));
    match arguments.get(3).map(String::as_str) {
        Some("thread") => {
            let over = Arc::new(AtomicBool::new(false));
            let seen = over.clone();
            let other = std::thread::spawn(move || while !seen.load(Ordering::Relaxed) {});
            std::thread::spawn(all_rounds).join().unwrap();
            over.store(true, Ordering::Relaxed);
            other.join().unwrap();
        }
        Some("child") => {
            let pid = unsafe { fork() };
            if pid == 0 {
                all_rounds();
                std::process::exit(0);
            }
            let mut status = 0;
            assert_eq!(unsafe { waitpid(pid, &mut status, 0) }, pid);
            assert_eq!(status, 0);
        }
        _ => all_rounds(),
    }
}
