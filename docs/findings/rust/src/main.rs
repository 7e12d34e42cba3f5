//! What goes wrong in the ScmSocket traits of virtio-driver 0.6.1 and vmm-sys-util 0.15.0.
//!
//! `cargo run -- rust-virtio-driver|rust-vmm-sys-util [SCENARIO...]` prints a line for each scenario; the exit code is 0
//! when all of them are shown. What is observed comes from /proc/self/fd, fcntl and recvmsg.

mod lying_kernel;

use lying_kernel::{lied_to, rights, rights_of, Lie, AGAIN, NEXT};
use std::collections::BTreeSet;
use std::fs;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

const SO_PASSCRED: i32 = 16;
const SO_TIMESTAMP: i32 = 29;
const SO_PASSPIDFD: i32 = 76;

/// What a receive returned: the length and the descriptors, or the error, or the panic.
type Outcome = Result<(usize, Vec<RawFd>), String>;
type Receive = fn(&UnixDatagram, usize) -> Outcome;
/// Whether the defect is shown, and what was observed.
type Finding = (bool, String);
type Scenario = fn(Receive) -> Finding;
/// What cannot be tried here is told in words.
type Attempt<T> = Result<T, String>;

fn virtio_driver(socket: &UnixDatagram, room: usize) -> Outcome {
    use virtio_driver::ScmSocket;
    let (mut data, mut fds) = ([0; 8], vec![-1; room]);
    // A panic inside is an outcome.
    let called = panic::catch_unwind(AssertUnwindSafe(|| socket.recv_with_fds(&mut data, &mut fds)));
    match called {
        Ok(Ok((length, count))) => Ok((length, fds[..count].to_vec())),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => Err(format!("panic: {}", panic.downcast_ref::<String>().map_or("", String::as_str))),
    }
}

fn vmm_sys_util(socket: &UnixDatagram, room: usize) -> Outcome {
    use vmm_sys_util::sock_ctrl_msg::ScmSocket;
    let (mut data, mut fds) = ([0u8; 8], vec![-1; room]);
    let mut buffers = [libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() }];
    // SAFETY: the one buffer outlives the call.
    match unsafe { socket.recv_with_fds(&mut buffers, &mut fds) } {
        Ok((length, count)) => Ok((length, fds[..count].to_vec())),
        Err(error) => Err(error.to_string()),
    }
}

fn send(socket: &UnixDatagram, count: usize) {
    use virtio_driver::ScmSocket;
    socket.send_with_fds(&[IoSlice::new(b"x")], &vec![0; count]).expect("the descriptors are sent");
}

fn pair(option: Option<i32>) -> Attempt<(UnixDatagram, UnixDatagram)> {
    let (a, b) = UnixDatagram::pair().map_err(|error| error.to_string())?;
    if let Some(option) = option {
        let (on, size) = (1i32, std::mem::size_of::<i32>() as libc::socklen_t);
        // SAFETY: the option's value is an int.
        let code =
            unsafe { libc::setsockopt(b.as_raw_fd(), libc::SOL_SOCKET, option, (&on as *const i32).cast(), size) };
        if code != 0 {
            return Err(format!("option {option}: {}", std::io::Error::last_os_error()));
        }
    }
    Ok((a, b))
}

/// The numbers that are open, without the listing's own.
fn numbers() -> BTreeSet<RawFd> {
    let listed: Vec<RawFd> = fs::read_dir("/proc/self/fd")
        .expect("/proc is mounted")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    // SAFETY: fcntl on a number that is not open fails.
    listed.into_iter().filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0).collect()
}

fn close<'a>(fds: impl IntoIterator<Item = &'a RawFd>) {
    for fd in fds {
        // SAFETY: nobody else in this program owns the number.
        unsafe { libc::close(*fd) };
    }
}

/// Receives, and returns the outcome with what is open afterwards that it does not tell of; everything is closed.
fn received(receive: Receive, socket: &UnixDatagram, room: usize) -> (Outcome, Vec<String>) {
    let before = numbers();
    let outcome = receive(socket, room);
    let told: BTreeSet<RawFd> = outcome.iter().flat_map(|(_, fds)| fds.iter().copied()).collect();
    let new: BTreeSet<RawFd> = numbers().difference(&before).copied().collect();
    let left = new.difference(&told).map(|fd| {
        fs::read_link(format!("/proc/self/fd/{fd}")).map_or(String::new(), |target| target.display().to_string())
    });
    let left: Vec<String> = left.collect();
    close(&new);
    (outcome, left)
}

/// Whether the kernel says MSG_CTRUNC of the next message, which stays; its copies are closed.
fn truncated(socket: &UnixDatagram, room: usize) -> bool {
    let before = numbers();
    let (mut data, mut control) = ([0u8; 8], [0u64; 16]);
    let mut buffer = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    // SAFETY: every pointer is to memory of the length beside it, and outlives the call.
    let flags = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut buffer;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4 * room as u32) as usize;
        libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_PEEK);
        message.msg_flags
    };
    close(numbers().difference(&before));
    flags & libc::MSG_CTRUNC != 0
}

fn set_limit(limit: libc::rlim_t) {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a whole rlimit.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut now);
        now.rlim_cur = limit.min(now.rlim_max);
        libc::setrlimit(libc::RLIMIT_NOFILE, &now);
    }
}

fn or_not(attempt: Attempt<Finding>) -> Finding {
    attempt.unwrap_or_else(|words| (false, words))
}

/// Sends and receives once with each of the options: the outcomes, and what is open that they do not tell of.
fn with(receive: Receive, options: &[i32], sent: usize, room: usize) -> Attempt<Vec<(Outcome, Vec<String>)>> {
    let once = |option: &i32| {
        let (a, b) = pair(Some(*option))?;
        send(&a, sent);
        Ok(received(receive, &b, room))
    };
    options.iter().map(once).collect()
}

/// Sends some and receives with room for one: the outcome, and how many are open that it does not tell of.
fn into_room_for_one(receive: Receive, option: Option<i32>, sent: usize) -> Attempt<(Outcome, usize)> {
    let (a, b) = pair(option)?;
    send(&a, sent);
    let (outcome, left) = received(receive, &b, 1);
    Ok((outcome, left.len()))
}

/// One more than there is room for takes the padding, also where a process descriptor could have taken it.
const WITHOUT_AND_WITH: [Option<i32>; 2] = [None, Some(SO_PASSPIDFD)];

fn odd_room_panics(receive: Receive) -> Finding {
    let told: Attempt<Vec<_>> =
        WITHOUT_AND_WITH.into_iter().map(|option| into_room_for_one(receive, option, 2)).collect();
    or_not(told.map(|told| {
        let panics = |outcome: &Outcome| outcome.as_ref().is_err_and(|words| words.starts_with("panic"));
        let shown = told.iter().all(|(outcome, left)| panics(outcome) && *left == 2);
        (shown, format!("2 sent, room for 1, without and with SO_PASSPIDFD: (outcome, still open beside) {told:?}"))
    }))
}

fn odd_room_leaks(receive: Receive) -> Finding {
    let both = |option| Ok([into_room_for_one(receive, option, 2)?, into_room_for_one(receive, option, 5)?]);
    let told: Attempt<Vec<_>> = WITHOUT_AND_WITH.into_iter().map(both).collect();
    or_not(told.map(|told| {
        // Of two the caller is told nothing. Of five, or where the process descriptor did not fit either, it gets an
        // error. One stays open all the same.
        let unsaid = told[0][0].0.as_ref().is_ok_and(|(_, fds)| fds.len() == 1);
        let errors = told.iter().flatten().skip(1).all(|(outcome, _)| outcome.is_err());
        let shown = unsaid && errors && told.iter().flatten().all(|(_, left)| *left == 1);
        let words = "2 and 5 sent, room for 1, without and with SO_PASSPIDFD: (outcome, still open beside)";
        (shown, format!("{words} {told:?}"))
    }))
}

fn ctrunc_ignored(receive: Receive) -> Finding {
    or_not(pair(None).map(|(a, b)| {
        send(&a, 5);
        let kernel = truncated(&b, 2);
        let (outcome, _) = received(receive, &b, 2);
        let shown = kernel && outcome.as_ref().is_ok_and(|(_, fds)| fds.len() == 2);
        (shown, format!("5 sent, room for 2, MSG_CTRUNC by the kernel {kernel}: {outcome:?}"))
    }))
}

fn ctrunc_ignored_at_the_limit(receive: Receive) -> Finding {
    or_not(pair(None).map(|(a, b)| {
        send(&a, 3);
        let taken = numbers();
        set_limit((0..).find(|fd| !taken.contains(fd)).unwrap_or(0) as libc::rlim_t);
        let outcome = receive(&b, 3);
        set_limit(libc::rlim_t::MAX);
        let shown = outcome.as_ref().is_ok_and(|(length, fds)| *length == 1 && fds.is_empty());
        (shown, format!("3 sent, room for 3, no number free: {outcome:?}"))
    }))
}

fn only_first_control_message(receive: Receive) -> Finding {
    or_not(with(receive, &[SO_PASSCRED, SO_TIMESTAMP], 2, 30).map(|told| {
        let shown = told.iter().all(|(outcome, left)| *outcome == Ok((1, vec![])) && left.len() == 2);
        (shown, format!("2 sent, room for 30, SO_PASSCRED then SO_TIMESTAMP: (outcome, still open beside) {told:?}"))
    }))
}

fn pidfd_leaks(receive: Receive) -> Finding {
    let attempt = with(receive, &[SO_PASSPIDFD], 2, 8)
        .and_then(|first| Ok([first, with(receive, &[SO_PASSPIDFD], 0, 8)?].concat()));
    or_not(attempt.map(|told| {
        let shown = told.iter().all(|(outcome, left)| outcome.is_ok() && left[..] == ["anon_inode:[pidfd]"]);
        (shown, format!("2 descriptors and none: (outcome, still open beside) {told:?}"))
    }))
}

fn room_taken(receive: Receive) -> Finding {
    or_not(with(receive, &[SO_PASSCRED, SO_TIMESTAMP], 1, 1).map(|told| {
        let shown = told.iter().all(|(outcome, left)| *outcome == Ok((1, vec![])) && left.is_empty());
        (shown, format!("1 sent, room for 1, SO_PASSCRED then SO_TIMESTAMP: (outcome, still open beside) {told:?}"))
    }))
}

/// Plain data of which the room for one descriptor cannot hold the credentials: a receive, and the next one.
fn plain_data(receive: Receive) -> Attempt<(Outcome, Outcome)> {
    let (a, b) = pair(Some(SO_PASSCRED))?;
    send(&a, 0);
    b.set_nonblocking(true).map_err(|error| error.to_string())?;
    Ok((receive(&b, 1), receive(&b, 30)))
}

fn room_taken_loses_the_message(receive: Receive) -> Finding {
    let told = with(receive, &[SO_PASSCRED, SO_TIMESTAMP, SO_PASSPIDFD], 1, 1);
    or_not(told.and_then(|told| Ok((told, plain_data(receive)?))).map(|(told, (first, second))| {
        let shown = told.iter().all(|(outcome, left)| outcome.is_err() && left.is_empty());
        let words = format!("1 sent, room for 1, SO_PASSCRED, SO_TIMESTAMP, SO_PASSPIDFD: {told:?}");
        let shown = shown && first.is_err() && second.is_err();
        (shown, format!("{words}; plain data beside credentials: {first:?}, then {second:?}"))
    }))
}

fn not_close_on_exec(receive: Receive) -> Finding {
    or_not(pair(None).map(|(a, b)| {
        send(&a, 2);
        let fds = receive(&b, 2).map_or(Vec::new(), |(_, fds)| fds);
        // SAFETY: F_GETFD changes nothing.
        let flags: Vec<i32> =
            fds.iter().map(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } & libc::FD_CLOEXEC).collect();
        close(&fds);
        (flags == [0, 0], format!("FD_CLOEXEC of two received descriptors: {flags:?}"))
    }))
}

/// What came of a message of one byte that was received beside a lie.
#[derive(Debug)]
struct Seen {
    outcome: Outcome,
    /// How many are still open that it does not tell of.
    left: usize,
    closed_in_vain: usize,
}

fn shown(receive: Receive, room: usize, lie: Lie) -> Attempt<Seen> {
    let (a, b) = pair(None)?;
    send(&a, 0);
    let ((outcome, left), closed_in_vain) = lied_to(lie, || received(receive, &b, room))?;
    Ok(Seen { outcome, left: left.len(), closed_in_vain })
}

/// A number that is open, and that nobody sends.
fn bait() -> RawFd {
    // SAFETY: dup touches no memory.
    unsafe { libc::dup(0) }
}

fn control_length_unread(receive: Receive) -> Finding {
    let bait = bait();
    let try_both = || {
        let mut beyond = Lie::new(rights_of(28, &[NEXT, NEXT, bait]));
        beyond.controllen = 24;
        let mut untold = Lie::new(rights(&[bait]));
        untold.controllen = 0;
        Ok((shown(receive, 8, beyond)?, shown(receive, 8, untold)?))
    };
    let told: Attempt<(Seen, Seen)> = try_both();
    close(&[bait]);
    or_not(told.map(|(beyond, untold)| {
        let has = |seen: &Seen, count| {
            seen.outcome.as_ref().is_ok_and(|(_, fds)| fds.len() == count && fds[count - 1] == bait)
        };
        let words = format!(
            "{bait} stands behind msg_controllen 24, of which 2 come, then 0, of which none: {beyond:?}, {untold:?}"
        );
        (has(&beyond, 3) && has(&untold, 1), words)
    }))
}

/// A cmsg_len that is too long for the slice, that of an untruncated message on macOS for one, and one that is too short.
fn lengths(receive: Receive) -> Attempt<Vec<Seen>> {
    let one = |(length, flags)| {
        let mut lie = Lie::new(rights_of(length, &[NEXT, NEXT]));
        (lie.controllen, lie.flags) = (24, flags);
        shown(receive, 2, lie)
    };
    [(76, libc::MSG_CTRUNC), (u64::MAX, 0), (0, 0)].into_iter().map(one).collect()
}

fn length_believed(receive: Receive) -> Finding {
    or_not(lengths(receive).map(|told| {
        let panics =
            |seen: &Seen| seen.outcome.as_ref().is_err_and(|words| words.starts_with("panic")) && seen.left == 2;
        (told.iter().all(panics), format!("2 come, cmsg_len is 76 with MSG_CTRUNC, 2**64 - 1, 0: {told:?}"))
    }))
}

fn short_length_wraps(receive: Receive) -> Finding {
    let bait = bait();
    let told = [0, 15].map(|length| shown(receive, 4, Lie::new(rights_of(length, &[bait]))));
    close(&[bait]);
    or_not(told.into_iter().collect::<Attempt<Vec<_>>>().map(|told| {
        let all = |seen: &Seen| seen.outcome.as_ref().is_ok_and(|(_, fds)| fds.len() == 4 && fds[0] == bait);
        (told.iter().all(all), format!("cmsg_len is 0, then 15, {bait} stands behind it and nothing came: {told:?}"))
    }))
}

fn refused_is_a_descriptor(receive: Receive) -> Finding {
    or_not(shown(receive, 4, Lie::new(rights(&[-libc::EACCES, NEXT]))).map(|told| {
        let shown = told.outcome.as_ref().is_ok_and(|(_, fds)| fds.len() == 2 && fds[0] == -libc::EACCES);
        (shown, format!("-EACCES in the place of a refused descriptor, then a sound one: {told:?}"))
    }))
}

fn number_twice_is_closed_twice(receive: Receive) -> Finding {
    let mut lie = Lie::new(rights(&[NEXT, AGAIN]));
    lie.flags = libc::MSG_CTRUNC;
    or_not(
        shown(receive, 4, lie)
            .map(|told| (told.closed_in_vain == 1, format!("MSG_CTRUNC, and one number stands there twice: {told:?}"))),
    )
}

const VIRTIO_DRIVER: &[(&str, Scenario)] = &[
    ("odd-room", odd_room_panics),
    ("ctrunc-ignored", ctrunc_ignored),
    ("ctrunc-ignored-at-the-limit", ctrunc_ignored_at_the_limit),
    ("only-first-control-message", only_first_control_message),
    ("pidfd-leaks", pidfd_leaks),
    ("room-taken", room_taken),
    ("not-close-on-exec", not_close_on_exec),
    ("control-length-unread", control_length_unread),
    ("length-believed", length_believed),
    ("refused-is-a-descriptor", refused_is_a_descriptor),
];
const VMM_SYS_UTIL: &[(&str, Scenario)] = &[
    ("odd-room", odd_room_leaks),
    ("only-first-control-message", only_first_control_message),
    ("pidfd-leaks", pidfd_leaks),
    ("room-taken", room_taken_loses_the_message),
    ("not-close-on-exec", not_close_on_exec),
    ("control-length-unread", control_length_unread),
    ("short-length-wraps", short_length_wraps),
    ("refused-is-a-descriptor", refused_is_a_descriptor),
    ("number-twice-is-closed-twice", number_twice_is_closed_twice),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (scenarios, receive): (&[(&str, Scenario)], Receive) = match arguments.next().as_deref() {
        Some("rust-virtio-driver") => (VIRTIO_DRIVER, virtio_driver),
        Some("rust-vmm-sys-util") => (VMM_SYS_UTIL, vmm_sys_util),
        _ => {
            eprintln!("the first argument is rust-virtio-driver or rust-vmm-sys-util");
            return ExitCode::from(2);
        }
    };
    let wanted: Vec<String> = arguments.collect();
    let known: Vec<&str> = scenarios.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
        eprintln!("no such scenario: {unknown}; there are: {}", known.join(", "));
        return ExitCode::from(2);
    }
    panic::set_hook(Box::new(|_| {})); // a panic is an outcome that the scenario prints
    let mut missed = 0;
    for (name, scenario) in
        scenarios.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|one| one == name))
    {
        let (shown, words) = scenario(receive);
        missed += i32::from(!shown);
        println!("{name}: {}: {words}", if shown { "shown" } else { "not shown" });
    }
    ExitCode::from(u8::from(missed > 0))
}
