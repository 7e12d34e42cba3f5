/* Forked children: they answer requests as the testee does, each over a pair of pipes of its own. */

enum { MOST_CHILDREN = 32, GRACE = 1000 /* milliseconds that a child has to end by itself */ };

static struct channel {
  int in, out;
  bool forked; /* in a child */
  int64_t id;  /* of the request that is being answered */
} channel;

struct child {
  int64_t number; /* 0: a free slot */
  pid_t pid;
  int to, from;        /* our ends of its pipes */
  int its_in, its_out; /* its own ends, where it shares the table of descriptors with us; else -1 */
  bool pending;        /* a reply that nobody collected yet */
  bool ended;
  int code;
  struct text reply;
};

static struct child children[MOST_CHILDREN];
static int64_t last_number;

static void serve(void);

/* The lowest number from which on the testee keeps descriptors of its own, out of the way of those that are received. */
static int high_number(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) die("getrlimit");
  return limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > 960 ? 900 : limit.rlim_cur > 64 ? (int)limit.rlim_cur - 32 : 10;
}

static int moved_up(int fd) {
  int high = fcntl(fd, F_DUPFD_CLOEXEC, high_number()), number = errno;
  close(fd);
  errno = number;
  return high;
}

static bool write_all(int fd, const char *at, size_t size) {
  while (size) {
    ssize_t done = write(fd, at, size);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return false;
    at += done;
    size -= (size_t)done;
  }
  return true;
}

/* poll(2) of one descriptor, which refuses even that one where the case has set RLIMIT_NOFILE to 0. */
static int poll_one(struct pollfd *one, int milliseconds) {
  int found = poll(one, 1, milliseconds);
  if (found >= 0 || errno != EINVAL) return found;
  struct rlimit before = make_room();
  found = poll(one, 1, milliseconds);
  restore_room(&before);
  return found;
}

/* --- ending ------------------------------------------------------------------------------------------------------- */

/* Take the child's exit code if it has ended. */
static bool reap(struct child *child, int options) {
  int status;
  pid_t found;
  if (child->ended) return true;
  do found = waitpid(child->pid, &status, options);
  while (found < 0 && errno == EINTR);
  if (found == 0) return false;
  child->ended = true;
  child->code = found < 0 ? 0 : WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  return true;
}

static void drop_child(struct child *child) {
  int fds[] = {child->to, child->from, child->its_in, child->its_out};
  for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
    if (fds[i] >= 0) close(fds[i]);
  free(child->reply.at);
  *child = (struct child){0};
}

static void kill_children(void) {
  for (size_t i = 0; i < MOST_CHILDREN; i++) {
    struct child *child = &children[i];
    if (!child->number) continue;
    if (!child->ended) kill(child->pid, SIGKILL);
    reap(child, 0);
    drop_child(child);
  }
  last_number = 0;
}

static struct child *child_of(const struct node *request) {
  int64_t number = as_integer(field(request, "process"), "process");
  for (size_t i = 0; i < MOST_CHILDREN; i++)
    if (number && children[i].number == number) return &children[i];
  malformed("field process: no child has the number %lld", (long long)number);
}

static void op_wait(const struct node *request) {
  struct child *child = child_of(request);
  struct pollfd end = {.fd = child->from, .events = 0};
  close(child->to);
  child->to = -1;
  for (int waited = 0; !reap(child, WNOHANG); waited++) {
    if (waited == GRACE) kill(child->pid, SIGKILL);
    if (waited >= GRACE) {
      reap(child, 0);
    } else if (end.revents & (POLLHUP | POLLERR)) {
      poll(NULL, 0, 1); /* its end is closed, it is about to end */
    } else {
      poll_one(&end, 1);
    }
  }
  int code = child->code;
  drop_child(child);
  put("{");
  put_number("code", code);
  put("}");
}

/* Wait for something to read from the child; false where it has ended and left nothing. */
static bool await_child(struct child *child) {
  struct pollfd one = {.fd = child->from, .events = POLLIN};
  int patience = child->its_in < 0 ? -1 : 20; /* one that shares our table of descriptors never hangs up */
  for (;;) {
    int found = poll_one(&one, patience);
    if (found < 0 && errno != EINTR) die("poll");
    if (found > 0) return one.revents & POLLIN;
    if (found == 0 && reap(child, WNOHANG)) return poll_one(&one, 0) > 0 && one.revents & POLLIN;
  }
}

/* --- forking ------------------------------------------------------------------------------------------------------ */

struct wish {
  int64_t user, group; /* -1: as we are */
  const struct node *limits;
  bool files;
};

/* What a child says first: errno and the call that failed, or zeros. */
struct greeting {
  int number;
  char what[12];
};

/* Become what the request asks for. */
static struct greeting become(const struct wish *wish) {
#define UNLESS_DONE(CALL, WHAT)                                                                                        \
  if ((CALL) < 0) return (struct greeting){errno, WHAT}
  bool other = wish->user >= 0 || wish->group >= 0;
  if (other && geteuid() == 0) UNLESS_DONE(setgroups(0, NULL), "setgroups");
  if (wish->group >= 0) UNLESS_DONE(setresgid((gid_t)wish->group, (gid_t)wish->group, (gid_t)wish->group), "setresgid");
  if (wish->user >= 0) UNLESS_DONE(setresuid((uid_t)wish->user, (uid_t)wish->user, (uid_t)wish->user), "setresuid");
  if (other) UNLESS_DONE(prctl(PR_SET_DUMPABLE, 1), "prctl"); /* its /proc stays its own */
  for (const struct node *one = wish->limits->first; one; one = one->next)
    UNLESS_DONE(set_soft(limits[limit_index(one->name, one->name_size)].value, one->number), "setrlimit");
#undef UNLESS_DONE
  return (struct greeting){0};
}

/* The child's life, from the fork to its end. fds[0] and fds[1] are its own. */
static _Noreturn void live(const struct wish *wish, pid_t parent, const int fds[4], const struct rlimit *room) {
  for (size_t i = 0; i < MOST_CHILDREN; i++) {
    if (children[i].number && !wish->files) drop_child(&children[i]);
    children[i] = (struct child){0};
  }
  if (wish->files) {
    kept.count = 0; /* the table is the parent's too, and what it made is the parent's to close */
  } else {
    close(channel.in);
    close(channel.out);
    close(fds[2]);
    close(fds[3]);
  }
  last_number = 0;
  memset(limit_changed, 0, sizeof limit_changed);
  channel = (struct channel){.in = fds[0], .out = fds[1], .forked = true};
  rescue = NULL;
  steps = NULL;
  restore_room(room);
  struct greeting greeting = become(wish);
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent) _exit(70); /* last: another user is another parent's child */
  if (!write_all(channel.out, (char *)&greeting, sizeof greeting) || greeting.number) _exit(71);
  serve();
  _exit(0);
}

static pid_t forked(bool files) {
  if (!files) return fork();
#ifdef __s390__
  return (pid_t)syscall(SYS_clone, 0, CLONE_FILES | SIGCHLD, NULL, NULL, 0);
#else
  return (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, NULL, NULL, 0);
#endif
}

/* Two pipes at high numbers: fds[0] and fds[1] are the child's, fds[2] and fds[3] ours. */
static bool pipes(int fds[4]) {
  int to[2], from[2];
  if (pipe2(to, O_CLOEXEC) < 0) return false;
  if (pipe2(from, O_CLOEXEC) < 0) {
    int number = errno;
    close(to[0]);
    close(to[1]);
    errno = number;
    return false;
  }
  int made_of[] = {to[0], from[1], to[1], from[0]}, failed = 0;
  for (size_t i = 0; i < 4; i++) {
    fds[i] = moved_up(made_of[i]);
    if (fds[i] < 0) failed = errno;
  }
  for (size_t i = 0; failed && i < 4; i++)
    if (fds[i] >= 0) close(fds[i]);
  errno = failed;
  return !failed;
}

static void op_fork(const struct node *request) {
  static const struct node no_limits = {.kind = OBJECT};
  struct node *user = member(request, "user"), *group = member(request, "group"), *told = member(request, "limits");
  struct wish wish = {-1, -1, told ? told : &no_limits, flag_field(request, "files")};
  if (user && user->kind != NOTHING) wish.user = as_int(user, "user");
  if (group && group->kind != NOTHING) wish.group = as_int(group, "group");
  if (wish.limits->kind != OBJECT) malformed("field limits: an object was expected");
  for (const struct node *one = wish.limits->first; one; one = one->next) {
    limit_index(one->name, one->name_size);
    if (one->kind != INTEGER || !one->exact) malformed("field limits: whole numbers were expected");
  }
  struct child *child = children;
  while (child < children + MOST_CHILDREN && child->number) child++;
  if (child == children + MOST_CHILDREN) malformed("more than %d children at a time", MOST_CHILDREN);

  struct rlimit room = make_room();
  int fds[4];
  if (!pipes(fds)) {
    restore_room(&room);
    checked(-1, -1, "pipe2");
  }
  pid_t parent = getpid(), pid = forked(wish.files);
  if (pid == 0) live(&wish, parent, fds, &room);
  restore_room(&room);
  int number = errno;
  *child = (struct child){.number = 1, .pid = pid, .to = fds[2], .from = fds[3], .its_in = fds[0], .its_out = fds[1]};
  if (pid < 0) {
    drop_child(child);
    refused(number, "fork: %s", strerror(number));
  }
  if (!wish.files) {
    close(fds[0]);
    close(fds[1]);
    child->its_in = child->its_out = -1;
  }
  struct greeting greeting = {.number = ECHILD, .what = "fork"};
  if (await_child(child) && read(child->from, &greeting, sizeof greeting) == sizeof greeting && !greeting.number) {
    child->number = ++last_number;
    put("{");
    put_number("process", child->number);
    put_number("pid", pid);
    put("}");
    return;
  }
  reap(child, 0);
  drop_child(child);
  refused(greeting.number, "%s: %s", greeting.what, strerror(greeting.number));
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

static void write_reference(struct text *text, const struct node *node) {
  char digits[24];
  grow(text, sizeof digits);
  text->size += (size_t)snprintf(text->at + text->size, sizeof digits, "%lld", (long long)refer(node));
}

static void append(struct text *text, const char *from, const char *end) {
  size_t size = (size_t)(end - from);
  grow(text, size);
  memcpy(text->at + text->size, from, size);
  text->size += size;
}

/* Copy the JSON of `node` from `*at` on, with references as the numbers that they stand for; `*at` ends behind it. */
static void copy_resolved(struct text *text, const struct node *node, const char **at) {
  if (is_reference(node)) {
    append(text, *at, node->begin);
    write_reference(text, node);
    *at = node->end;
  }
  for (const struct node *one = node->first; one; one = one->next) copy_resolved(text, one, at);
}

/* The line for a child: its references are those of our steps, unless it is `steps` and has its own. */
static struct text forwarded(const struct node *request) {
  struct text line = {0};
  const char *at = request->begin;
  const struct node *op = member(request, "op");
  if (!op || !is_text(op, "steps")) copy_resolved(&line, request, &at);
  append(&line, at, request->end);
  line.size--; /* the closing brace */
  static const char first[] = "\"id\":0}\n", more[] = ",\"id\":0}\n";
  const char *tail = request->size ? more : first;
  append(&line, tail, tail + strlen(tail));
  return line;
}

static _Noreturn void child_ended(struct child *child) {
  reap(child, 0);
  if (child->code < 0) child_failed("process %lld was ended by signal %d", (long long)child->number, -child->code);
  child_failed("process %lld ended with exit code %d", (long long)child->number, child->code);
}

/* Write the reply of a child, without its id, as the field `reply`. */
static void put_reply(struct child *child) {
  static const char head[] = "{\"id\":0,";
  struct text *reply = &child->reply;
  emptied(reply);
  do {
    grow(reply, 65536);
    if (!await_child(child)) child_ended(child);
    ssize_t size = read(child->from, reply->at + reply->size, reply->room - reply->size);
    if (size <= 0) child_ended(child);
    reply->size += (size_t)size;
  } while (reply->at[reply->size - 1] != '\n');
  child->pending = false;
  put("{\"reply\":{");
  put_bytes(reply->at + sizeof head - 1, reply->size - sizeof head); /* without the line's end */
  put("}");
}

static void op_in(const struct node *request) {
  struct child *child = child_of(request);
  const struct node *asked = field(request, "request");
  bool later = flag_field(request, "later");
  if (asked->kind != OBJECT) malformed("field request: an object was expected");
  if (child->pending) malformed("process %lld has a reply that was not collected", (long long)child->number);
  struct text line = forwarded(asked);
  bool written = write_all(child->to, line.at, line.size);
  free(line.at);
  if (!written) child_ended(child);
  child->pending = true;
  if (later)
    put("{}");
  else
    put_reply(child);
}

static void op_collect(const struct node *request) {
  struct child *child = child_of(request);
  if (!child->pending) malformed("process %lld has no reply to be collected", (long long)child->number);
  put_reply(child);
}

/* --- execve ------------------------------------------------------------------------------------------------------- */

/* Begin anew in the same process: the new image answers the request that asked for it. */
static void replace_image(void) {
  char in[16], out_number[16], id[24], name[] = "testee", mark[] = "--resume", none[] = "";
  if (!channel.forked || steps) malformed("raw_call execve: only in a forked child, and not within steps");
  snprintf(in, sizeof in, "%d", channel.in);
  snprintf(out_number, sizeof out_number, "%d", channel.out);
  snprintf(id, sizeof id, "%lld", (long long)channel.id);
  char *told = alloc(constants_size + 1);
  memcpy(told, constants_text ? constants_text : none, constants_size);
  told[constants_size] = 0;
  char *arguments[] = {name, mark, in, out_number, id, told, NULL};
  fcntl(channel.in, F_SETFD, 0);
  fcntl(channel.out, F_SETFD, 0);
  execv("/proc/self/exe", arguments);
  int number = errno;
  fcntl(channel.in, F_SETFD, FD_CLOEXEC);
  fcntl(channel.out, F_SETFD, FD_CLOEXEC);
  put_returned(-1, number);
  put("}");
}
