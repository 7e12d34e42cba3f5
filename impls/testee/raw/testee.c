/*
 * The raw testee: a kernel's sendmsg and recvmsg, and the calls around them, asked in the testee protocol.
 *
 *     cc -O2 -o testee testee.c
 *
 * One translation unit in several files, C11, nothing but a libc and Linux: so that one command builds it with any compiler
 * for any architecture. Requests come on standard input and replies go to standard output, one JSON object a line; the
 * manual page is docs/testee-protocol.md. It reports and never judges.
 *
 * base.c       memory of a request, how one fails, text
 * json.c       the parser
 * values.c     names and numbers, references, fields
 * sockets.c    sockets, files, options, limits, the census
 * memory.c     memory at its places
 * message.c    sendmsg and recvmsg
 * processes.c  forked children
 * calls.c      every other system call
 */

#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif

static bool is_big_endian(void) {
  const union {
    unsigned short number;
    unsigned char bytes[2];
  } one = {.number = 1};
  return one.bytes[1] == 1;
}

#include "base.c"
#include "json.c"
#include "values.c"
#include "sockets.c"
#include "memory.c"
#include "message.c"
#include "processes.c"
#include "calls.c"

/* --- hello and reset ---------------------------------------------------------------------------------------------- */

#define TEXT_OF(VALUE) #VALUE
#define VERSION(MAJOR, MINOR, PATCH) TEXT_OF(MAJOR) "." TEXT_OF(MINOR) "." TEXT_OF(PATCH)
#ifdef __clang__
#define COMPILER "clang " VERSION(__clang_major__, __clang_minor__, __clang_patchlevel__)
#elif defined(__GNUC__)
#define COMPILER "gcc " VERSION(__GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__)
#else
#define COMPILER "cc"
#endif

#ifdef STATIC_MUSL
extern const char __libc_version[]; /* what a program that is linked statically can see of it */
#endif

static const char *libc_name(void) {
#if defined(__GLIBC__)
  return "glibc";
#elif defined(__dietlibc__)
  return "dietlibc";
#elif defined(__UCLIBC__)
  return "uclibc";
#else
  return "musl";
#endif
}

static const char *libc_version(void) {
#if defined(__GLIBC__)
  return gnu_get_libc_version();
#elif defined(STATIC_MUSL)
  return __libc_version;
#else
  return "unknown";
#endif
}

static void op_hello(const struct node *request) {
  struct node *told = member(request, "constants");
  struct utsname system;
  if (integer_or(request, "version", 1) < 1) malformed("field version: 1 or later was expected");
  if (told && told->kind != OBJECT) malformed("field constants: an object was expected");
  if (told) learn(told->begin, (size_t)(told->end - told->begin));
  if (uname(&system) < 0) checked(-1, -1, "uname");
  put("{\"version\":1,\"implementation\":{\"name\":\"Linux\",\"version\":");
  put_text(system.release);
  put(",\"language\":\"C\",\"runtime\":\"" COMPILER ", ");
  put(system.machine);
  put(sizeof(void *) == 4 ? ", 32 bits\",\"links\":{\"" : ", 64 bits\",\"links\":{\"");
  put(libc_name());
  put("\":");
  put_text(libc_version());
  put("}},\"profiles\":{\"raw\":{\"types\":[\"stream\",\"dgram\",\"seqpacket\"],\"capabilities\":[\"many\",\"protection\","
      "\"alarm\",\"calls\"],\"limits\":{");
  put_number("word", sizeof(size_t));
  put_number("header", CMSG_LEN(0));
  put_number("align", CMSG_SPACE(1) - CMSG_SPACE(0));
  put_number("int", sizeof(int));
  put_number("big", is_big_endian());
  put("}}},\"capabilities\":[\"steps\",\"options\",\"listen\",\"pair\",\"limit\",\"fork\",\"make\",\"census\",\"zero\"]}");
}

/* Standard input and output of a case are /dev/null: it may close them, and receive onto their numbers. */
static void plug(void) {
  for (int fd = 0; fd < 2; fd++) {
    if (fcntl(fd, F_GETFD) >= 0) continue;
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || null == fd) continue;
    dup2(null, fd);
    close(null);
  }
}

static void op_reset(const struct node *request) {
  const struct node *list = list_field(request, "close");
  for (const struct node *one = list->first; one; one = one->next) as_integer(one, "close");
  kill_children();
  restore_limits();
  put("{\"failed\":[");
  for (const struct node *one = list->first; one; one = one->next) {
    int64_t fd = as_integer(one, "close");
    bool fits = fd >= INT_MIN && fd <= INT_MAX, ours = fits && forget((int)fd);
    if ((fits && close((int)fd) == 0) || ours) continue;
    put(out.at[out.size - 1] == '[' ? "{" : ",{");
    put_number("fd", fd);
    put_errno(fits ? errno : EBADF);
    put("}");
  }
  put("]}");
  while (kept.count) close(kept.fds[--kept.count]);
  plug();
}

/* --- the conversation --------------------------------------------------------------------------------------------- */

static void op_steps(const struct node *request);

static const struct {
  const char *name;
  void (*answer)(const struct node *);
} operations[] = {
    {"raw_recvmsg", op_raw_recvmsg}, {"raw_sendmsg", op_raw_sendmsg}, {"raw_call", op_raw_call}, {"steps", op_steps},
    {"reset", op_reset},             {"pair", op_pair},               {"open", op_open},         {"close", op_close},
    {"setopt", op_setopt},           {"getopt", op_getopt},           {"shutdown", op_shutdown}, {"connect", op_connect},
    {"listen", op_listen},           {"accept", op_accept},           {"fork", op_fork},         {"in", op_in},
    {"collect", op_collect},         {"wait", op_wait},               {"limit", op_limit},       {"make", op_make},
    {"census", op_census},           {"hello", op_hello},
};

static void carry_out(const struct node *request) {
  struct node *op = member(request, "op");
  if (!op || op->kind != TEXT) malformed("the field op is missing, or no text");
  for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
    if (!is_text(op, operations[i].name)) continue;
    put("\"result\":");
    operations[i].answer(request);
    return;
  }
  unsupported("the operation %.*s was not declared", (int)(op->size < 80 ? op->size : 80), op->text);
}

static void put_fault(void) {
  if (!fault.type) {
    put("\"unsupported\":");
    put_text(fault.message);
    return;
  }
  put("\"error\":{\"type\":");
  put_text(fault.type);
  put(",\"message\":");
  put_text(fault.message);
  if (fault.number) put_errno(fault.number);
  put("}");
}

/* Write the reply to `request`, without its id and without braces; tell whether it is a result. */
static bool answer(const struct node *request) {
  jmp_buf here, *const before = rescue;
  struct steps *const outer = steps;
  const size_t start = out.size;
  const struct mark mark = arena_mark();
  bool volatile done = false;
  rescue = &here;
  if (setjmp(here) == 0) {
    carry_out(request);
    done = true;
  }
  rescue = before;
  steps = outer;
  disarm();
  release_pages();
  if (!done) {
    out.size = start;
    put_fault();
  }
  arena_release(mark);
  return done;
}

static void op_steps(const struct node *request) {
  const struct node *list = field(request, "steps");
  bool go_on = flag_field(request, "go_on");
  if (steps) malformed("steps do not nest");
  if (list->kind != LIST) malformed("field steps: a list was expected");
  for (const struct node *one = list->first; one; one = one->next)
    if (one->kind != OBJECT) malformed("field steps: a list of requests was expected");
  struct steps these = {.at = alloc(list->size * sizeof *these.at)};
  steps = &these;
  put("{\"replies\":[");
  for (const struct node *one = list->first; one; one = one->next) {
    if (these.count) put(",");
    size_t begin = out.size;
    put("{");
    bool done = answer(one);
    put("}");
    these.at[these.count].begin = begin;
    these.at[these.count++].end = out.size;
    if (!done && !go_on) break;
  }
  put("]}");
  steps = NULL;
}

/* Answer a request; `problem` is why there is none. */
static void respond(int64_t id, const struct node *request, const char *problem) {
  jmp_buf here;
  channel.id = id;
  out.size = 0;
  put("{\"id\":");
  put_int(id);
  put(",");
  const size_t head = out.size;
  rescue = &here;
  if (setjmp(here) == 0) {
    if (!request) malformed("the line is no JSON: %s", problem);
    answer(request);
  } else {
    out.size = head;
    put_fault();
  }
  rescue = NULL;
  grow(&out, 2);
  memcpy(out.at + out.size, "}\n", 2);
  if (!write_all(channel.out, out.at, out.size + 2)) _exit(0); /* nobody listens any more */
  emptied(&out);
}

/* Answer one line; one without an id goes to standard error, since nobody could tell what a reply is for. */
static void answer_line(const char *line, size_t size) {
  struct parser parser = {.at = line, .end = line + size};
  const struct node *request = parse(&parser), *id = parser.whole ? member(parser.whole, "id") : NULL;
  if (id && id->kind == INTEGER && id->exact) {
    respond(id->number, request, parser.problem);
    return;
  }
  dprintf(2, "raw testee: a line that is no request (%s): %.*s\n", parser.problem ? parser.problem : "no id",
          (int)(size < 200 ? size : 200), line);
}

/* Answer every request until the input ends. */
static void serve(void) {
  struct text input = {0};
  struct mark mark = arena_mark();
  size_t begin = 0, searched = 0;
  bool skipping = false;
  for (;;) {
    char *end = input.size > searched ? memchr(input.at + searched, '\n', input.size - searched) : NULL;
    if (end) {
      if (skipping)
        dprintf(2, "raw testee: a line of more than 16 MiB\n");
      else
        answer_line(input.at + begin, (size_t)(end - input.at) - begin);
      skipping = false;
      arena_release(mark);
      begin = searched = (size_t)(end - input.at) + 1;
      if (begin == input.size) {
        emptied(&input);
        begin = searched = 0;
      }
      continue;
    }
    if (begin) memmove(input.at, input.at + begin, input.size - begin);
    input.size -= begin;
    begin = 0;
    if (input.size > MAX_LINE) {
      skipping = true;
      input.size = 0;
    }
    searched = input.size;
    grow(&input, 65536);
    ssize_t size = read(channel.in, input.at + input.size, input.room - input.size);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    input.size += (size_t)size;
  }
  free(input.at);
}

int main(int count, char **arguments) {
  page = (size_t)sysconf(_SC_PAGESIZE);
  watch_signals();
  learn("", 0);
  if (count == 6 && strcmp(arguments[1], "--resume") == 0) {
    channel = (struct channel){.in = atoi(arguments[2]), .out = atoi(arguments[3]), .forked = true};
    fcntl(channel.in, F_SETFD, FD_CLOEXEC);
    fcntl(channel.out, F_SETFD, FD_CLOEXEC);
    learn(arguments[5], strlen(arguments[5]));
    char reply[64];
    int size = snprintf(reply, sizeof reply, "{\"id\":%s,\"result\":{\"returned\":0}}\n", arguments[4]);
    write_all(channel.out, reply, (size_t)size);
  } else if (count == 1) {
    channel.in = fcntl(0, F_DUPFD_CLOEXEC, high_number());
    channel.out = fcntl(1, F_DUPFD_CLOEXEC, high_number());
    if (channel.in < 0 || channel.out < 0) die("standard input and output");
    close(0);
    close(1);
    plug();
  } else {
    dprintf(2, "usage: %s, with requests on standard input\n", arguments[0]);
    return 2;
  }
  serve();
  free(constants_text);
  free(kept.fds);
  free(ranges.at);
  free(out.at);
  arena_release((struct mark){0});
  return 0;
}
