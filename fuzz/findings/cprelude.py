"""The first part of every script in C that is the same: system calls, with names for numbers."""

from __future__ import annotations

from .plan import LOW

PRELUDE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define LOW @LOW@         /* the implementation's numbers are below, the peer's above */
#define NOWHERE 1000000  /* is never open */
#define MOST 8192
#define BUFFERS 2048

struct thing { dev_t device; ino_t inode; char label[16]; };
struct name { char name[16]; int number; dev_t device; ino_t inode; int low; };
struct reader { char name[16]; int number; };

struct thing things[MOST];     /* what there is, by device and inode */
struct name names[MOST];       /* what each name stands for; r and q: received, c: received and not told to the caller */
struct reader readers[MOST];   /* the reading end of each pipe */
int nthings, nnames, nreaders, serial, defects;
long limit = -1, top;

char error[32], files[8192];   /* what the present operation shows */
long value, nfiles, nplain;
unsigned flags_seen;
unsigned char *data;
size_t size;

struct iovec iov[BUFFERS];     /* the message that is being made */
int niov, was_given;
unsigned char *control;
size_t controllen, last_cmsg;

void die(const char *what) { perror(what); exit(4); }
void *more(size_t bytes) { void *p = calloc(1, bytes ? bytes : 1); if (!p) die("calloc"); return p; }

void set_limit(int low)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l)) die("getrlimit");
    l.rlim_cur = (rlim_t)(low && limit >= 0 ? limit : top);
    if (setrlimit(RLIMIT_NOFILE, &l)) die("setrlimit");
}

int is_low(const char *name) { return strchr("tfrc@", name[0]) != NULL; }
int is_open(int number) { return fcntl(number, F_GETFD) >= 0; }

const char *label(int number)
{
    struct stat s;
    if (fstat(number, &s)) return "?";
    for (int i = 0; i < nthings; i++)
        if (things[i].device == s.st_dev && things[i].inode == s.st_ino) return things[i].label;
    return "?";
}

struct name *find(const char *name)
{
    for (int i = 0; i < nnames; i++) if (!strcmp(names[i].name, name)) return &names[i];
    return NULL;
}

/* The number that a name stands for. @g0: the implementation's own number of the thing g0, the newest first. */
int fd(const char *name)
{
    if (name[0] == '@') {
        for (int i = nnames - 1; i >= 0; i--)
            if (names[i].low && !strcmp(label(names[i].number), name + 1)) return names[i].number;
        return NOWHERE;
    }
    struct name *found = find(name);
    return found ? found->number : NOWHERE;
}

void bind_name(const char *name, int number, int low)
{
    struct name *one = find(name);
    struct stat s;
    if (!one) { if (nnames == MOST) die("too many names"); one = &names[nnames++]; }
    memset(one, 0, sizeof *one);
    snprintf(one->name, sizeof one->name, "%s", name);
    one->number = number;
    one->low = low;
    if (!fstat(number, &s)) { one->device = s.st_dev; one->inode = s.st_ino; }
}

const char *errno_name(int number)
{
    static char unknown[24];
    static const struct { int number; const char *name; } known[] = {
        {EPERM, "EPERM"}, {ENOENT, "ENOENT"}, {EINTR, "EINTR"}, {EIO, "EIO"}, {EBADF, "EBADF"}, {EAGAIN, "EAGAIN"},
        {ENOMEM, "ENOMEM"}, {EACCES, "EACCES"}, {EFAULT, "EFAULT"}, {EINVAL, "EINVAL"}, {EMFILE, "EMFILE"},
        {ENFILE, "ENFILE"}, {EPIPE, "EPIPE"}, {ENOTSOCK, "ENOTSOCK"}, {EMSGSIZE, "EMSGSIZE"}, {ESRCH, "ESRCH"},
        {ENOPROTOOPT, "ENOPROTOOPT"}, {EOPNOTSUPP, "EOPNOTSUPP"}, {ECONNRESET, "ECONNRESET"}, {ENOBUFS, "ENOBUFS"},
        {EISCONN, "EISCONN"}, {ENOTCONN, "ENOTCONN"}, {ECONNREFUSED, "ECONNREFUSED"}, {ETOOMANYREFS, "ETOOMANYREFS"},
        {EDESTADDRREQ, "EDESTADDRREQ"}, {ESPIPE, "ESPIPE"}, {EDOM, "EDOM"}, {ERANGE, "ERANGE"}, {E2BIG, "E2BIG"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) if (known[i].number == number) return known[i].name;
    snprintf(unknown, sizeof unknown, "%d", number);
    return unknown;
}

void failed(void) { snprintf(error, sizeof error, "%s", errno_name(errno)); }

int up(int number)
{
    set_limit(0);
    int high = fcntl(number, F_DUPFD_CLOEXEC, LOW);
    if (high < 0) die("F_DUPFD_CLOEXEC");
    close(number);
    return high;
}

/* Give a new descriptor its name, and its place in the table. */
void take(const char *name, int number)
{
    struct stat s;
    if (fstat(number, &s)) die("fstat");
    if (nthings == MOST) die("too many things");
    things[nthings].device = s.st_dev;
    things[nthings].inode = s.st_ino;
    snprintf(things[nthings++].label, sizeof things[0].label, "%s", name);
    int high = up(number);
    if (!is_low(name)) { bind_name(name, high, 0); return; }
    set_limit(1);
    int low = fcntl(high, F_DUPFD_CLOEXEC, 0);
    if (low < 0) failed();
    else bind_name(name, low, 1);
    close(high);
}

void make_pair(int kind, const char *a, const char *b)
{
    int ends[2];
    set_limit(0);
    if (socketpair(AF_UNIX, kind | SOCK_NONBLOCK, 0, ends)) die("socketpair");
    take(a, ends[0]);
    take(b, ends[1]);
}

void make_fifo(const char *name)
{
    int ends[2];
    set_limit(0);
    if (pipe(ends)) die("pipe");
    snprintf(readers[nreaders].name, sizeof readers[0].name, "%s", name);
    readers[nreaders].number = up(ends[0]);
    fcntl(readers[nreaders++].number, F_SETFL, O_NONBLOCK);
    take(name, ends[1]);
}

void make_file(const char *name)
{
    char path[] = "/tmp/script-XXXXXX";
    set_limit(0);
    int number = mkstemp(path);
    if (number < 0) die(path);
    unlink(path);
    take(name, number);
}

void make_socket(const char *name)
{
    int ends[2];
    set_limit(0);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) die("socketpair");
    up(ends[1]);
    take(name, ends[0]);
}

void close_number(int number, int low)
{
    set_limit(low);
    if (close(number)) failed();
    for (int i = 0; i < nnames; i++)
        if (names[i].name[0] == 'c' && names[i].number == number) names[i].number = NOWHERE;
}

void close_name(const char *name)
{
    close_number(fd(name), is_low(name));
    struct name *one = find(name);
    if (one) one->number = NOWHERE;
}

void shut(const char *name, int how) { set_limit(is_low(name)); if (shutdown(fd(name), how)) failed(); }

void set_option(const char *name, int option, int wanted)
{
    if (setsockopt(fd(name), SOL_SOCKET, option, &wanted, sizeof wanted)) failed();
}

/* Let exactly so many numbers be free; -1: as many as at the start. */
void leave_free(int count)
{
    limit = -1;
    if (count < 0) return;
    for (limit = 0; count > 0; limit++) count -= !is_open((int)limit);
}

void ask_released(const char *name)
{
    char byte;
    for (int i = 0; i < nreaders; i++)
        if (!strcmp(readers[i].name, name)) { value = read(readers[i].number, &byte, 1) == 0; return; }
    snprintf(error, sizeof error, "ENOENT");
}

/* A pair is sent over itself, with a pipe beside it: when that hangs up, the kernel has collected. */
void collect(void)
{
    set_limit(0);
    for (int round = 0; round < 2; round++) {
        int ends[2], pipes[2], sent[3];
        union { char bytes[CMSG_SPACE(sizeof sent)]; struct cmsghdr header; } inside;
        struct iovec one = {"x", 1};
        struct msghdr message = {0};
        if (pipe(pipes) || socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) die("collect");
        memset(&inside, 0, sizeof inside);
        message.msg_iov = &one;
        message.msg_iovlen = 1;
        message.msg_control = &inside;
        message.msg_controllen = sizeof inside;
        inside.header.cmsg_len = CMSG_LEN(sizeof sent);
        inside.header.cmsg_level = SOL_SOCKET;
        inside.header.cmsg_type = SCM_RIGHTS;
        sent[0] = ends[0];
        sent[1] = ends[1];
        sent[2] = pipes[1];
        memcpy(CMSG_DATA(&inside.header), sent, sizeof sent);
        if (sendmsg(ends[0], &message, 0) < 0) die("sendmsg");
        for (int i = 0; i < 3; i++) close(sent[i]);
        struct pollfd look = {pipes[0], 0, 0};
        time_t end = time(NULL) + 10;
        while (poll(&look, 1, 5) == 0 && time(NULL) < end) close(socket(AF_UNIX, SOCK_STREAM, 0));
        close(pipes[0]);
    }
}

/* ---- a message is made of pieces and control messages ---- */

void piece(size_t length, const char *pattern, size_t period)
{
    char *bytes = more(length);
    for (size_t i = 0; i < length; i++) bytes[i] = pattern[i % period];
    if (niov == BUFFERS) die("too many buffers");
    iov[niov].iov_base = bytes;
    iov[niov++].iov_len = length;
}

void again(int times) { for (; times > 1 && niov < BUFFERS; times--, niov++) iov[niov] = iov[niov - 1]; }
void buffers(size_t length, int times) { for (; times > 0; times--) { piece(0, "", 1); iov[niov - 1].iov_base = more(length);
    iov[niov - 1].iov_len = length; } }

void cmsg(int level, int type, const void *bytes, size_t length)
{
    size_t whole = sizeof(struct cmsghdr) + ((length + 7) & ~(size_t)7), told = sizeof(struct cmsghdr) + length;
    control = realloc(control, controllen + whole);
    if (!control) die("realloc");
    memset(control + controllen, 0xff, whole);
    memcpy(control + controllen, &told, sizeof told);
    memcpy(control + controllen + 8, &level, sizeof level);
    memcpy(control + controllen + 12, &type, sizeof type);
    if (length) memcpy(control + controllen + 16, bytes, length);
    last_cmsg = controllen;
    controllen += whole;
}

void rights(int count, ...)
{
    int *numbers = more((size_t)count * sizeof *numbers);
    va_list rest;
    va_start(rest, count);
    for (int i = 0; i < count; i++) numbers[i] = va_arg(rest, int);
    va_end(rest);
    cmsg(SOL_SOCKET, SCM_RIGHTS, numbers, (size_t)count * sizeof *numbers);
    free(numbers);
}

void credentials(int pid, unsigned uid, size_t length)
{
    struct ucred own = {pid < 0 ? getpid() : pid, uid, getgid()};
    cmsg(SOL_SOCKET, SCM_CREDENTIALS, &own, length);
}

void wrong_length(unsigned long long length) { memcpy(control + last_cmsg, &length, sizeof length); }

void control_length(size_t length)
{
    control = realloc(control, length + 1);
    if (!control) die("realloc");
    if (length > controllen) memset(control + controllen, 0xff, length - controllen);
    controllen = length;
}

void forget_message(void)
{
    niov = 0;
    controllen = 0;
}

void sent(ssize_t count)
{
    if (count < 0) failed();
    else { error[0] = 0; value = (value < 0 ? 0 : value) + count; }
    forget_message();
}

void send_message(const char *name, unsigned flags)
{
    struct msghdr message = {0};
    set_limit(is_low(name));
    message.msg_iov = iov;
    message.msg_iovlen = (size_t)niov;
    message.msg_control = controllen ? control : NULL;
    message.msg_controllen = controllen;
    sent(sendmsg(fd(name), &message, (int)(flags | MSG_DONTWAIT | MSG_NOSIGNAL)));
}

void write_message(const char *name) { set_limit(is_low(name)); sent(writev(fd(name), iov, niov)); }

void came(ssize_t length)
{
    size_t left = (size_t)length;
    error[0] = 0;
    for (int i = 0; i < niov && left; i++) {
        size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;
        data = realloc(data, size + part + 1);
        if (!data) die("realloc");
        memcpy(data + size, iov[i].iov_base, part);
        size += part;
        left -= part;
    }
}

void show_file(const char *thing, int number)
{
    size_t used = strlen(files);
    snprintf(files + used, sizeof files - used, "%s%s", used ? " " : "", thing);
    nfiles++;
    if (number >= 0) nplain += !(fcntl(number, F_GETFD) & FD_CLOEXEC);
}

/* room < 0: a null msg_control. */
void receive_message(const char *name, long room, unsigned flags, const char *prefix)
{
    struct msghdr message = {0};
    unsigned char *inside = more(room > 0 ? (size_t)room : 0);
    int index = 0;
    set_limit(is_low(name));
    message.msg_iov = iov;
    message.msg_iovlen = (size_t)niov;
    message.msg_control = room < 0 ? NULL : inside;
    message.msg_controllen = room < 0 ? 0 : (size_t)room;
    ssize_t length = recvmsg(fd(name), &message, (int)(flags | MSG_DONTWAIT));
    if (length < 0) { failed(); forget_message(); free(inside); return; }
    came(length);
    flags_seen |= (unsigned)message.msg_flags & 0xBFFFFFFFU;
    for (size_t at = 0; at + 16 <= message.msg_controllen;) {
        size_t told;
        int level, type, number;
        memcpy(&told, inside + at, sizeof told);
        memcpy(&level, inside + at + 8, sizeof level);
        memcpy(&type, inside + at + 12, sizeof type);
        if (told < 16 || told > message.msg_controllen - at) break;
        for (size_t i = 16; level == SOL_SOCKET && type == SCM_RIGHTS && i + 4 <= told; i += 4) {
            char mine[16];
            memcpy(&number, inside + at + i, sizeof number);
            if (prefix[0]) snprintf(mine, sizeof mine, "%.8s%d", prefix, index++);
            else snprintf(mine, sizeof mine, "c%d", serial++);
            show_file(label(number), number);
            bind_name(mine, is_low(name) ? number : up(number), is_low(name));
        }
        at += (told + 7) & ~(size_t)7;
    }
    free(inside);
    forget_message();
}

void read_message(const char *name)
{
    set_limit(is_low(name));
    ssize_t length = readv(fd(name), iov, niov);
    if (length < 0) failed();
    else came(length);
    forget_message();
}

void recv_message(const char *name, unsigned flags)
{
    set_limit(is_low(name));
    ssize_t length = recv(fd(name), iov[0].iov_base, iov[0].iov_len, (int)(flags | MSG_DONTWAIT));
    if (length < 0) failed();
    else came(length);
    forget_message();
}

void set_cloexec(const char *name, int on) { if (fcntl(fd(name), F_SETFD, on ? FD_CLOEXEC : 0)) failed(); }

void duplicate(const char *name, int cloexec)
{
    char mine[16];
    set_limit(1);
    int number = fcntl(fd(name), cloexec ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
    if (number < 0) { failed(); return; }
    snprintf(mine, sizeof mine, "c%d", serial++);
    bind_name(mine, number, 1);
}

void give_away(const char *name)
{
    struct name *one = find(name);
    if (one) snprintf(one->name, sizeof one->name, "c%d", serial++);
}

/* The caller is told of the received descriptors that refer to these things; the rest it does not know of. */
void begin_handing_over(void) { files[0] = 0; nfiles = nplain = 0; }

void hand_over(const char *mine, const char *thing)
{
    for (int i = 0; i < nnames; i++) {
        if (names[i].name[0] != 'c' || !is_open(names[i].number) || strcmp(label(names[i].number), thing)) continue;
        show_file(thing, names[i].number);
        snprintf(names[i].name, sizeof names[i].name, "%s", mine);
        return;
    }
    show_file("?", -1);
}
""".strip("\n").replace("@LOW@", str(LOW))
