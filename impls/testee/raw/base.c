/* What everything else stands on: memory of one request, how a request fails, and text that grows. */

enum {
  MAX_LINE = 16 << 20, /* bytes, of a request and of a reply */
  CHUNK = 256 << 10,
};

/* --- memory that lives as long as a request ----------------------------------------------------------------------- */

struct chunk {
  struct chunk *before;
  size_t size, used;
};

struct mark {
  struct chunk *chunk;
  size_t used;
};

static struct chunk *arena;

static _Noreturn void die(const char *what) {
  dprintf(2, "raw testee: %s: %s\n", what, strerror(errno));
  _exit(70);
}

static size_t rounded(size_t size, size_t to) { return (size + to - 1) / to * to; }

__attribute__((noinline)) static void *alloc(size_t size) {
  enum { ALIGN = 16 };
  size_t head = rounded(sizeof(struct chunk), ALIGN);
  size = rounded(size, ALIGN);
  if (!arena || arena->size - arena->used < size) {
    size_t whole = head + size > CHUNK ? head + size : (size_t)CHUNK;
    struct chunk *made = malloc(whole);
    if (!made) die("no memory");
    *made = (struct chunk){arena, whole, head};
    arena = made;
  }
  void *found = (char *)arena + arena->used;
  arena->used += size;
  return found;
}

static void *zeroed(size_t count, size_t size) { return memset(alloc(count * size), 0, count * size); }

static struct mark arena_mark(void) {
  if (!arena) alloc(0); /* the first chunk is kept for ever */
  return (struct mark){arena, arena->used};
}

static void arena_release(struct mark mark) {
  while (arena != mark.chunk) {
    struct chunk *before = arena->before;
    free(arena);
    arena = before;
  }
  if (arena) arena->used = mark.used;
}

/* --- how a request fails ------------------------------------------------------------------------------------------ */

static struct {
  const char *type; /* of the error; NULL: unsupported */
  int number;       /* errno, or 0 */
  char message[400];
} fault;

static jmp_buf *rescue; /* where the request that is being answered goes when it fails */

static _Noreturn void fail_as(const char *type, int number, const char *format, va_list rest) {
  fault.type = type;
  fault.number = number;
  vsnprintf(fault.message, sizeof fault.message, format, rest);
  longjmp(*rescue, 1);
}

#define FAILURE(NAME, TYPE)                                                                                            \
  __attribute__((format(printf, 1, 2))) static _Noreturn void NAME(const char *format, ...) {                          \
    va_list rest;                                                                                                      \
    va_start(rest, format);                                                                                            \
    fail_as(TYPE, 0, format, rest);                                                                                    \
  }

FAILURE(malformed, "Request")      /* the harness's fault */
FAILURE(misreferred, "Reference")  /* a reference that leads nowhere */
FAILURE(overflow, "Overflow")      /* a number that C has no room for */
FAILURE(unsupported, NULL)         /* this platform has not got it */
FAILURE(child_failed, "Child")     /* a forked child is gone */

/* A system call failed that is not itself the one observed. */
__attribute__((format(printf, 2, 3))) static _Noreturn void refused(int number, const char *format, ...) {
  va_list rest;
  va_start(rest, format);
  fail_as("Error", number, format, rest);
}

/* --- text that grows ---------------------------------------------------------------------------------------------- */

struct text {
  char *at;
  size_t size, room;
};

static struct text out; /* the reply that is being written */

static void grow(struct text *text, size_t more) {
  if (text->room - text->size >= more) return;
  size_t room = text->room ? text->room : 4096;
  while (room - text->size < more) room *= 2;
  char *at = realloc(text->at, room);
  if (!at) die("no memory");
  text->at = at;
  text->room = room;
}

/* Forget the text, and give a large buffer back. */
static void emptied(struct text *text) {
  text->size = 0;
  if (text->room > 1 << 20) {
    free(text->at);
    *text = (struct text){0};
  }
}

static char *room_for(size_t more) {
  if (more > MAX_LINE || out.size + more > MAX_LINE - 64) malformed("the reply would be longer than 16 MiB");
  grow(&out, more);
  return out.at + out.size;
}

static void put_bytes(const char *bytes, size_t size) {
  memcpy(room_for(size), bytes, size);
  out.size += size;
}

static void put(const char *literal) { put_bytes(literal, strlen(literal)); }

static void put_unsigned(uint64_t number) {
  char digits[24], *at = digits + sizeof digits;
  do *--at = (char)('0' + number % 10);
  while (number /= 10);
  put_bytes(at, (size_t)(digits + sizeof digits - at));
}

static void put_int(int64_t number) {
  if (number < 0) put("-");
  put_unsigned(number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
}

/* A JSON string of printable ASCII; anything else becomes a question mark. */
static void put_text(const char *text) {
  put("\"");
  for (; *text; text++) {
    char one = *text < ' ' || *text > '~' ? '?' : *text;
    if (one == '"' || one == '\\') put("\\");
    put_bytes(&one, 1);
  }
  put("\"");
}

static void put_hex(const void *bytes, size_t size) {
  static const char digits[] = "0123456789abcdef";
  const unsigned char *from = bytes;
  if (size > MAX_LINE) malformed("the reply would be longer than 16 MiB");
  char *at = room_for(size * 2 + 2);
  *at++ = '"';
  for (size_t i = 0; i < size; i++) {
    *at++ = digits[from[i] >> 4];
    *at++ = digits[from[i] & 15];
  }
  *at = '"';
  out.size += size * 2 + 2;
}

/* `"name":` with a comma before it where something stands before. */
static void put_key(const char *name) {
  char last = out.size ? out.at[out.size - 1] : '{';
  if (last != '{' && last != '[' && last != ',') put(",");
  put("\"");
  put(name);
  put("\":");
}

static void put_number(const char *name, int64_t number) {
  put_key(name);
  put_int(number);
}
