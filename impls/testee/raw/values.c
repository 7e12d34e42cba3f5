/* Names and numbers, references, and the fields of a request. */

/* --- constants: this platform's own, then what hello told --------------------------------------------------------- */

struct constant {
  const char *name;
  size_t size;
  int64_t value;
};

enum { SLOTS = 4096 };
static struct constant constants[SLOTS];
static char *constants_text; /* the JSON of hello's constants, which the names point into */
static size_t constants_size;

/* Those whose number depends on the architecture, or whose name the harness's Python may lack. */
static const struct {
  const char *name;
  int64_t value;
} own_constants[] = {
#define C(NAME) {#NAME, NAME}
    C(AF_UNIX), C(AF_INET), C(SOCK_STREAM), C(SOCK_DGRAM), C(SOCK_SEQPACKET), C(SOCK_NONBLOCK), C(SOCK_CLOEXEC),
    C(SOL_SOCKET), C(SO_ACCEPTCONN), C(SO_DOMAIN), C(SO_ERROR), C(SO_KEEPALIVE), C(SO_LINGER), C(SO_OOBINLINE),
    C(SO_PASSCRED), C(SO_PASSSEC), C(SO_PEERCRED), C(SO_PEERSEC), C(SO_PROTOCOL), C(SO_RCVBUF), C(SO_RCVLOWAT),
    C(SO_SNDBUF), C(SO_SNDLOWAT), C(SO_TYPE), C(SHUT_RD), C(SHUT_WR), C(SHUT_RDWR),
    C(MSG_CTRUNC), C(MSG_DONTROUTE), C(MSG_DONTWAIT), C(MSG_EOR), C(MSG_MORE), C(MSG_NOSIGNAL), C(MSG_OOB), C(MSG_PEEK),
    C(MSG_TRUNC), C(MSG_WAITALL), {"MSG_ERRQUEUE", 0x2000}, {"MSG_CMSG_CLOEXEC", 0x40000000},
    {"MSG_WAITFORONE", 0x10000}, {"MSG_CONFIRM", 0x800}, {"MSG_PROBE", 0x10}, {"MSG_SYN", 0x400}, {"MSG_RST", 0x1000},
    {"MSG_FIN", 0x200}, {"MSG_BATCH", 0x40000}, {"MSG_ZEROCOPY", 0x4000000}, {"MSG_FASTOPEN", 0x20000000},
    {"SCM_RIGHTS", 1}, {"SCM_CREDENTIALS", 2},
    C(O_RDONLY), C(O_WRONLY), C(O_RDWR), C(O_CREAT), C(O_EXCL), C(O_NOCTTY), C(O_TRUNC), C(O_APPEND), C(O_NONBLOCK),
    C(O_SYNC), C(O_DIRECTORY), C(O_NOFOLLOW), C(O_CLOEXEC),
#ifdef O_PATH
    C(O_PATH), C(O_DIRECT), C(O_NOATIME),
#endif
#ifdef O_TMPFILE
    C(O_TMPFILE),
#endif
    C(F_DUPFD), C(F_DUPFD_CLOEXEC), C(F_GETFD), C(F_SETFD), C(F_GETFL), C(F_SETFL), C(F_GETLK), C(F_SETLK), C(F_SETLKW),
    C(F_GETOWN), C(F_SETOWN), C(F_RDLCK), C(F_WRLCK), C(F_UNLCK), C(FD_CLOEXEC),
    {"F_SETPIPE_SZ", 1031}, {"F_GETPIPE_SZ", 1032}, {"F_ADD_SEALS", 1033}, {"F_GET_SEALS", 1034},
    C(LOCK_SH), C(LOCK_EX), C(LOCK_UN), C(LOCK_NB), C(SEEK_SET), C(SEEK_CUR), C(SEEK_END),
    C(POLLIN), C(POLLOUT), C(POLLPRI), C(POLLERR), C(POLLHUP), C(POLLNVAL), C(POLLRDNORM), C(POLLWRNORM), C(POLLRDBAND),
    {"POLLRDHUP", 0x2000}, C(FIONREAD), C(FIONBIO), {"AT_FDCWD", AT_FDCWD},
#ifdef SIOCATMARK
    C(SIOCATMARK),
#endif
    {"SPLICE_F_MOVE", 1}, {"SPLICE_F_NONBLOCK", 2}, {"SPLICE_F_MORE", 4}, {"SPLICE_F_GIFT", 8}, {"MFD_CLOEXEC", 1},
    {"MFD_ALLOW_SEALING", 2}, {"EFD_SEMAPHORE", 1}, {"EFD_CLOEXEC", O_CLOEXEC}, {"EFD_NONBLOCK", O_NONBLOCK},
    {"EPOLL_CLOEXEC", O_CLOEXEC}, {"EPOLL_CTL_ADD", 1}, {"EPOLL_CTL_DEL", 2}, {"EPOLL_CTL_MOD", 3}, {"EPOLLIN", 1},
    {"EPOLLPRI", 2}, {"EPOLLOUT", 4}, {"EPOLLERR", 8}, {"EPOLLHUP", 16}, {"EPOLLRDHUP", 0x2000},
    {"EPOLLET", INT64_C(1) << 31}, {"EPOLLONESHOT", 1 << 30}, {"IN_CLOEXEC", O_CLOEXEC}, {"IN_NONBLOCK", O_NONBLOCK},
    {"TFD_CLOEXEC", O_CLOEXEC}, {"TFD_NONBLOCK", O_NONBLOCK}, {"SFD_CLOEXEC", O_CLOEXEC}, {"SFD_NONBLOCK", O_NONBLOCK},
    {"UFFD_USER_MODE_ONLY", 1}, {"CLOCK_REALTIME", 0}, {"CLOCK_MONOTONIC", 1}, {"OPEN_TREE_CLONE", 1},
    {"OPEN_TREE_CLOEXEC", O_CLOEXEC}, {"FAN_CLOEXEC", 1}, {"FAN_NONBLOCK", 2}, {"FAN_REPORT_FID", 0x200},
    {"CLONE_FILES", 0x400}, {"CLOSE_RANGE_UNSHARE", 2}, {"CLOSE_RANGE_CLOEXEC", 4}, {"PIDFD_NONBLOCK", O_NONBLOCK},
#undef C
};

static const struct {
  const char *name;
  int value;
} limits[] = {
    {"RLIMIT_NOFILE", RLIMIT_NOFILE}, {"RLIMIT_AS", RLIMIT_AS},       {"RLIMIT_CORE", RLIMIT_CORE},
    {"RLIMIT_CPU", RLIMIT_CPU},       {"RLIMIT_DATA", RLIMIT_DATA},   {"RLIMIT_FSIZE", RLIMIT_FSIZE},
    {"RLIMIT_NPROC", RLIMIT_NPROC},   {"RLIMIT_STACK", RLIMIT_STACK}, {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
    {"RLIMIT_MSGQUEUE", 12},          {"RLIMIT_SIGPENDING", 11},
};

static struct constant *slot_of(const char *name, size_t size) {
  uint32_t hash = 2166136261u;
  for (size_t i = 0; i < size; i++) hash = (hash ^ (unsigned char)name[i]) * 16777619u;
  for (;; hash++) {
    struct constant *slot = &constants[hash % SLOTS];
    if (!slot->name || (slot->size == size && memcmp(slot->name, name, size) == 0)) return slot;
  }
}

static void learn_one(const char *name, size_t size, int64_t value) { *slot_of(name, size) = (struct constant){name, size, value}; }

/* Take the constants of hello, an object in JSON, or none; this platform's own go before them. */
static void learn(const char *text, size_t size) {
  char *copy = malloc(size + 1);
  if (!copy) die("no memory");
  memcpy(copy, text, size);
  struct parser parser = {.at = copy, .end = copy + size};
  struct node *told = size ? parse(&parser) : NULL;
  size_t known = sizeof own_constants / sizeof *own_constants;
  bool fits = !size || (told && told->kind == OBJECT && told->size + known < SLOTS / 2);
  for (struct node *one = fits && told ? told->first : NULL; one; one = one->next)
    fits = fits && one->exact && one->name >= copy && one->name < copy + size;
  if (!fits) {
    free(copy);
    malformed("field constants: an object of plain names and numbers was expected, %d of them at most",
              (int)(SLOTS / 2 - known - 1));
  }
  free(constants_text);
  constants_text = copy;
  constants_size = size;
  memset(constants, 0, sizeof constants);
  for (struct node *one = told ? told->first : NULL; one; one = one->next)
    learn_one(one->name, one->name_size, one->number);
  for (size_t i = 0; i < known; i++)
    learn_one(own_constants[i].name, strlen(own_constants[i].name), own_constants[i].value);
}

/* Error numbers by name: they differ between architectures. */
static const char *errno_name(int number) {
  switch (number) {
#define E(NAME)                                                                                                        \
  case NAME:                                                                                                           \
    return #NAME;
    E(EPERM) E(ENOENT) E(ESRCH) E(EINTR) E(EIO) E(ENXIO) E(E2BIG) E(ENOEXEC) E(EBADF) E(ECHILD) E(EAGAIN) E(ENOMEM)
    E(EACCES) E(EFAULT) E(EBUSY) E(EEXIST) E(EXDEV) E(ENODEV) E(ENOTDIR) E(EISDIR) E(EINVAL) E(ENFILE) E(EMFILE)
    E(ENOTTY) E(ETXTBSY) E(EFBIG) E(ENOSPC) E(ESPIPE) E(EROFS) E(EMLINK) E(EPIPE) E(EDOM) E(ERANGE) E(EDEADLK)
    E(ENAMETOOLONG) E(ENOLCK) E(ENOSYS) E(ENOTEMPTY) E(ELOOP) E(ENODATA) E(EPROTO) E(EBADMSG) E(EOVERFLOW) E(ENOTSOCK)
    E(EDESTADDRREQ) E(EMSGSIZE) E(EPROTOTYPE) E(ENOPROTOOPT) E(EPROTONOSUPPORT) E(ESOCKTNOSUPPORT) E(EOPNOTSUPP)
    E(EPFNOSUPPORT) E(EAFNOSUPPORT) E(EADDRINUSE) E(EADDRNOTAVAIL) E(ENETDOWN) E(ENETUNREACH) E(ECONNABORTED)
    E(ECONNRESET) E(ENOBUFS) E(EISCONN) E(ENOTCONN) E(ESHUTDOWN) E(ETOOMANYREFS) E(ETIMEDOUT) E(ECONNREFUSED)
    E(EHOSTDOWN) E(EHOSTUNREACH) E(EALREADY) E(EINPROGRESS) E(ESTALE) E(EDQUOT) E(ECANCELED)
#undef E
  }
  return NULL;
}

static void put_errno(int number) {
  const char *name = errno_name(number);
  put_key("errno");
  if (name)
    put_text(name);
  else
    put_int(number);
}

/* --- references --------------------------------------------------------------------------------------------------- */

/* The replies of the steps so far: where each begins in `out`, and where it ends. */
static struct steps {
  size_t count;
  struct {
    size_t begin, end;
  } *at;
} *steps;

static bool is_reference(const struct node *node) { return steps && node->kind == TEXT && node->size && node->text[0] == '$'; }

/* Cut the next part off a path: up to a dot. */
static struct node next_part(const char **at, const char *end) {
  const char *begin = *at;
  const char *dot = memchr(begin, '.', (size_t)(end - begin));
  *at = dot ? dot + 1 : end;
  return (struct node){.kind = TEXT, .text = begin, .size = (size_t)((dot ? dot : end) - begin)};
}

static long index_of(const struct node *part) {
  long value = 0;
  if (!part->size || part->size > 7) return -1;
  for (size_t i = 0; i < part->size; i++) {
    if (part->text[i] < '0' || part->text[i] > '9') return -1;
    value = value * 10 + (part->text[i] - '0');
  }
  return value;
}

static struct node *follow(struct node *found, const struct node *part) {
  if (found->kind == LIST) {
    long wanted = index_of(part);
    struct node *one = wanted < 0 ? NULL : found->first;
    while (one && wanted--) one = one->next;
    return one;
  }
  char *name = alloc(part->size + 1);
  memcpy(name, part->text, part->size);
  name[part->size] = 0;
  return member(found, name);
}

static int64_t refer(const struct node *node) {
  const char *at = node->text + 1, *end = node->text + node->size;
  struct node part = next_part(&at, end);
  long step = index_of(&part);
  struct node *found = NULL;
  if (step >= 0 && (size_t)step < steps->count && at < end) {
    struct parser parser = {.at = out.at + steps->at[step].begin, .end = out.at + steps->at[step].end};
    found = parse(&parser);
    if (found) found = member(found, "result");
    while (found && at < end) {
      part = next_part(&at, end);
      found = follow(found, &part);
    }
  }
  if (!found || !found->exact)
    misreferred("%.*s refers to no number that an earlier step returned", (int)(node->size < 80 ? node->size : 80), node->text);
  return found->number;
}

/* --- fields ------------------------------------------------------------------------------------------------------- */

static struct node *field(const struct node *request, const char *name) {
  struct node *found = member(request, name);
  if (!found) malformed("the field %s is missing", name);
  return found;
}

static int64_t as_integer(const struct node *node, const char *name) {
  if (is_reference(node)) return refer(node);
  if (node->kind == INTEGER && !node->exact) overflow("field %s: the number has no room in 64 bits", name);
  if (node->kind != INTEGER) malformed("field %s: a whole number was expected", name);
  return node->number;
}

static int as_int(const struct node *node, const char *name) {
  int64_t value = as_integer(node, name);
  if (value < INT_MIN || value > INT_MAX) overflow("field %s: %lld has no room in an int", name, (long long)value);
  return (int)value;
}

static int int_field(const struct node *request, const char *name) { return as_int(field(request, name), name); }

static int64_t integer_or(const struct node *request, const char *name, int64_t missing) {
  struct node *found = member(request, name);
  return found ? as_integer(found, name) : missing;
}

static bool flag_field(const struct node *request, const char *name) {
  struct node *found = member(request, name);
  if (found && found->kind != BOOLEAN) malformed("field %s: true or false was expected", name);
  return found && found->number;
}

static double seconds_field(const struct node *request, const char *name) {
  struct node *found = member(request, name);
  if (found && ((found->kind != INTEGER && found->kind != REAL) || !(found->real >= 0 && found->real < 1e6)))
    malformed("field %s: a number of seconds was expected", name);
  return found ? found->real : 0;
}

static struct node *text_field(const struct node *request, const char *name) {
  struct node *found = field(request, name);
  if (found->kind != TEXT) malformed("field %s: text was expected", name);
  return found;
}

/* Text as C has it: terminated, without a NUL inside. */
static char *c_text(const struct node *node, const char *name) {
  if (memchr(node->text, 0, node->size)) malformed("field %s: a NUL within", name);
  char *copy = alloc(node->size + 1);
  memcpy(copy, node->text, node->size);
  copy[node->size] = 0;
  return copy;
}

/* The list in a field; an empty one where the field is missing. */
static struct node *list_field(const struct node *request, const char *name) {
  static struct node empty = {.kind = LIST};
  struct node *found = member(request, name);
  if (found && found->kind != LIST) malformed("field %s: a list was expected", name);
  return found ? found : &empty;
}

static int64_t as_constant(const struct node *node, const char *name) {
  if (node->kind != TEXT || is_reference(node)) return as_integer(node, name);
  const struct constant *slot = slot_of(node->text, node->size);
  if (!slot->name)
    malformed("field %s: no constant of this platform: %.*s", name, (int)(node->size < 80 ? node->size : 80), node->text);
  return slot->value;
}

static int constant_field(const struct node *request, const char *name) {
  int64_t value = as_constant(field(request, name), name);
  if (value < INT_MIN || value > UINT_MAX) overflow("field %s: %lld has no room in an int", name, (long long)value);
  return (int)value;
}

static int flags_or(const struct node *request, const char *name, int missing) {
  struct node *found = member(request, name);
  if (!found) return missing;
  int64_t bits = 0;
  for (struct node *one = list_field(request, name)->first; one; one = one->next) bits |= as_constant(one, name);
  if (bits < INT_MIN || bits > UINT_MAX) overflow("field %s: more than 32 bits", name);
  return (int)bits;
}

struct octets {
  unsigned char *at;
  size_t size;
};

static struct octets as_octets(const struct node *node, const char *name) {
  if (node->kind != TEXT || node->size % 2) malformed("field %s: hexadecimal digits were expected", name);
  struct octets found = {alloc(node->size / 2), node->size / 2};
  for (size_t i = 0; i < found.size; i++) {
    int high = hex_digit(node->text[2 * i]), low = hex_digit(node->text[2 * i + 1]);
    if (high < 0 || low < 0) malformed("field %s: hexadecimal digits were expected", name);
    found.at[i] = (unsigned char)(high << 4 | low);
  }
  return found;
}

static int socket_type(const struct node *request) {
  const struct node *type = text_field(request, "type");
  if (is_text(type, "stream")) return SOCK_STREAM;
  if (is_text(type, "dgram")) return SOCK_DGRAM;
  if (is_text(type, "seqpacket")) return SOCK_SEQPACKET;
  malformed("field type: no type of socket");
}

struct address {
  socklen_t size;
  union {
    struct sockaddr any;
    struct sockaddr_un un;
    unsigned char bytes[256];
  } at;
};

/* An AF_UNIX address from its text. One that is too long for the kernel goes to the kernel all the same, if 256 bytes hold it. */
static struct address as_address(const struct node *node, const char *name) {
  struct address made = {.size = offsetof(struct sockaddr_un, sun_path)};
  if (node->kind != TEXT) malformed("field %s: an address was expected", name);
  if (node->size > sizeof made.at - made.size) malformed("field %s: an address of %zu bytes", name, node->size);
  if (memchr(node->text, 0, node->size)) malformed("field %s: a NUL within an address", name);
  made.at.un.sun_family = AF_UNIX;
  memcpy(made.at.bytes + made.size, node->text, node->size);
  if (node->size && node->text[0] == '@') made.at.bytes[made.size] = 0;
  made.size += (socklen_t)node->size;
  return made;
}
