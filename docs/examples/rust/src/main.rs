//! A whole adapter: the trait ScmSocket of vmm-sys-util (profile `descriptors`), beside libc and a JSON library.
use libc::{c_int, iovec, AF_UNIX, O_CLOEXEC, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM};
use serde_json::{json, Value};
use std::{error::Error, ffi::CString, io, num::TryFromIntError, os::fd::RawFd};
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

const TYPES: [(&str, c_int); 3] = [("stream", SOCK_STREAM), ("dgram", SOCK_DGRAM), ("seqpacket", SOCK_SEQPACKET)];
const CAN: [&str; 4] = ["buffers-out", "empty-out", "plain-out", "many"];
type Outcome<T> = Result<T, Box<dyn Error>>;
struct Socket(RawFd);
impl ScmSocket for Socket {
    fn socket_fd(&self) -> RawFd {
        self.0
    }
}
fn ok(returned: c_int) -> io::Result<c_int> {
    (returned != -1).then_some(returned).ok_or_else(io::Error::last_os_error)
}
fn each<T>(list: &Value, read: impl Fn(&Value) -> Outcome<T>) -> Outcome<Vec<T>> {
    list.as_array().ok_or("a list expected")?.iter().map(read).collect()
}
fn number<T: TryFrom<i64, Error = TryFromIntError>>(value: &Value) -> Outcome<T> {
    Ok(value.as_i64().ok_or("a number expected")?.try_into()?)
}
fn unhex(text: &Value) -> Outcome<Vec<u8>> {
    let pairs = text.as_str().ok_or("hexadecimal digits expected")?.as_bytes().chunks(2);
    pairs.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}
fn sockaddr(name: &Value) -> Outcome<Vec<u8>> {
    let name = name.as_str().ok_or("an address expected")?;
    let path = name.strip_prefix('@').map_or(name.to_string(), |name| format!("\0{name}"));
    Ok([&(AF_UNIX as u16).to_ne_bytes(), path.as_bytes()].concat()) // the kernel refuses one that is too long
}
/// Return the result of a request, or nothing where `hello` did not declare what it asks for.
fn carry_out(ask: &Value, constants: &mut Value, sockets: &mut Vec<RawFd>) -> Outcome<Option<Value>> {
    let (fd, plain) = (number(&ask["fd"]), ask["single"] == false && ask["flags"] == json!([]));
    Ok(Some(match ask["op"].as_str().unwrap_or_default() {
        "hello" => {
            *constants = ask["constants"].clone();
            let me = json!({"name": "vmm-sys-util ScmSocket", "version": "0.15.0", "language": "Rust"});
            let offer = json!({"types": TYPES.map(|(name, _)| name), "capabilities": CAN});
            json!({"version": 1, "implementation": me, "profiles": {"descriptors": offer}})
        }
        "connect" => {
            let kind = TYPES.iter().find(|(name, _)| ask["type"] == *name).ok_or("an unknown type")?.1;
            sockets.push(ok(unsafe { libc::socket(AF_UNIX, kind | SOCK_CLOEXEC, 0) })?);
            let (fd, to) = (sockets[sockets.len() - 1], sockaddr(&ask["address"])?);
            if let Some(name) = ask.get("bind").map(sockaddr).transpose()? {
                ok(unsafe { libc::bind(fd, name.as_ptr().cast(), name.len() as u32) })?;
            }
            ok(unsafe { libc::connect(fd, to.as_ptr().cast(), to.len() as u32) })?;
            json!({"fd": fd})
        }
        "open" => {
            let path = CString::new(ask["path"].as_str().ok_or("a path expected")?)?;
            let flag = |flag: &Value| number::<c_int>(flag.as_str().map_or(flag, |name| &constants[name]));
            let flags = each(&ask["flags"], flag)?.into_iter().fold(O_CLOEXEC, |all, flag| all | flag);
            json!({"fd": ok(unsafe { libc::open(path.as_ptr(), flags, 0o600) })?})
        }
        "close" => {
            sockets.retain(|one| ask["fd"] != *one);
            json!({"closed": ok(unsafe { libc::close(fd?) })?})
        }
        "reset" => {
            sockets.drain(..).for_each(|fd| _ = unsafe { libc::close(fd) });
            let close = |fd| Some(json!({"fd": fd, "errno": ok(unsafe { libc::close(fd) }).err()?.raw_os_error()}));
            json!({"failed": each(&ask["close"], number)?.into_iter().filter_map(close).collect::<Value>()})
        }
        "send_fds" if plain && ask["address"].is_null() => {
            let (data, fds) = (each(&ask["buffers"], unhex)?, each(&ask["fds"], number)?);
            let buffers: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
            json!({"sent": Socket(fd?).send_with_fds(&buffers, &fds).map_err(io::Error::from)?})
        }
        "recv_fds" if plain && ask["sizes"].as_array().is_some_and(|sizes| sizes.len() == 1) => {
            let (mut data, mut fds) = (vec![0u8; number(&ask["sizes"][0])?], vec![-1; number(&ask["room"])?]);
            let mut iovecs = [iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() }];
            let (size, count) = unsafe { Socket(fd?).recv_with_fds(&mut iovecs, &mut fds) }.map_err(io::Error::from)?;
            let hex: String = data[..size].iter().map(|byte| format!("{byte:02x}")).collect();
            json!({"buffers": [hex], "fds": fds[..count]})
        }
        _ => return Ok(None),
    }))
}
fn main() -> Outcome<()> {
    let (mut constants, mut sockets) = (Value::Null, Vec::new());
    for line in io::stdin().lines() {
        let ask: Value = serde_json::from_str(&line?)?;
        let (key, reply) = match carry_out(&ask, &mut constants, &mut sockets) {
            Ok(Some(result)) => ("result", result),
            Ok(None) => ("unsupported", json!("not among what hello declares")),
            Err(fault) => {
                let errno = fault.downcast_ref().and_then(io::Error::raw_os_error);
                let kind = if errno.is_some() || fault.is::<TryFromIntError>() { "Error" } else { "Request" };
                ("error", json!({"type": kind, "errno": errno, "message": fault.to_string()}))
            }
        };
        println!("{}", json!({"id": ask["id"], key: reply}));
    }
    Ok(())
}
