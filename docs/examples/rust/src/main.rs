//! A whole adapter: the trait ScmSocket of vmm-sys-util (profile `descriptors`), beside libc and a JSON library.
use libc::{
    c_int, iovec, sockaddr_un, AF_UNIX, FIONBIO, O_CLOEXEC, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM,
};
use serde_json::{json, Value};
use std::{error::Error, ffi::CString, io, mem, os::fd::RawFd, ptr};
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

const TYPES: [(&str, c_int); 3] = [("stream", SOCK_STREAM), ("dgram", SOCK_DGRAM), ("seqpacket", SOCK_SEQPACKET)];

struct Socket(RawFd);
impl ScmSocket for Socket {
    fn socket_fd(&self) -> RawFd {
        self.0
    }
}
/// This platform's numbers by name; the sockets that this testee made, for reset to close.
struct Testee(Value, Vec<RawFd>);
type Outcome<T> = Result<T, Box<dyn Error>>;

fn ok(returned: c_int) -> io::Result<c_int> {
    if returned == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}
fn each<T>(list: &Value, read: impl Fn(&Value) -> Outcome<T>) -> Outcome<Vec<T>> {
    list.as_array().into_iter().flatten().map(read).collect()
}
fn unhex(text: &Value) -> Outcome<Vec<u8>> {
    let pairs = text.as_str().ok_or("a text expected")?.as_bytes().chunks(2);
    pairs.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
fn address(name: &Value) -> Outcome<(sockaddr_un, u32)> {
    let name = name.as_str().ok_or("an address expected")?;
    let name = name.strip_prefix('@').map_or(format!("{name}\0"), |name| format!("\0{name}"));
    let mut address: sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = AF_UNIX as u16;
    address.sun_path.iter_mut().zip(name.bytes()).for_each(|(to, byte)| *to = byte as _);
    Ok((address, 2 + name.len() as u32)) // one that is too long is refused by the kernel
}
fn resolve(value: &Value, earlier: &[Value]) -> Option<Value> {
    if let Value::Array(items) = value {
        return items.iter().map(|item| resolve(item, earlier)).collect();
    }
    let Some(path) = value.as_str().and_then(|text| text.strip_prefix('$')) else { return Some(value.clone()) };
    let (step, path) = path.split_once('.')?;
    earlier.get(step.parse::<usize>().ok()?)?["result"].pointer(&format!("/{}", path.replace('.', "/"))).cloned()
}
impl Testee {
    fn number(&self, value: &Value) -> Outcome<c_int> {
        let value = value.as_str().map_or(value, |name| &self.0[name]);
        Ok(value.as_i64().ok_or("a number or the name of one expected")?.try_into()?)
    }
    fn keep(&mut self, fd: RawFd) -> Value {
        self.1.push(fd);
        json!({"fd": fd})
    }
    fn carry_out(&mut self, op: &str, ask: &Value) -> Outcome<Option<Value>> {
        let (fd, number) = (self.number(&ask["fd"]), |field: &str| self.number(&ask[field]));
        let flags = each(&ask["flags"], |flag| self.number(flag))?.into_iter().fold(0, |all, flag| all | flag);
        let plain = ask["single"] != true && ask["address"].is_null() && flags == 0;
        Ok(Some(match op {
            "hello" => {
                self.0 = ask["constants"].clone();
                let me = json!({"name": "vmm-sys-util ScmSocket", "version": "0.15.0", "language": "Rust"});
                let offer = ["buffers-out", "buffers-in", "empty-out", "plain-out", "many"];
                let offer = json!({"types": TYPES.map(|kind| kind.0), "capabilities": offer});
                json!({"version": 1, "implementation": me, "profiles": {"descriptors": offer}})
            }
            "connect" | "listen" => {
                let kind = TYPES.iter().find(|kind| ask["type"] == kind.0).ok_or("an unknown type")?.1;
                let socket = self.keep(ok(unsafe { libc::socket(AF_UNIX, kind | SOCK_CLOEXEC, 0) })?);
                let fd = self.number(&socket["fd"])?;
                let bind = ask.get(if op == "listen" { "address" } else { "bind" });
                if let Some((at, length)) = bind.map(address).transpose()? {
                    ok(unsafe { libc::bind(fd, ptr::from_ref(&at).cast(), length) })?;
                }
                if op == "connect" {
                    let (at, length) = address(&ask["address"])?;
                    ok(unsafe { libc::connect(fd, ptr::from_ref(&at).cast(), length) })?;
                } else if kind != SOCK_DGRAM {
                    ok(unsafe { libc::listen(fd, self.number(&ask["backlog"])?) })?;
                }
                socket
            }
            "accept" => self.keep(ok(unsafe { libc::accept4(fd?, ptr::null_mut(), ptr::null_mut(), SOCK_CLOEXEC) })?),
            "open" => {
                let path = CString::new(ask["path"].as_str().ok_or("a path expected")?)?;
                json!({"fd": ok(unsafe { libc::open(path.as_ptr(), flags | O_CLOEXEC) })?})
            }
            "close" => {
                let fd = fd?;
                self.1.retain(|&one| one != fd);
                json!({"closed": ok(unsafe { libc::close(fd) })?})
            }
            "reset" => {
                mem::take(&mut self.1).into_iter().for_each(|fd| _ = unsafe { libc::close(fd) });
                let fds = each(&ask["close"], |fd| self.number(fd))?.into_iter();
                let failed = fds.filter_map(|fd| Some((fd, ok(unsafe { libc::close(fd) }).err()?.raw_os_error())));
                json!({"failed": failed.map(|(fd, errno)| json!({"fd": fd, "errno": errno})).collect::<Value>()})
            }
            "setopt" if ask["level"] == "fcntl" => {
                let mut on = number("value")?;
                json!({"done": ok(unsafe { libc::ioctl(fd?, FIONBIO, &mut on) })?})
            }
            "setopt" => {
                let (level, option, value) = (number("level")?, number("option")?, number("value")?);
                json!({"done": ok(unsafe { libc::setsockopt(fd?, level, option, ptr::from_ref(&value).cast(), 4) })?})
            }
            "getopt" => {
                let (level, option, mut value, mut size) = (number("level")?, number("option")?, 0, 4);
                ok(unsafe {
                    libc::getsockopt(fd?, level, option, ptr::from_mut::<c_int>(&mut value).cast(), &mut size)
                })?;
                json!({"value": value})
            }
            "shutdown" => json!({"done": ok(unsafe { libc::shutdown(fd?, number("how")?) })?}),
            "send_fds" if plain => {
                let (data, fds) = (each(&ask["buffers"], unhex)?, each(&ask["fds"], |fd| self.number(fd))?);
                let buffers: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
                json!({"sent": Socket(fd?).send_with_fds(&buffers, &fds)?})
            }
            "recv_fds" if plain => {
                let size = |size: &Value| Ok(vec![0u8; size.as_u64().ok_or("a size expected")?.try_into()?]);
                let (mut buffers, mut fds) = (each(&ask["sizes"], size)?, vec![-1; number("room")?.try_into()?]);
                let part = |one: &mut Vec<u8>| iovec { iov_base: one.as_mut_ptr().cast(), iov_len: one.len() };
                let mut iovecs: Vec<iovec> = buffers.iter_mut().map(part).collect();
                let (mut left, count) = unsafe { Socket(fd?).recv_with_fds(&mut iovecs, &mut fds)? };
                for buffer in &mut buffers {
                    buffer.truncate(left);
                    left -= buffer.len();
                }
                json!({"buffers": buffers.iter().map(|one| hex(one)).collect::<Value>(), "fds": fds[..count]})
            }
            "steps" => {
                let mut replies = Vec::new();
                for step in ask["steps"].as_array().ok_or("a list expected")? {
                    replies.push(self.answer(step, &replies));
                    if replies[replies.len() - 1].get("result").is_none() && ask["go_on"] != true {
                        break;
                    }
                }
                json!({"replies": replies})
            }
            _ => return Ok(None),
        }))
    }
    fn answer(&mut self, ask: &Value, earlier: &[Value]) -> Value {
        let fields = ask.as_object().into_iter().flatten();
        let resolved = fields.map(|(name, value)| Some((name.clone(), resolve(value, earlier)?)));
        let Some(ask) = resolved.collect::<Option<serde_json::Map<_, _>>>().map(Value::Object) else {
            return json!({"error": {"type": "Reference", "message": "no such result"}});
        };
        match self.carry_out(ask["op"].as_str().unwrap_or(""), &ask) {
            Ok(Some(result)) => json!({"result": result}),
            Ok(None) => json!({"unsupported": "not among what hello declares"}),
            Err(fault) => {
                let number = fault.downcast_ref::<vmm_sys_util::errno::Error>().map(|fault| fault.errno());
                let number = number.or(fault.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error));
                let kind = match (number, fault.is::<std::num::TryFromIntError>()) {
                    (Some(_), _) => "errno::Error",
                    (None, true) => "TryFromIntError",
                    (None, false) => "Request",
                };
                json!({"error": {"type": kind, "errno": number, "message": fault.to_string()}})
            }
        }
    }
}
fn main() {
    let mut testee = Testee(Value::Null, Vec::new());
    for line in io::stdin().lines() {
        let ask: Value = serde_json::from_str(&line.expect("UTF-8")).expect("a request is JSON");
        let mut reply = testee.answer(&ask, &[]);
        reply["id"] = ask["id"].clone();
        println!("{reply}");
    }
}
