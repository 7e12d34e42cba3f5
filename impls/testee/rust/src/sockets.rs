//! What every testee can do, by plain system calls: sockets, files and options. Nothing here is judged.

use crate::request::{Fault, Reply, Request};
use libc::{c_int, c_void, sockaddr, sockaddr_un, socklen_t};
use serde_json::{json, Value};
use std::collections::BTreeSet;
use std::mem::{offset_of, size_of, zeroed};
use std::os::fd::RawFd;
use std::ptr;

/// The sockets that this testee made itself: it drops them at `reset`.
#[derive(Default)]
pub struct Sockets(BTreeSet<RawFd>);

impl Sockets {
    /// Carry out `op`, or return `None` where it is of some profile.
    pub(crate) fn call(&mut self, op: &str, request: &Request) -> Option<Reply> {
        Some(match op {
            "connect" => self.connect(request),
            "listen" => self.listen(request),
            "accept" => self.accept(request),
            "reset" => self.reset(request),
            "close" => self.close(request),
            "open" => open(request),
            "setopt" => setopt(request),
            "getopt" => getopt(request),
            "shutdown" => shutdown(request),
            _ => return None,
        })
    }

    fn connect(&mut self, request: &Request) -> Reply {
        let fd = self.socket(request)?;
        let linked = match request.text("bind") {
            Ok(Some(name)) => bind(fd, name),
            other => other.map(drop),
        };
        let linked = linked.and_then(|()| {
            let (address, length) = address(request.text("address")?.unwrap_or(""))?;
            // SAFETY: `address` is a sockaddr_un of which `length` bytes are set.
            checked(unsafe { libc::connect(fd, ptr::addr_of!(address).cast::<sockaddr>(), length) })
        });
        self.keep(fd, linked.map(drop))
    }

    fn listen(&mut self, request: &Request) -> Reply {
        let kind = socket_type(request)?;
        let backlog = request.number("backlog")?;
        let fd = self.socket(request)?;
        let bound = bind(fd, request.text("address")?.unwrap_or(""));
        let listening = bound.and_then(|()| match kind {
            libc::SOCK_DGRAM => Ok(()),
            // SAFETY: listen(2) takes numbers only.
            _ => checked(unsafe { libc::listen(fd, backlog) }).map(drop),
        });
        self.keep(fd, listening)
    }

    fn accept(&mut self, request: &Request) -> Reply {
        // SAFETY: a sockaddr_un of zeros is a valid one, and `length` is its size.
        let (fd, peer, length) = unsafe {
            let mut peer: sockaddr_un = zeroed();
            let mut length = size_of::<sockaddr_un>() as socklen_t;
            let at = ptr::addr_of_mut!(peer).cast::<sockaddr>();
            let fd = checked(libc::accept4(request.fd("fd")?, at, &mut length, libc::SOCK_CLOEXEC))?;
            (fd, peer, length)
        };
        self.0.insert(fd);
        Ok(json!({ "fd": fd, "address": address_text(&peer, length) }))
    }

    fn reset(&mut self, request: &Request) -> Reply {
        for fd in std::mem::take(&mut self.0) {
            // SAFETY: the number is this table's own.
            unsafe { libc::close(fd) };
        }
        let mut failed = Vec::new();
        for fd in request.fds("close")? {
            // SAFETY: the harness says that nobody else uses the number.
            if unsafe { libc::close(fd) } == -1 {
                failed.push(json!({ "fd": fd, "errno": std::io::Error::last_os_error().raw_os_error() }));
            }
        }
        Ok(json!({ "failed": failed }))
    }

    fn close(&mut self, request: &Request) -> Reply {
        let fd = request.fd("fd")?;
        self.0.remove(&fd);
        // SAFETY: the harness says that nobody else uses the number.
        checked(unsafe { libc::close(fd) }).map(|_| json!({}))
    }

    fn socket(&self, request: &Request) -> Result<RawFd, Fault> {
        // SAFETY: socket(2) takes numbers only.
        checked(unsafe { libc::socket(libc::AF_UNIX, socket_type(request)? | libc::SOCK_CLOEXEC, 0) })
    }

    /// Report the new socket, or close it where something went wrong after it was made.
    fn keep(&mut self, fd: RawFd, outcome: Result<(), Fault>) -> Reply {
        match outcome {
            Ok(()) => {
                self.0.insert(fd);
                Ok(json!({ "fd": fd }))
            }
            Err(fault) => {
                // SAFETY: the number was made by this request and is known to nobody.
                unsafe { libc::close(fd) };
                Err(fault)
            }
        }
    }
}

fn checked(returned: c_int) -> Result<c_int, Fault> {
    if returned == -1 {
        Err(Fault::last_os_error())
    } else {
        Ok(returned)
    }
}

fn socket_type(request: &Request) -> Result<c_int, Fault> {
    match request.text("type")? {
        Some("stream") => Ok(libc::SOCK_STREAM),
        Some("dgram") => Ok(libc::SOCK_DGRAM),
        Some("seqpacket") => Ok(libc::SOCK_SEQPACKET),
        other => Err(Fault::request(format!("`type`: stream, dgram or seqpacket expected, {other:?} came"))),
    }
}

fn bind(fd: RawFd, name: &str) -> Result<(), Fault> {
    let (address, length) = address(name)?;
    // SAFETY: `address` is a sockaddr_un of which `length` bytes are set.
    checked(unsafe { libc::bind(fd, ptr::addr_of!(address).cast::<sockaddr>(), length) }).map(drop)
}

/// Return the address that `name` stands for: a path, `@name` for an abstract one, nothing for an unnamed one.
fn address(name: &str) -> Result<(sockaddr_un, socklen_t), Fault> {
    // SAFETY: a sockaddr_un of zeros is a valid one.
    let mut address: sockaddr_un = unsafe { zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = name.as_bytes();
    let (first, zero) = if name.starts_with('@') { (0, 0) } else { (bytes.first().copied().unwrap_or(0), 1) };
    let used = if bytes.is_empty() { 0 } else { bytes.len() + zero };
    if used > address.sun_path.len() {
        return Err(std::io::Error::from_raw_os_error(libc::ENAMETOOLONG).into());
    }
    for (index, (place, byte)) in address.sun_path.iter_mut().zip(bytes).enumerate() {
        *place = if index == 0 { first } else { *byte } as libc::c_char;
    }
    Ok((address, (offset_of!(sockaddr_un, sun_path) + used) as socklen_t))
}

fn address_text(address: &sockaddr_un, length: socklen_t) -> String {
    let used = (length as usize).saturating_sub(offset_of!(sockaddr_un, sun_path)).min(address.sun_path.len());
    let bytes: Vec<u8> = address.sun_path[..used].iter().map(|&byte| byte as u8).collect();
    match bytes.split_first() {
        None => String::new(),
        Some((0, name)) => format!("@{}", String::from_utf8_lossy(name)),
        Some(_) => String::from_utf8_lossy(bytes.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned(),
    }
}

fn open(request: &Request) -> Reply {
    let path = std::ffi::CString::new(request.text("path")?.unwrap_or("")).map_err(Fault::request)?;
    let flags = request.flags("flags")? | libc::O_CLOEXEC;
    // SAFETY: `path` ends in a zero byte; the mode counts only where O_CREAT is among the flags.
    checked(unsafe { libc::open(path.as_ptr(), flags, 0o600 as libc::c_uint) }).map(|fd| json!({ "fd": fd }))
}

fn setopt(request: &Request) -> Reply {
    let (fd, value) = (request.fd("fd")?, request.number("value")?);
    if request.get("level").and_then(Value::as_str) == Some("fcntl") {
        if request.get("option").and_then(Value::as_str) != Some("O_NONBLOCK") {
            return Err(Fault::request("level fcntl has the option O_NONBLOCK only"));
        }
        // SAFETY: these commands of fcntl(2) take numbers only.
        let flags = checked(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
        let flags = if value == 0 { flags & !libc::O_NONBLOCK } else { flags | libc::O_NONBLOCK };
        return checked(unsafe { libc::fcntl(fd, libc::F_SETFL, flags) }).map(|_| json!({}));
    }
    let (level, option) = (request.number("level")?, request.number("option")?);
    let (at, size) = (ptr::addr_of!(value).cast::<c_void>(), size_of::<c_int>() as socklen_t);
    // SAFETY: `at` points to `size` bytes.
    checked(unsafe { libc::setsockopt(fd, level, option, at, size) }).map(|_| json!({}))
}

fn getopt(request: &Request) -> Reply {
    let (fd, level, option) = (request.fd("fd")?, request.number("level")?, request.number("option")?);
    let (mut value, mut size): (c_int, _) = (0, size_of::<c_int>() as socklen_t);
    // SAFETY: `value` has `size` bytes.
    checked(unsafe { libc::getsockopt(fd, level, option, ptr::addr_of_mut!(value).cast::<c_void>(), &mut size) })?;
    Ok(json!({ "value": value }))
}

fn shutdown(request: &Request) -> Reply {
    // SAFETY: shutdown(2) takes numbers only.
    checked(unsafe { libc::shutdown(request.fd("fd")?, request.number("how")?) }).map(|_| json!({}))
}
