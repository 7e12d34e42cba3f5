//! A kernel that shows control data of another system or a broken one.
//!
//! A thread of its own makes the call; seccomp user notification holds its recvmsg(2), and this thread answers for the
//! kernel. Both are in one process, so that descriptors are installed by dup(2), and memory is written as it is.

use std::os::fd::RawFd;
use std::sync::mpsc;
use std::thread;

const NOTIF_RECV: libc::c_ulong = 0xC050_2100;
const NOTIF_SEND: libc::c_ulong = 0xC018_2101;
const GO_ON: u32 = 1;
pub const NEXT: i32 = -1;
pub const AGAIN: i32 = -2;
const HEADER: usize = std::mem::size_of::<libc::cmsghdr>();

/// What is shown instead of what came. The length of the data stays.
pub struct Lie {
    /// The control data. `NEXT` stands for a descriptor that is installed, `AGAIN` for the last one once more.
    pub control: Vec<u8>,
    pub controllen: usize,
    pub flags: i32,
}

impl Lie {
    /// All of `control` is told of.
    pub fn new(control: Vec<u8>) -> Lie {
        Lie { controllen: control.len(), control, flags: 0 }
    }
}

/// An SCM_RIGHTS that tells `length`, with the padding that an odd number of ints needs.
pub fn rights_of(length: u64, ints: &[i32]) -> Vec<u8> {
    let mut bytes =
        [&length.to_ne_bytes()[..], &libc::SOL_SOCKET.to_ne_bytes(), &libc::SCM_RIGHTS.to_ne_bytes()].concat();
    bytes.extend(ints.iter().flat_map(|int| int.to_ne_bytes()));
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// A sound SCM_RIGHTS.
pub fn rights(ints: &[i32]) -> Vec<u8> {
    rights_of((HEADER + 4 * ints.len()) as u64, ints)
}

/// What the kernel saw: the numbers that it installed, and those of them that were to be closed when they no longer were open.
#[derive(Default)]
struct Done {
    installed: Vec<RawFd>,
    closed_in_vain: usize,
}

/// Makes the call in a thread whose first recvmsg(2) is answered with the lie. Returns what it returned, and how often it
/// closed an installed number that was not open any more.
pub fn lied_to<T: Send>(lie: Lie, call: impl FnOnce() -> T + Send) -> Result<(T, usize), String> {
    let (say, said) = mpsc::channel();
    thread::scope(|scope| {
        let caller = scope.spawn(move || {
            let listener = hold();
            let held = listener.is_ok();
            let told = say.send(listener).is_ok();
            (held && told).then(call)
        });
        let listener = said.recv().map_err(|error| error.to_string())??;
        let done = answer(listener, lie);
        match caller.join() {
            Ok(Some(outcome)) => Ok((outcome, done.closed_in_vain)),
            _ => Err("the call did not end".to_string()),
        }
    })
}

/// Holds recvmsg(2) and close(2) of this thread from now on, and returns the listener.
fn hold() -> Result<RawFd, String> {
    let step = |code: u16, jt: u8, jf: u8, k: u32| libc::sock_filter { code, jt, jf, k };
    let mut steps = [
        step(0x20, 0, 0, 0),
        step(0x15, 1, 0, libc::SYS_recvmsg as u32),
        step(0x15, 0, 1, libc::SYS_close as u32),
        step(0x06, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        step(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: the filter is copied by the call, and the steps live as long.
    let listener = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &filter as *const libc::sock_fprog,
        )
    };
    if listener < 0 {
        return Err(format!("system calls cannot be held here: {}", std::io::Error::last_os_error()));
    }
    Ok(listener as RawFd)
}

/// Answers the first receive with the lie and lets all else go on, until the thread is gone.
fn answer(listener: RawFd, lie: Lie) -> Done {
    let mut done = Done::default();
    let mut lie = Some(lie);
    loop {
        let mut ready = libc::pollfd { fd: listener, events: libc::POLLIN, revents: 0 };
        // SAFETY: both structs are as large as the kernel takes them for, and outlive the calls.
        unsafe {
            libc::poll(&mut ready, 1, -1);
            if ready.revents & libc::POLLIN == 0 {
                libc::close(listener);
                return done;
            }
            let mut asked: libc::seccomp_notif = std::mem::zeroed();
            if libc::ioctl(listener, NOTIF_RECV as _, &mut asked) != 0 {
                continue;
            }
            let mut answer: libc::seccomp_notif_resp = std::mem::zeroed();
            answer.id = asked.id;
            let (call, first) = (libc::c_long::from(asked.data.nr), asked.data.args[0] as RawFd);
            let vain = call == libc::SYS_close && libc::fcntl(first, libc::F_GETFD) < 0;
            done.closed_in_vain += usize::from(vain && done.installed.contains(&first));
            match if call == libc::SYS_recvmsg { lie.take() } else { None } {
                Some(lie) => answer.val = show(lie, &asked.data.args, &mut done.installed),
                None => answer.flags = GO_ON,
            }
            libc::ioctl(listener, NOTIF_SEND as _, &mut answer);
        }
    }
}

/// Takes the message that is there as plain data, shows the lie beside it, and returns the length of the data.
///
/// # Safety
/// `arguments` are those of a recvmsg(2) that waits in this process.
unsafe fn show(lie: Lie, arguments: &[u64; 6], installed: &mut Vec<RawFd>) -> i64 {
    let message = &mut *(arguments[1] as *mut libc::msghdr);
    let buffer = &*message.msg_iov;
    let length = libc::read(arguments[0] as RawFd, buffer.iov_base, buffer.iov_len);
    let mut control = lie.control;
    for int in control.chunks_exact_mut(4).skip(HEADER / 4) {
        if int == NEXT.to_ne_bytes() {
            installed.push(libc::dup(0));
        }
        if let Some(last) = installed.last().filter(|_| int == NEXT.to_ne_bytes() || int == AGAIN.to_ne_bytes()) {
            int.copy_from_slice(&last.to_ne_bytes());
        }
    }
    let room = message.msg_controllen;
    std::ptr::copy_nonoverlapping(control.as_ptr(), message.msg_control.cast(), control.len().min(room));
    message.msg_controllen = lie.controllen.min(room);
    message.msg_flags = lie.flags;
    length as i64
}
