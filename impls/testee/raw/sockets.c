/* What every testee answers about sockets and files, and the parts of it that kernels need. */

/* Sockets that connect, listen, accept, pair and make made, and that reset closes. */
static struct {
  int *fds;
  size_t count, room;
} kept;

static int keep(int fd) {
  for (size_t i = 0; i < kept.count; i++)
    if (kept.fds[i] == fd) return fd;
  if (kept.count == kept.room) {
    size_t room = kept.room ? kept.room * 2 : 64;
    int *fds = realloc(kept.fds, room * sizeof *fds);
    if (!fds) die("no memory");
    kept.fds = fds;
    kept.room = room;
  }
  return kept.fds[kept.count++] = fd;
}

/* Forget a number; tell whether it was known. */
static bool forget(int fd) {
  for (size_t i = 0; i < kept.count; i++) {
    if (kept.fds[i] != fd) continue;
    kept.fds[i] = kept.fds[--kept.count];
    return true;
  }
  return false;
}

/* Return `fd`, or fail the request with errno. `fd2` is closed then. */
static int checked(int result, int fd, const char *what) {
  if (result >= 0) return result;
  int number = errno;
  if (fd >= 0) close(fd);
  refused(number, "%s: %s", what, strerror(number));
}

static int new_socket(const struct node *request) {
  return checked(socket(AF_UNIX, socket_type(request) | SOCK_CLOEXEC, 0), -1, "socket");
}

static void answer_fd(int fd) {
  put("{");
  put_number("fd", fd);
  put("}");
}

static void op_connect(const struct node *request) {
  struct address to = as_address(field(request, "address"), "address"), from;
  struct node *bind_to = member(request, "bind");
  if (bind_to) from = as_address(bind_to, "bind");
  int fd = new_socket(request);
  if (bind_to) checked(bind(fd, &from.at.any, from.size), fd, "bind");
  if (to.size > offsetof(struct sockaddr_un, sun_path)) checked(connect(fd, &to.at.any, to.size), fd, "connect");
  answer_fd(keep(fd));
}

static void op_listen(const struct node *request) {
  struct address at = as_address(field(request, "address"), "address");
  int64_t backlog = integer_or(request, "backlog", 8);
  int fd = new_socket(request);
  checked(bind(fd, &at.at.any, at.size), fd, "bind");
  if (socket_type(request) != SOCK_DGRAM) checked(listen(fd, (int)backlog), fd, "listen");
  answer_fd(keep(fd));
}

static void op_accept(const struct node *request) {
  struct address peer = {.size = sizeof peer.at};
  int listener = int_field(request, "fd"), fd;
  do fd = accept4(listener, &peer.at.any, &peer.size, SOCK_CLOEXEC);
  while (fd < 0 && errno == EINTR);
  checked(fd, -1, "accept");
  keep(fd);
  put("{");
  put_number("fd", fd);
  put_key("address");
  char name[sizeof peer.at + 1] = "";
  size_t head = offsetof(struct sockaddr_un, sun_path);
  if (peer.size > head) memcpy(name, peer.at.bytes + head, peer.size - head);
  if (peer.size > head && !name[0]) name[0] = '@';
  put_text(name);
  put("}");
}

static void op_pair(const struct node *request) {
  int fds[2];
  checked(socketpair(AF_UNIX, socket_type(request) | SOCK_CLOEXEC, 0, fds), -1, "socketpair");
  put("{\"fds\":[");
  put_int(keep(fds[0]));
  put(",");
  put_int(keep(fds[1]));
  put("]}");
}

static void op_open(const struct node *request) {
  char *path = c_text(text_field(request, "path"), "path");
  answer_fd(checked(open(path, flags_or(request, "flags", O_RDONLY) | O_CLOEXEC, 0600), -1, "open"));
}

static void op_close(const struct node *request) {
  int fd = int_field(request, "fd");
  forget(fd);
  checked(close(fd), -1, "close");
  put("{}");
}

static bool is_blocking_mode(const struct node *request) {
  if (!is_text(field(request, "level"), "fcntl")) return false;
  if (!is_text(field(request, "option"), "O_NONBLOCK")) malformed("level fcntl has the option O_NONBLOCK only");
  return true;
}

static void op_setopt(const struct node *request) {
  int fd = int_field(request, "fd"), value = int_field(request, "value");
  if (is_blocking_mode(request)) {
    int flags = checked(fcntl(fd, F_GETFL), -1, "fcntl");
    checked(fcntl(fd, F_SETFL, value ? flags | O_NONBLOCK : flags & ~O_NONBLOCK), -1, "fcntl");
  } else {
    int level = constant_field(request, "level"), option = constant_field(request, "option");
    checked(setsockopt(fd, level, option, &value, sizeof value), -1, "setsockopt");
  }
  put("{}");
}

static void op_getopt(const struct node *request) {
  int fd = int_field(request, "fd"), value = 0;
  if (is_blocking_mode(request)) {
    value = checked(fcntl(fd, F_GETFL), -1, "fcntl") & O_NONBLOCK ? 1 : 0;
  } else {
    socklen_t size = sizeof value;
    int level = constant_field(request, "level"), option = constant_field(request, "option");
    checked(getsockopt(fd, level, option, &value, &size), -1, "getsockopt");
  }
  put("{");
  put_number("value", value);
  put("}");
}

static void op_shutdown(const struct node *request) {
  int fd = int_field(request, "fd");
  checked(shutdown(fd, constant_field(request, "how")), -1, "shutdown");
  put("{}");
}

static void make_file(const char *path, struct octets data) {
  int fd = checked(open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), -1, "open");
  while (data.size) {
    ssize_t done = write(fd, data.at, data.size);
    if (done < 0 && errno == EINTR) continue;
    checked(done < 0 ? -1 : 0, fd, "write");
    data.at += done;
    data.size -= (size_t)done;
  }
  close(fd);
}

static void op_make(const struct node *request) {
  const struct node *kind = text_field(request, "kind"), *data = member(request, "data");
  struct node *named = text_field(request, "path");
  char *path = c_text(named, "path");
  struct octets content = {0};
  if (data) content = as_octets(data, "data");
  if (is_text(kind, "file")) {
    make_file(path, content);
  } else if (is_text(kind, "fifo")) {
    checked(mkfifo(path, 0600), -1, "mkfifo");
  } else if (is_text(kind, "socket")) {
    struct address at = as_address(named, "path");
    int fd = checked(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), -1, "socket");
    checked(bind(fd, &at.at.any, at.size), fd, "bind");
    checked(listen(fd, 8), fd, "listen");
    keep(fd);
  } else {
    malformed("field kind: file, fifo or socket was expected");
  }
  put("{}");
}

/* --- limits ------------------------------------------------------------------------------------------------------- */

static struct rlimit first_limits[sizeof limits / sizeof *limits]; /* before `limit` changed them */
static bool limit_changed[sizeof limits / sizeof *limits];

static size_t limit_index(const char *name, size_t size) {
  for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
    if (strlen(limits[i].name) == size && memcmp(limits[i].name, name, size) == 0) return i;
  malformed("no resource limit of this platform: %.*s", (int)(size < 80 ? size : 80), name);
}

static int set_soft(int resource, int64_t soft) {
  struct rlimit limit;
  if (getrlimit(resource, &limit) < 0) return -1;
  limit.rlim_cur = soft < 0 ? RLIM_INFINITY : (rlim_t)soft;
  return setrlimit(resource, &limit);
}

static void op_limit(const struct node *request) {
  const struct node *name = text_field(request, "resource");
  size_t i = limit_index(name->text, name->size);
  int64_t soft = as_integer(field(request, "soft"), "soft");
  struct rlimit before;
  checked(getrlimit(limits[i].value, &before), -1, "getrlimit");
  checked(set_soft(limits[i].value, soft), -1, "setrlimit");
  if (!limit_changed[i]) first_limits[i] = before;
  limit_changed[i] = true;
  put("{}");
}

static void restore_limits(void) {
  for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
    if (limit_changed[i]) setrlimit(limits[i].value, &first_limits[i]);
    limit_changed[i] = false;
  }
}

/* Room for descriptors of the testee's own, while the case has left none; `restore_room` ends it. */
static struct rlimit make_room(void) {
  struct rlimit before, wide;
  if (getrlimit(RLIMIT_NOFILE, &before) < 0) die("getrlimit");
  wide = before;
  if (wide.rlim_cur != RLIM_INFINITY && wide.rlim_cur < 1100) {
    wide.rlim_cur = wide.rlim_max == RLIM_INFINITY || wide.rlim_max > 1100 ? 1100 : wide.rlim_max;
    setrlimit(RLIMIT_NOFILE, &wide);
  }
  return before;
}

static void restore_room(const struct rlimit *before) {
  int number = errno;
  setrlimit(RLIMIT_NOFILE, before);
  errno = number;
}

/* --- census ------------------------------------------------------------------------------------------------------- */

static const char *kind_of(mode_t mode) {
  switch (mode & S_IFMT) {
  case S_IFREG: return "file";
  case S_IFIFO: return "fifo";
  case S_IFSOCK: return "socket";
  case S_IFDIR: return "directory";
  case S_IFCHR: return "character";
  case S_IFBLK: return "block";
  case S_IFLNK: return "link";
  }
  return "anonymous"; /* eventfd, epoll and their kin have no type */
}

/* Descriptors in flight in the receive queue of a socket, as fdinfo tells. */
static long queued(int fd) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
  int info = open(path, O_RDONLY | O_CLOEXEC);
  if (info < 0) return 0;
  ssize_t size = read(info, text, sizeof text - 1);
  close(info);
  if (size < 0) return 0;
  text[size] = 0;
  char *found = strstr(text, "scm_fds:");
  return found ? strtol(found + 8, NULL, 10) : 0;
}

static void put_fact(int fd) {
  struct stat about;
  if (fstat(fd, &about) < 0) return;
  put(out.at[out.size - 1] == '[' ? "{" : ",{");
  put_number("fd", fd);
  put_number("device", (int64_t)about.st_dev);
  put_number("inode", (int64_t)about.st_ino);
  put_key("kind");
  put_text(kind_of(about.st_mode));
  put_key("cloexec");
  put(fcntl(fd, F_GETFD) & FD_CLOEXEC ? "true" : "false");
  put_number("flags", fcntl(fd, F_GETFL));
  if (S_ISSOCK(about.st_mode)) put_number("scm_fds", queued(fd));
  put("}");
}

static int by_number(const void *one, const void *other) { return *(const int *)one - *(const int *)other; }

static void op_census(const struct node *request) {
  (void)request;
  struct rlimit before = make_room();
  DIR *listing = opendir("/proc/self/fd");
  if (!listing) {
    restore_room(&before);
    checked(-1, -1, "/proc/self/fd");
  }
  size_t count = 0, room = 0;
  int *fds = NULL;
  for (struct dirent *entry; (entry = readdir(listing));) {
    int fd = atoi(entry->d_name);
    if (entry->d_name[0] == '.' || fd == dirfd(listing)) continue;
    if (count == room) {
      int *more = alloc((room * 2 + 64) * sizeof *more);
      if (count) memcpy(more, fds, count * sizeof *more);
      fds = more;
      room = room * 2 + 64;
    }
    fds[count++] = fd;
  }
  closedir(listing);
  if (count) qsort(fds, count, sizeof *fds, by_number);
  put("{\"descriptors\":[");
  for (size_t i = 0; i < count; i++) put_fact(fds[i]);
  put("]}");
  restore_room(&before);
}
