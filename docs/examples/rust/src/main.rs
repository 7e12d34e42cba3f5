//! A whole adapter: the trait ScmSocket of vmm-sys-util (profile `descriptors`), beside libc and a JSON library.
use libc::{c_int, iovec, sockaddr_un};
use serde_json::{json, Value};
use std::{ffi::CString, io, mem::zeroed, os::fd::RawFd};
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

struct Socket(RawFd);
impl ScmSocket for Socket {
    fn socket_fd(&self) -> RawFd {
        self.0
    }
}
/// This platform's numbers by name; the sockets that this testee made, for reset to close.
struct Testee(Value, Vec<RawFd>);
/// A result, or the whole reply where there is none.
type Outcome<T = Value> = Result<T, Value>;

fn error(kind: &str, errno: Option<i32>, message: impl std::fmt::Display) -> Value {
    json!({"error": {"type": kind, "errno": errno, "message": message.to_string()}})
}
fn ok(returned: c_int) -> Outcome<c_int> {
    let fault = io::Error::last_os_error();
    (returned != -1).then_some(returned).ok_or_else(|| error("io::Error", fault.raw_os_error(), &fault))
}
fn each<T>(list: &Value, read: impl Fn(&Value) -> T) -> Vec<T> {
    list.as_array().into_iter().flatten().map(read).collect()
}
fn unhex(text: &Value) -> Vec<u8> {
    let digit = |&byte: &u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    text.as_str().unwrap_or("").as_bytes().chunks(2).map(|two| digit(&two[0]) << 4 | digit(&two[1])).collect()
}
fn address(name: &Value) -> (sockaddr_un, u32) {
    let (name, mut address) = (name.as_str().unwrap_or(""), unsafe { zeroed::<sockaddr_un>() });
    let name = name.strip_prefix('@').map_or(format!("{name}\0"), |name| format!("\0{name}"));
    address.sun_family = libc::AF_UNIX as u16;
    address.sun_path.iter_mut().zip(name.bytes()).for_each(|(to, byte)| *to = byte as i8);
    (address, 2 + name.len().min(108) as u32)
}
fn resolve(value: &Value, earlier: &[Value]) -> Outcome {
    if let Value::Array(items) = value {
        return items.iter().map(|item| resolve(item, earlier)).collect();
    }
    let Some(path) = value.as_str().and_then(|text| text.strip_prefix('$')) else { return Ok(value.clone()) };
    let (step, path) = path.split_once('.').unwrap_or((path, ""));
    let result = step.parse::<usize>().ok().and_then(|step| earlier.get(step)?.get("result"));
    let found = result.and_then(|result| result.pointer(&format!("/{}", path.replace('.', "/"))));
    found.cloned().ok_or_else(|| error("Reference", None, format!("{value}: no such result")))
}
impl Testee {
    fn number(&self, value: &Value) -> Outcome<c_int> {
        let value = value.as_str().map_or(value, |name| &self.0[name]);
        let number = value.as_i64().ok_or_else(|| error("Request", None, format!("{value} is no number")))?;
        number.try_into().map_err(|fault| error("TryFromIntError", None, fault))
    }
    fn numbers(&self, list: &Value) -> Outcome<Vec<c_int>> {
        each(list, |one| self.number(one)).into_iter().collect()
    }
    fn socket(&mut self, ask: &Value, bind: &Value) -> Outcome<RawFd> {
        let kinds = [("stream", libc::SOCK_STREAM), ("dgram", libc::SOCK_DGRAM), ("seqpacket", libc::SOCK_SEQPACKET)];
        let kind = kinds.iter().find(|kind| ask["type"] == kind.0).map_or(0, |kind| kind.1);
        let fd = ok(unsafe { libc::socket(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0) })?;
        self.1.push(fd);
        let (at, length) = address(bind);
        ok(if bind.is_null() { 0 } else { unsafe { libc::bind(fd, (&at as *const sockaddr_un).cast(), length) } })?;
        Ok(fd)
    }
    fn carry_out(&mut self, op: &str, ask: &Value) -> Outcome {
        let (fd, number) = (self.number(&ask["fd"]), |field: &str| self.number(&ask[field]));
        let plain = ask["single"] != true && ask["flags"].as_array().map_or(true, Vec::is_empty) && ask["address"].is_null();
        Ok(match op {
            "hello" => {
                self.0 = ask["constants"].clone();
                serde_json::from_str(include_str!("../hello.json")).expect("JSON")
            }
            "connect" => {
                let (fd, (at, length)) = (self.socket(ask, &ask["bind"])?, address(&ask["address"]));
                ok(unsafe { libc::connect(fd, (&at as *const sockaddr_un).cast(), length) })?;
                json!({"fd": fd})
            }
            "listen" => {
                let (fd, backlog) = (self.socket(ask, &ask["address"])?, self.number(&ask["backlog"])?);
                ok(if ask["type"] == "dgram" { 0 } else { unsafe { libc::listen(fd, backlog) } })?;
                json!({"fd": fd})
            }
            "accept" => {
                let fd = ok(unsafe { libc::accept4(fd?, std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC) })?;
                self.1.push(fd);
                json!({"fd": fd})
            }
            "open" => {
                let path = CString::new(ask["path"].as_str().unwrap_or("")).unwrap_or_default();
                let flags = self.numbers(&ask["flags"])?.iter().fold(libc::O_CLOEXEC, |all, flag| all | flag);
                json!({"fd": ok(unsafe { libc::open(path.as_ptr(), flags) })?})
            }
            "close" => {
                self.1.retain(|one| Ok(*one) != fd);
                json!({"x": ok(unsafe { libc::close(fd?) })?})
            }
            "reset" => {
                let fds = [std::mem::take(&mut self.1), self.numbers(&ask["close"])?].concat();
                let failed = fds.iter().filter_map(|&fd| Some((fd, ok(unsafe { libc::close(fd) }).err()?)));
                let failed = failed.map(|(fd, fault)| json!({"fd": fd, "errno": fault["error"]["errno"]}));
                json!({"failed": failed.collect::<Vec<_>>()})
            }
            "setopt" if ask["level"] == "fcntl" => {
                let mut on = number("value")?;
                json!({"x": ok(unsafe { libc::ioctl(fd?, libc::FIONBIO, &mut on) })?})
            }
            "setopt" => {
                let (value, level, option) = (number("value")?, number("level")?, number("option")?);
                json!({"x": ok(unsafe { libc::setsockopt(fd?, level, option, (&value as *const c_int).cast(), 4) })?})
            }
            "getopt" => {
                let (mut value, mut size, level, option) = (0, 4, number("level")?, number("option")?);
                let at: *mut c_int = &mut value;
                ok(unsafe { libc::getsockopt(fd?, level, option, at.cast(), &mut size) })?;
                json!({"value": value})
            }
            "shutdown" => json!({"x": ok(unsafe { libc::shutdown(fd?, number("how")?) })?}),
            "send_fds" if plain => {
                let (data, fds) = (each(&ask["buffers"], unhex), self.numbers(&ask["fds"])?);
                let slices: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
                let sent = Socket(fd?).send_with_fds(&slices, &fds);
                json!({"sent": sent.map_err(|fault| error("errno::Error", Some(fault.errno()), fault))?})
            }
            "recv_fds" if plain => {
                let mut buffers = each(&ask["sizes"], |size| vec![0u8; size.as_u64().unwrap_or(0) as usize]);
                let part = |one: &mut Vec<u8>| iovec { iov_base: one.as_mut_ptr().cast(), iov_len: one.len() };
                let mut iovecs: Vec<iovec> = buffers.iter_mut().map(part).collect();
                let mut fds = vec![-1; number("room")? as usize];
                let received = unsafe { Socket(fd?).recv_with_fds(&mut iovecs, &mut fds) };
                let (mut left, count) = received.map_err(|fault| error("errno::Error", Some(fault.errno()), fault))?;
                ...
            }
        })
    }
}
