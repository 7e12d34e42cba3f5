/* raw_sendmsg and raw_recvmsg. */

/* struct msghdr and struct mmsghdr as the kernel has them; a libc's own have the same members at the same places. */
struct header {
  void *name;
  int name_length;
  struct iovec *iov;
  size_t iov_length;
  void *control;
  size_t control_length;
  unsigned flags;
};

struct many {
  struct header header;
  unsigned length;
};

struct cmsg {
  size_t length;
  int level, type;
};

_Static_assert(sizeof(struct header) == sizeof(struct msghdr), "struct msghdr is laid out otherwise");
_Static_assert(offsetof(struct header, control_length) <= offsetof(struct msghdr, msg_controllen), "msg_controllen");

struct message {
  struct header before, after;
  struct pieces iov;
  struct piece array, control, name;
  char *control_before;
  struct iovec *array_before;
  bool has_control, has_name, plain;
  enum place place;
};

/* --- signals that the call raises --------------------------------------------------------------------------------- */

static const struct {
  int number;
  const char *name;
} watched[] = {{SIGPIPE, "SIGPIPE"}, {SIGALRM, "SIGALRM"}, {SIGURG, "SIGURG"}, {SIGIO, "SIGIO"}};

static volatile sig_atomic_t raised[65];
static bool armed;

static void on_signal(int number) { raised[number] = 1; }

static void watch_signal(int number, int flags) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
  if (sigaction(number, &action, NULL) < 0) die("sigaction");
}

static void watch_signals(void) {
  for (size_t i = 0; i < sizeof watched / sizeof *watched; i++) watch_signal(watched[i].number, SA_RESTART);
}

static struct timeval interval(double seconds) {
  long whole = (long)seconds;
  long micro = (long)((seconds - (double)whole) * 1e6);
  return (struct timeval){.tv_sec = whole, .tv_usec = whole || micro ? micro : 1};
}

/* The alarm goes off again and again until the call returns, in case that it went off before the call began. */
static void arm(double seconds, bool restart) {
  for (size_t i = 0; i < sizeof watched / sizeof *watched; i++) raised[watched[i].number] = 0;
  if (seconds <= 0) return;
  watch_signal(SIGALRM, restart ? SA_RESTART : 0);
  double again = seconds < 0.001 ? 0.001 : seconds > 0.05 ? 0.05 : seconds;
  struct itimerval timer = {.it_value = interval(seconds), .it_interval = interval(again)};
  armed = true;
  if (setitimer(ITIMER_REAL, &timer, NULL) < 0) die("setitimer");
}

static void disarm(void) {
  static const struct itimerval never;
  if (armed) setitimer(ITIMER_REAL, &never, NULL);
  armed = false;
}

static void put_signals(void) {
  const char *before = "[";
  for (size_t i = 0; i < sizeof watched / sizeof *watched; i++) {
    if (!raised[watched[i].number]) continue;
    if (*before == '[') put_key("signals");
    put(before);
    put_text(watched[i].name);
    before = ",";
  }
  if (*before == ',') put("]");
}

static void put_returned(int64_t returned, int number) {
  put("{");
  put_number("returned", returned);
  if (returned < 0) put_errno(number);
}

/* --- before the call ---------------------------------------------------------------------------------------------- */

static void write_fds(const struct node *fds, const struct piece *control) {
  for (const struct node *one = fds->first; one; one = one->next) {
    int fd = as_int(one, "control_fds");
    const struct node digits = {.kind = TEXT, .text = one->name, .size = one->name_size};
    size_t at = told_length(&digits, "control_fds");
    if (control->size < sizeof fd || at > control->size - sizeof fd)
      malformed("field control_fds: no room for an int at %zu of a control buffer of %zu bytes", at, control->size);
    fill(control, at, &fd, sizeof fd);
  }
}

static void lay_name(const struct node *request, struct message *message) {
  const struct node *name = member(request, "name"), *address = member(request, "address");
  struct piece *piece = &message->name;
  message->has_name = true;
  if (name && name->kind != NOTHING) {
    lay_memory(name, piece, NULL);
  } else if (address) {
    struct address to = as_address(address, "address");
    piece->size = piece->told = to.size;
    lay(piece, HEAP, 0, 0);
    fill(piece, 0, &to.at, to.size);
  } else {
    message->has_name = false;
  }
}

/* Two parts of an array: the boundary lies behind what there is where its length counts more, else in the middle. */
static size_t boundary(size_t size, size_t told) { return told > size ? size : size / 2; }

static void lay_array(const struct node *request, struct message *message) {
  const struct node *length = member(request, "iov_length");
  struct piece *piece = &message->array;
  size_t one = sizeof(struct iovec), count = message->iov.count;
  size_t told = length ? told_length(length, "iov_length") : count;
  piece->size = count * one;
  piece->told = told > SIZE_MAX / one ? SIZE_MAX : told * one;
  enum place place = place_field(request, "iov_place");
  take_memory(piece->size);
  lay(piece, place, boundary(piece->size, piece->told), 0);
  message->array_before = vectors(&message->iov);
  fill(piece, 0, message->array_before, piece->size);
  message->before.iov = count || place != HEAP || told ? (struct iovec *)(void *)piece->at : NULL;
  message->before.iov_length = told;
}

static void lay_message(const struct node *request, struct message *message) {
  const struct node *control = member(request, "control"), *fds = member(request, "control_fds");
  if (request->kind != OBJECT) malformed("a message is an object");
  memset(&message->before, 0, sizeof message->before);
  message->place = place_field(request, "place");
  message->iov = lay_list(list_field(request, "iov"));
  message->has_control = control && control->kind != NOTHING;
  if (message->has_control) lay_memory(control, &message->control, NULL);
  if (fds && fds->kind != OBJECT) malformed("field control_fds: an object was expected");
  if (fds) write_fds(fds, &message->control);
  lay_name(request, message);
  lay_array(request, message);
  message->plain = message->array.plain;
  for (size_t i = 0; i < message->iov.count; i++) message->plain &= message->iov.at[i].plain;
  if (message->has_control) {
    struct piece *piece = &message->control;
    message->before.control = piece->at;
    message->before.control_length = piece->told;
    message->control_before = alloc(piece->readable);
    if (piece->readable) memcpy(message->control_before, piece->at, piece->readable);
    message->plain &= piece->plain;
  }
  if (message->has_name) {
    if (message->name.told > UINT_MAX && message->name.told < SIZE_MAX - INT_MAX) overflow("msg_namelen is an int");
    message->before.name = message->name.at;
    message->before.name_length = (int)message->name.told;
    message->plain &= message->name.plain;
  }
  message->before.flags = (unsigned)flags_or(request, "flags", 0);
}

/* Lay one msghdr, or an array of mmsghdr: from the first message on whose place is not the heap, it lies at that place. */
static void lay_headers(struct piece *piece, struct message *messages, size_t count, bool many) {
  size_t one = many ? sizeof(struct many) : sizeof(struct header), first = 0;
  while (first < count && messages[first].place == HEAP) first++;
  enum place place = first < count ? messages[first].place : HEAP;
  size_t split = first * one + one / 2;
  if (first && place != THEN_UNMAPPED && place != THEN_READ_ONLY && place != READ_ONLY_THEN_HEAP) {
    split = first * one;
    if (place != HEAP && place != UNMAPPED && place != READ_ONLY) malformed("field place: the first message alone can lie at NULL");
    if (place == UNMAPPED) place = THEN_UNMAPPED;
    if (place == READ_ONLY) place = THEN_READ_ONLY;
  }
  piece->size = piece->told = count * one;
  take_memory(piece->size);
  lay(piece, place, split, 0);
  for (size_t i = 0; i < count; i++) {
    struct many header;
    memset(&header, 0, sizeof header);
    header.header = messages[i].before;
    fill(piece, i * one, &header, one);
  }
}

/* --- the call ----------------------------------------------------------------------------------------------------- */

/*
 * The libc's own functions are called, since they are what programs call and some of them do more than the system call
 * (musl copies header and control buffer). A message that lies about a length or has a place in bad memory goes to the
 * system call itself: a libc may look at it, and would be the one to crash.
 */
static long transfer(bool sends, bool many, bool plain, int fd, void *headers, unsigned count, int flags) {
#ifdef __dietlibc__
  if (many) plain = false;
#endif
  if (!plain && many)
    return sends ? syscall(SYS_sendmmsg, fd, headers, count, flags) : syscall(SYS_recvmmsg, fd, headers, count, flags, NULL);
  if (!plain) return sends ? syscall(SYS_sendmsg, fd, headers, flags) : syscall(SYS_recvmsg, fd, headers, flags);
#ifndef __dietlibc__
  if (many)
    return sends ? sendmmsg(fd, headers, count, (unsigned)flags) : recvmmsg(fd, headers, count, (unsigned)flags, NULL);
#endif
  return sends ? sendmsg(fd, headers, flags) : recvmsg(fd, headers, flags);
}

/* --- after the call ----------------------------------------------------------------------------------------------- */

/* Close every descriptor in the SCM_RIGHTS control messages of a received message. */
static void close_rights(const struct message *message) {
  size_t size = message->control.readable + message->control.slack, at = 0;
  struct cmsg head;
  if (!message->has_control) return;
  if (message->after.control_length < size) size = message->after.control_length;
  while (size - at >= sizeof head) {
    memcpy(&head, message->control.at + at, sizeof head);
    if (head.length < sizeof head || head.length > size - at) return;
    for (size_t i = sizeof head; head.level == SOL_SOCKET && head.type == 1 && i + sizeof(int) <= head.length; i += sizeof(int)) {
      int fd;
      memcpy(&fd, message->control.at + at + i, sizeof fd);
      if (fd >= 0) close(fd);
    }
    size_t step = rounded(head.length, sizeof(size_t));
    if (step > size - at) return;
    at += step;
  }
}

static void put_changed(const struct message *message, bool header_readable) {
  const struct header *was = &message->before, *is = &message->after;
  size_t control = message->control.readable, array = message->array.readable;
  bool outside = overrun(&message->array) || (message->has_control && overrun(&message->control)) ||
                 (message->has_name && overrun(&message->name));
  for (size_t i = 0; i < message->iov.count; i++) outside |= overrun(&message->iov.at[i]);
  const struct {
    const char *name;
    bool differs;
  } facts[] = {
      {"msg_name", header_readable && was->name != is->name},
      {"msg_namelen", header_readable && was->name_length != is->name_length},
      {"msg_iov", header_readable && was->iov != is->iov},
      {"msg_iovlen", header_readable && was->iov_length != is->iov_length},
      {"msg_control", header_readable && was->control != is->control},
      {"msg_controllen", header_readable && was->control_length != is->control_length},
      {"msg_flags", header_readable && was->flags != is->flags},
      {"iov", array && memcmp(message->array.at, message->array_before, array) != 0},
      {"control", message->has_control && control && memcmp(message->control.at, message->control_before, control) != 0},
      {"outside", outside},
  };
  put_key("changed");
  put("[");
  for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
    if (!facts[i].differs) continue;
    if (out.at[out.size - 1] != '[') put(",");
    put_text(facts[i].name);
  }
  put("]");
}

static void put_message(const struct message *message, bool readable, unsigned returned) {
  const struct header *is = &message->after;
  put("{");
  put_number("flags", (int64_t)is->flags);
  put_number("name_length", is->name_length);
  put_key("control_length");
  put_unsigned(is->control_length);
  put_pieces(&message->iov);
  if (message->has_control) {
    put_key("control");
    put_piece(&message->control);
  }
  if (message->has_name) {
    put_key("name");
    put_piece(&message->name);
  }
  if (returned) put_number("returned", returned);
  put_changed(message, readable);
  put("}");
}

static void raw_message(const struct node *request, bool sends) {
  const struct node *list = list_field(request, "messages");
  bool many = flag_field(request, "many"), restart = flag_field(request, "restart"), closes = flag_field(request, "close");
  int fd = int_field(request, "fd"), flags = flags_or(request, "flags", 0);
  double alarm_after = seconds_field(request, "alarm");
  size_t count = list->size, one = many ? sizeof(struct many) : sizeof(struct header);
  if (!many && count != 1) malformed("field messages: one message was expected, or many");
  struct message *messages = zeroed(count, sizeof *messages);
  struct piece headers = {0};
  bool plain = true;
  size_t index = 0;
  for (const struct node *each = list->first; each; each = each->next) lay_message(each, &messages[index++]);
  for (size_t i = 0; i < count; i++) plain &= messages[i].plain;
  lay_headers(&headers, messages, count, many);
  plain &= headers.plain;

  seal();
  arm(alarm_after, restart);
  long returned = transfer(sends, many, plain, fd, headers.at, (unsigned)count, flags);
  int number = errno;
  disarm();

  put_returned(returned, number);
  put_key("messages");
  put("[");
  for (size_t i = 0; i < count; i++) {
    struct many header = {.header = messages[i].before};
    bool readable = headers.readable >= (i + 1) * one;
    if (readable) memcpy(&header, headers.at + i * one, one);
    messages[i].after = header.header;
    if (i) put(",");
    put_message(&messages[i], readable, header.length);
    if (closes && returned >= 0 && (!many || (long)i < returned)) close_rights(&messages[i]);
  }
  put("]");
  put_signals();
  put("}");
}

static void op_raw_sendmsg(const struct node *request) { raw_message(request, true); }
static void op_raw_recvmsg(const struct node *request) { raw_message(request, false); }
