/* raw_call: one system call with the memory and the numbers that the request gives. */

/* System calls that the libc's headers may be too old for; these numbers are the same on every architecture but Alpha. */
#ifndef __alpha__
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#endif
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#endif
#endif

struct call {
  int fd, flags;
  struct piece *iov;
  struct iovec *vectors;
  size_t count; /* of iov */
  long argument[6];
  size_t arguments;
};

#define CALL(NAME) static long call_##NAME(const struct call *c)
#define AT(INDEX) (c->iov[INDEX].at)
#define SIZE(INDEX) (c->iov[INDEX].told)
#define ARG(INDEX) (c->argument[INDEX])

CALL(read) { return syscall(SYS_read, c->fd, AT(0), SIZE(0)); }
CALL(readv) { return syscall(SYS_readv, c->fd, c->vectors, c->count); }
CALL(write) { return syscall(SYS_write, c->fd, AT(0), SIZE(0)); }
CALL(writev) { return syscall(SYS_writev, c->fd, c->vectors, c->count); }
CALL(recv) { return syscall(SYS_recvfrom, c->fd, AT(0), SIZE(0), c->flags, NULL, NULL); }
CALL(send) { return syscall(SYS_sendto, c->fd, AT(0), SIZE(0), c->flags, NULL, 0); }
CALL(sendto) { return syscall(SYS_sendto, c->fd, AT(0), SIZE(0), c->flags, AT(1), (socklen_t)SIZE(1)); }

CALL(recvfrom) {
  socklen_t size = (socklen_t)SIZE(1);
  return syscall(SYS_recvfrom, c->fd, AT(0), SIZE(0), c->flags, AT(1), &size);
}

CALL(splice) { return syscall(SYS_splice, c->fd, NULL, (int)ARG(0), NULL, (size_t)ARG(1), (unsigned)ARG(2)); }
CALL(tee) { return syscall(SYS_tee, c->fd, (int)ARG(0), (size_t)ARG(1), (unsigned)ARG(2)); }
CALL(vmsplice) { return syscall(SYS_vmsplice, c->fd, c->vectors, c->count, (unsigned)ARG(0)); }
CALL(sendfile) { return syscall(SYS_sendfile, c->fd, (int)ARG(0), NULL, (size_t)ARG(1)); }
CALL(ioctl) { return syscall(SYS_ioctl, c->fd, (unsigned long)ARG(0), c->count ? (long)AT(0) : ARG(1)); }
CALL(fcntl) { return fcntl(c->fd, (int)ARG(0), ARG(1)); }
CALL(setsockopt) { return syscall(SYS_setsockopt, c->fd, (int)ARG(0), (int)ARG(1), AT(0), (socklen_t)SIZE(0)); }

static long length_of(long result, socklen_t size) { return result < 0 ? result : (long)size; }

CALL(getsockopt) {
  socklen_t size = (socklen_t)SIZE(0);
  long result = syscall(SYS_getsockopt, c->fd, (int)ARG(0), (int)ARG(1), AT(0), &size);
  return length_of(result, size);
}

CALL(getsockname) {
  socklen_t size = (socklen_t)SIZE(0);
  long result = syscall(SYS_getsockname, c->fd, AT(0), &size);
  return length_of(result, size);
}

CALL(getpeername) {
  socklen_t size = (socklen_t)SIZE(0);
  long result = syscall(SYS_getpeername, c->fd, AT(0), &size);
  return length_of(result, size);
}

CALL(poll) {
  struct pollfd one = {.fd = c->fd, .events = (short)ARG(0)};
  int found = poll(&one, 1, (int)ARG(1));
  return found > 0 ? (unsigned short)one.revents : found;
}

CALL(socket) { return syscall(SYS_socket, (int)ARG(0), (int)ARG(1) | SOCK_CLOEXEC, (int)ARG(2)); }
CALL(socketpair) { return syscall(SYS_socketpair, (int)ARG(0), (int)ARG(1), (int)ARG(2), AT(0)); }
CALL(connect) { return syscall(SYS_connect, c->fd, AT(0), (socklen_t)SIZE(0)); }
CALL(bind) { return syscall(SYS_bind, c->fd, AT(0), (socklen_t)SIZE(0)); }
CALL(listen) { return syscall(SYS_listen, c->fd, (int)ARG(0)); }
CALL(shutdown) { return syscall(SYS_shutdown, c->fd, (int)ARG(0)); }
CALL(accept4) { return syscall(SYS_accept4, c->fd, NULL, NULL, (int)ARG(0)); }

CALL(lseek) { return (long)lseek(c->fd, (off_t)ARG(0), (int)ARG(1)); }
CALL(flock) { return syscall(SYS_flock, c->fd, (int)ARG(0)); }

CALL(lock) {
  struct flock lock = {.l_type = (short)ARG(0), .l_whence = SEEK_SET};
  return fcntl(c->fd, F_SETLK, &lock);
}

CALL(getlock) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  int result = fcntl(c->fd, F_GETLK, &lock);
  return result < 0 ? result : lock.l_type == F_UNLCK ? 0 : (long)lock.l_pid;
}

CALL(dup) { return syscall(SYS_dup, c->fd); }
CALL(dup3) { return syscall(SYS_dup3, c->fd, (int)ARG(0), (int)ARG(1)); }
CALL(openat) { return syscall(SYS_openat, c->fd, AT(0), c->flags, 0600); }
CALL(unlink) { return syscall(SYS_unlinkat, AT_FDCWD, AT(0), 0); }
CALL(getpid) { return (void)c, syscall(SYS_getpid); }
CALL(unshare) { return syscall(SYS_unshare, ARG(0)); }

/* --- things that can be passed ------------------------------------------------------------------------------------ */

CALL(pipe2) { return syscall(SYS_pipe2, AT(0), (int)ARG(0)); }
CALL(eventfd2) { return syscall(SYS_eventfd2, (unsigned)ARG(0), (int)ARG(1)); }
CALL(epoll_create1) { return syscall(SYS_epoll_create1, (int)ARG(0)); }
CALL(timerfd_create) { return syscall(SYS_timerfd_create, (int)ARG(0), (int)ARG(1)); }
CALL(inotify_init1) { return syscall(SYS_inotify_init1, (int)ARG(0)); }

CALL(epoll_ctl) {
  struct epoll_event event = {.events = (unsigned)ARG(2), .data = {.u64 = (uint64_t)ARG(1)}};
  return epoll_ctl(c->fd, (int)ARG(0), (int)ARG(1), &event);
}

CALL(epoll_wait) {
  struct epoll_event event = {0};
  int found = epoll_wait(c->fd, &event, 1, (int)ARG(0));
  return found > 0 ? (long)event.events : found;
}

CALL(signalfd4) {
  uint64_t none = 0;
  return syscall(SYS_signalfd4, -1, &none, sizeof none, (int)ARG(0));
}

CALL(memfd_create) {
#ifdef SYS_memfd_create
  return syscall(SYS_memfd_create, AT(0), (unsigned)ARG(0));
#else
  return (void)c, errno = ENOSYS, -1;
#endif
}

CALL(kcmp) {
  pid_t self = getpid();
  return syscall(SYS_kcmp, self, self, 0 /* KCMP_FILE */, (unsigned long)c->fd, (unsigned long)ARG(0));
}

CALL(pidfd_open) { return syscall(SYS_pidfd_open, ARG(0) ? (pid_t)ARG(0) : getpid(), (unsigned)ARG(1)); }
CALL(pidfd_getfd) { return syscall(SYS_pidfd_getfd, c->fd, (int)ARG(0), 0); }
CALL(close_range) { return syscall(SYS_close_range, (unsigned)c->fd, (unsigned)ARG(0), (int)ARG(1)); }
CALL(open_tree) { return syscall(SYS_open_tree, c->fd, AT(0), (unsigned)ARG(0)); }

CALL(userfaultfd) {
#ifdef SYS_userfaultfd
  return syscall(SYS_userfaultfd, (int)ARG(0));
#else
  return (void)c, errno = ENOSYS, -1;
#endif
}

CALL(io_uring_setup) {
  uint64_t parameters[15] = {0}; /* struct io_uring_params */
  return syscall(SYS_io_uring_setup, (unsigned)ARG(0), parameters);
}

CALL(landlock_create_ruleset) {
  uint64_t handled = 1; /* LANDLOCK_ACCESS_FS_EXECUTE */
  return (void)c, syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
}

CALL(mq_open) {
  long attributes[8] = {0, 1, 1}; /* struct mq_attr: flags, the most messages, bytes of each */
  char name[64];
  snprintf(name, sizeof name, "fdspec-%ld", (long)getpid());
  long fd = syscall(SYS_mq_open, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, attributes);
  int number = errno;
  if (fd >= 0) syscall(SYS_mq_unlink, name);
  errno = number;
  return (void)c, fd;
}

CALL(posix_openpt) { return open("/dev/ptmx", (int)ARG(0)); }
CALL(fanotify_init) { return syscall(SYS_fanotify_init, (unsigned)ARG(0), (unsigned)ARG(1)); }

CALL(bpf) {
  uint32_t attributes[16] = {2 /* BPF_MAP_TYPE_ARRAY */, 4, 8, 1}; /* bytes of a key, of a value, entries */
#ifdef SYS_bpf
  return (void)c, syscall(SYS_bpf, 0 /* BPF_MAP_CREATE */, attributes, sizeof attributes);
#else
  return (void)c, (void)attributes, errno = ENOSYS, -1;
#endif
}

CALL(perf_event_open) {
  union {
    uint32_t half[16];
    uint64_t whole[8];
  } attributes = {.half = {1 /* PERF_TYPE_SOFTWARE */, 64 /* PERF_ATTR_SIZE_VER0 */}};
  attributes.whole[1] = 9; /* PERF_COUNT_SW_DUMMY */
  for (unsigned bit = 5; bit < 7; bit++) /* exclude_kernel, exclude_hv: bit fields */
    attributes.whole[5] |= UINT64_C(1) << (is_big_endian() ? 63 - bit : bit);
  return (void)c, syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 8 /* PERF_FLAG_FD_CLOEXEC */);
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

static const struct {
  const char *name;
  size_t iov, arguments; /* how many it cannot do without */
  long (*call)(const struct call *);
} calls[] = {
#define R(NAME, IOV, ARGUMENTS) {#NAME, IOV, ARGUMENTS, call_##NAME}
    R(read, 1, 0),         R(readv, 0, 0),        R(recv, 1, 0),           R(recvfrom, 2, 0),
    R(write, 1, 0),        R(writev, 0, 0),       R(send, 1, 0),           R(sendto, 2, 0),
    R(splice, 0, 3),       R(tee, 0, 3),          R(vmsplice, 0, 1),       R(sendfile, 0, 2),
    R(ioctl, 0, 1),        R(fcntl, 0, 1),        R(setsockopt, 1, 2),     R(getsockopt, 1, 2),
    R(getsockname, 1, 0),  R(getpeername, 1, 0),  R(poll, 0, 2),           R(socket, 0, 3),
    R(socketpair, 1, 3),   R(connect, 1, 0),      R(bind, 1, 0),           R(listen, 0, 1),
    R(shutdown, 0, 1),     R(accept4, 0, 1),      R(lseek, 0, 2),          R(flock, 0, 1),
    R(lock, 0, 1),         R(getlock, 0, 0),      R(dup, 0, 0),            R(dup3, 0, 2),
    R(kcmp, 0, 1),         R(openat, 1, 0),       R(unlink, 1, 0),         R(getpid, 0, 0),
    R(unshare, 0, 1),      R(pipe2, 1, 1),        R(epoll_create1, 0, 1),  R(epoll_ctl, 0, 3),
    R(epoll_wait, 0, 1),   R(eventfd2, 0, 2),     R(timerfd_create, 0, 2), R(signalfd4, 0, 1),
    R(inotify_init1, 0, 1), R(memfd_create, 1, 1), R(pidfd_open, 0, 2),    R(pidfd_getfd, 0, 1),
    R(close_range, 0, 2),  R(userfaultfd, 0, 1),  R(io_uring_setup, 0, 1), R(open_tree, 1, 1),
    R(mq_open, 0, 0),      R(posix_openpt, 0, 1), R(landlock_create_ruleset, 0, 0), R(fanotify_init, 0, 2),
    R(bpf, 0, 0),          R(perf_event_open, 0, 0),
#undef R
};

static size_t call_index(const struct node *name) {
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
    if (is_text(name, calls[i].name)) return i;
  unsupported("raw_call %.*s: no such call here", (int)(name->size < 80 ? name->size : 80), name->text);
}

static void op_raw_call(const struct node *request) {
  const struct node *name = text_field(request, "name"), *arguments = list_field(request, "arguments");
  double alarm_after = seconds_field(request, "alarm");
  bool restart = flag_field(request, "restart"), replaces = is_text(name, "execve");
  size_t index = replaces ? 0 : call_index(name);
  struct call call = {.flags = flags_or(request, "flags", 0)};
  struct node *fd = member(request, "fd");
  call.fd = fd ? as_int(fd, "fd") : -1;
  for (const struct node *one = arguments->first; one; one = one->next) {
    if (call.arguments == sizeof call.argument / sizeof *call.argument) malformed("field arguments: more than six");
    call.argument[call.arguments++] = (long)as_constant(one, "arguments");
  }
  if (replaces) {
    replace_image();
    return;
  }
  struct pieces pieces = lay_list(list_field(request, "iov"));
  call.iov = pieces.at;
  call.count = pieces.count;
  call.vectors = vectors(&pieces);
  if (call.count < calls[index].iov || call.arguments < calls[index].arguments)
    malformed("raw_call %s: %zu pieces of memory and %zu arguments were expected", calls[index].name, calls[index].iov,
              calls[index].arguments);

  seal();
  arm(alarm_after, restart);
  long returned = calls[index].call(&call);
  int number = errno;
  disarm();

  put_returned(returned, number);
  put_pieces(&pieces);
  put_signals();
  put("}");
}
