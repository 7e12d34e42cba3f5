/* Memory of a raw call, laid at a place: pieces on the heap, and pieces in pages of their own. */

enum {
  PADDING = 0xAA,         /* what nobody filled */
  GUARD = 32,             /* bytes before and behind a piece on the heap, which must stay as they are */
  MAX_MEMORY = 7 << 20,   /* bytes of all pieces of a request: their digits fit into a line */
  MAX_SLACK = 1 << 20,    /* bytes behind a piece whose length lies */
};

enum place { HEAP, AT_NULL, UNMAPPED, READ_ONLY, THEN_UNMAPPED, THEN_READ_ONLY, READ_ONLY_THEN_HEAP };

static const char *const place_names[] = {
    "heap", "null", "unmapped", "read-only", "then-unmapped", "then-read-only", "read-only-then-heap",
};

struct piece {
  char *at;
  size_t size;     /* bytes that belong to it */
  size_t told;     /* bytes that the kernel is told */
  size_t readable; /* bytes of `size` that can be read after the call */
  size_t slack;    /* readable bytes behind those, where `told` lies */
  bool guarded;
  bool plain;      /* on the heap, and `told` is true: a libc may look at it */
};

struct pieces {
  struct piece *at;
  size_t count;
};

/* --- pages -------------------------------------------------------------------------------------------------------- */

enum fate { KEPT, PROTECTED, GONE };

/* Pages of this request, and what becomes of them before the call: last of all, so that nothing new lands in a hole. */
static struct {
  struct range {
    char *at;
    size_t size;
    enum fate fate;
  } *at;
  size_t count, room, sealed;
} ranges;

static size_t memory_used; /* by this request */
static size_t page;        /* bytes */

static void add_range(char *at, size_t size, enum fate fate) {
  if (ranges.count == ranges.room) {
    size_t room = ranges.room ? ranges.room * 2 : 64;
    struct range *more = realloc(ranges.at, room * sizeof *more);
    if (!more) die("no memory");
    ranges.at = more;
    ranges.room = room;
  }
  ranges.at[ranges.count++] = (struct range){at, size, fate};
}

/* Two parts of whole pages, filled with PADDING; return the boundary between them. */
static char *pages(size_t before, enum fate fate_before, size_t behind, enum fate fate_behind) {
  before = rounded(before, page);
  behind = rounded(behind, page);
  char *at = mmap(NULL, before + behind, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) refused(errno, "mmap: %s", strerror(errno));
  if (before) add_range(at, before, fate_before);
  if (behind) add_range(at + before, behind, fate_behind);
  memset(at, PADDING, before + behind);
  return at + before;
}

/* Protect and unmap what is to be: nothing may be allocated from here to the call. */
static void seal(void) {
  for (; ranges.sealed < ranges.count; ranges.sealed++) {
    struct range *one = &ranges.at[ranges.sealed];
    if (one->fate == PROTECTED && mprotect(one->at, one->size, PROT_READ) < 0) die("mprotect");
    if (one->fate == GONE && munmap(one->at, one->size) < 0) die("munmap");
  }
}

/* Give all pages of the request back. */
static void release_pages(void) {
  for (size_t i = 0; i < ranges.count; i++)
    if (ranges.at[i].fate != GONE || i >= ranges.sealed) munmap(ranges.at[i].at, ranges.at[i].size);
  ranges.count = ranges.sealed = 0;
  memory_used = 0;
}

/* --- pieces ------------------------------------------------------------------------------------------------------- */

static void lay_on_heap(struct piece *piece, size_t offset) {
  char *begin = alloc(GUARD + offset + piece->size + GUARD);
  memset(begin, PADDING, GUARD + offset + piece->size + GUARD);
  piece->at = begin + GUARD + offset;
  piece->readable = piece->size;
  piece->guarded = true;
}

/* A piece whose length lies gets true memory behind it, and then none: the kernel cannot write over the testee's own. */
static void lay_in_slack(struct piece *piece, size_t offset, size_t beyond) {
  piece->slack = beyond < MAX_SLACK ? beyond : (size_t)MAX_SLACK;
  size_t size = rounded(offset + piece->size + piece->slack, page);
  piece->at = pages(size, KEPT, page, GONE) - size + offset;
  piece->readable = piece->size;
}

/* Lay `piece`, whose size and told are set. `split` bytes of it lie before the boundary of a place with two parts. */
static void lay(struct piece *piece, enum place place, size_t split, size_t offset) {
  size_t size = piece->size, behind = size > split ? size - split : 1;
  piece->slack = 0;
  piece->guarded = false;
  piece->plain = place == HEAP && piece->told == piece->size;
  switch (place) {
  case HEAP:
    if (piece->told > size)
      lay_in_slack(piece, offset, piece->told - size);
    else
      lay_on_heap(piece, offset);
    return;
  case AT_NULL:
    piece->at = (char *)offset;
    piece->readable = 0;
    return;
  case UNMAPPED:
    piece->at = pages(0, KEPT, offset + size + 1, GONE) + offset;
    piece->readable = 0;
    return;
  case READ_ONLY:
    piece->at = pages(0, KEPT, offset + size + 1, PROTECTED) + offset;
    piece->readable = size;
    return;
  case THEN_UNMAPPED:
    piece->at = pages(split, KEPT, behind, GONE) - split;
    piece->readable = size < split ? size : split;
    return;
  case THEN_READ_ONLY:
    piece->at = pages(split, KEPT, behind, PROTECTED) - split;
    piece->readable = size;
    return;
  case READ_ONLY_THEN_HEAP:
    piece->at = pages(split, PROTECTED, behind, KEPT) - split;
    piece->readable = size;
    return;
  }
}

/* Write into a piece before the call; the part that has no memory is left out. */
static void fill(const struct piece *piece, size_t at, const void *bytes, size_t size) {
  if (at >= piece->readable) return;
  size_t room = piece->readable - at;
  if (size) memcpy(piece->at + at, bytes, size < room ? size : room);
}

/* Whether the call wrote beside the piece. */
static bool overrun(const struct piece *piece) {
  if (!piece->guarded) return false;
  for (int i = 0; i < GUARD; i++)
    if ((unsigned char)piece->at[-1 - i] != PADDING || (unsigned char)piece->at[piece->size + (size_t)i] != PADDING) return true;
  return false;
}

/* --- from requests ------------------------------------------------------------------------------------------------ */

static enum place place_field(const struct node *request, const char *name) {
  const struct node *found = member(request, name);
  if (!found) return HEAP;
  for (size_t i = 0; i < sizeof place_names / sizeof *place_names; i++)
    if (is_text(found, place_names[i])) return (enum place)i;
  malformed("field %s: no place of memory", name);
}

/* A length that may lie: a number, negative too, or up to 20 digits as text. */
static size_t told_length(const struct node *node, const char *name) {
  uint64_t value = 0;
  if (node->kind == TEXT && !is_reference(node)) {
    if (!node->size || node->size > 20) malformed("field %s: up to 20 digits were expected", name);
    for (size_t i = 0; i < node->size; i++) {
      unsigned digit = (unsigned)(node->text[i] - '0');
      if (digit > 9 || node->text[i] < '0') malformed("field %s: decimal digits were expected", name);
      if (value > (UINT64_MAX - digit) / 10) overflow("field %s: it has no room in 64 bits", name);
      value = value * 10 + digit;
    }
  } else {
    int64_t number = as_integer(node, name);
    if (number < 0) return number < -(int64_t)(SIZE_MAX / 2) - 1 ? overflow("field %s: too small", name), 0 : (size_t)number;
    value = (uint64_t)number;
  }
  if (value > SIZE_MAX) overflow("field %s: it has no room in a size_t of %zu bytes", name, sizeof(size_t));
  return (size_t)value;
}

static size_t small(const struct node *request, const char *name) {
  int64_t value = integer_or(request, name, 0);
  if (value < 0 || value > MAX_MEMORY) malformed("field %s: 0 to %d was expected", name, MAX_MEMORY);
  return (size_t)value;
}

static void take_memory(size_t size) {
  memory_used += size;
  if (memory_used > MAX_MEMORY) malformed("more than %d bytes of memory in one request", MAX_MEMORY);
}

/* Lay the memory that `request` describes; `earlier` are the entries of its list that it may lie within. */
static void lay_memory(const struct node *request, struct piece *piece, const struct pieces *earlier) {
  const struct node *data = member(request, "data"), *size = member(request, "size"), *length = member(request, "length");
  const struct node *within = member(request, "within");
  struct octets content = {0};
  if (request->kind != OBJECT) malformed("a piece of memory is an object");
  if (data && !within) content = as_octets(data, "data");
  piece->size = size ? small(request, "size") : content.size;
  if (content.size > piece->size) malformed("field data: %zu bytes in a piece of %zu", content.size, piece->size);
  piece->told = length ? told_length(length, "length") : piece->size;
  take_memory(piece->size);
  if (!within) {
    lay(piece, place_field(request, "place"), small(request, "split"), small(request, "offset"));
    fill(piece, 0, content.at, content.size);
    return;
  }
  int64_t index = as_integer(within, "within");
  size_t offset = small(request, "offset");
  if (!earlier || index < 0 || (uint64_t)index >= earlier->count) malformed("field within: no earlier entry");
  const struct piece *outer = &earlier->at[index];
  if (offset > outer->size || piece->size > outer->size - offset || piece->told > outer->size + outer->slack - offset)
    malformed("field within: it reaches beyond the entry that it lies in");
  size_t left = outer->readable > offset ? outer->readable - offset : 0;
  piece->at = outer->at + offset;
  piece->readable = piece->size < left ? piece->size : left;
  piece->slack = 0;
  piece->guarded = false;
  piece->plain = outer->plain && piece->told == piece->size;
}

static struct pieces lay_list(const struct node *list) {
  struct pieces made = {zeroed(list->size, sizeof *made.at), 0};
  for (const struct node *one = list->first; one; one = one->next) {
    lay_memory(one, &made.at[made.count], &made);
    made.count++;
  }
  return made;
}

static struct iovec *vectors(const struct pieces *pieces) {
  struct iovec *made = alloc(pieces->count * sizeof *made);
  for (size_t i = 0; i < pieces->count; i++) made[i] = (struct iovec){pieces->at[i].at, pieces->at[i].told};
  return made;
}

static void put_piece(const struct piece *piece) { put_hex(piece->readable ? piece->at : "", piece->readable); }

static void put_pieces(const struct pieces *pieces) {
  put_key("iov");
  put("[");
  for (size_t i = 0; i < pieces->count; i++) {
    if (i) put(",");
    put_piece(&pieces->at[i]);
  }
  put("]");
}
