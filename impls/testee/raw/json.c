/* JSON: a strict parser into the request's memory. */

enum { MAX_DEPTH = 64 };

enum kind { NOTHING, BOOLEAN, INTEGER, REAL, TEXT, LIST, OBJECT };

struct node {
  enum kind kind;
  bool exact;                      /* of a number: it is an integer and fits number */
  int64_t number;                  /* of a number, or 0 and 1 of a boolean */
  double real;                     /* of a number */
  const char *text;                /* decoded, not terminated */
  size_t size;                     /* bytes of text, entries of a list or an object */
  const char *name;                /* of an object's member */
  size_t name_size;
  const char *begin, *end;         /* the JSON itself */
  struct node *first, *next;
};

struct parser {
  const char *at, *end, *problem;
  int depth;
  struct node *whole; /* the outermost value, as far as it was read */
};

static struct node *parse_value(struct parser *p);

static struct node *broken(struct parser *p, const char *problem) {
  if (!p->problem) p->problem = problem;
  return NULL;
}

static void skip_space(struct parser *p) {
  while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\r' || *p->at == '\n')) p->at++;
}

static bool taken(struct parser *p, char wanted) {
  if (p->at >= p->end || *p->at != wanted) return false;
  p->at++;
  return true;
}

/* The length of the UTF-8 sequence at `at`, 0 where it is none. */
static size_t utf8_length(const char *at, const char *end) {
  const unsigned char *s = (const unsigned char *)at;
  size_t length = s[0] < 0x80 ? 1 : s[0] < 0xC2 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : s[0] < 0xF5 ? 4 : 0;
  if (length > (size_t)(end - at)) return 0;
  for (size_t i = 1; i < length; i++)
    if ((s[i] & 0xC0) != 0x80) return 0;
  if (length == 3 && ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F))) return 0;
  if (length == 4 && ((s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))) return 0;
  return length;
}

static char *put_utf8(char *to, unsigned code) {
  if (code < 0x80) {
    *to++ = (char)code;
    return to;
  }
  int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  static const unsigned lead[] = {0, 0xC0, 0xE0, 0xF0};
  *to++ = (char)(lead[more] | code >> (6 * more));
  while (more--) *to++ = (char)(0x80 | (code >> (6 * more) & 0x3F));
  return to;
}

static int hex_digit(char one) {
  return one >= '0' && one <= '9' ? one - '0' : one >= 'a' && one <= 'f' ? one - 'a' + 10 : -1;
}

static bool parse_hex4(struct parser *p, unsigned *code) {
  *code = 0;
  for (int i = 0; i < 4; i++) {
    int digit = p->at < p->end ? hex_digit((char)(*p->at >= 'A' && *p->at <= 'F' ? *p->at | 0x20 : *p->at)) : -1;
    if (digit < 0) return false;
    *code = *code << 4 | (unsigned)digit;
    p->at++;
  }
  return true;
}

static bool parse_escape(struct parser *p, char **to) {
  static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
  char one = p->at < p->end ? *p->at++ : 0;
  const char *found = one ? strchr(names, one) : NULL;
  unsigned code, low;
  if (found) {
    *(*to)++ = values[found - names];
    return true;
  }
  if (one != 'u' || !parse_hex4(p, &code)) return false;
  if (code >= 0xD800 && code < 0xDC00 && p->end - p->at >= 6 && p->at[0] == '\\' && p->at[1] == 'u') {
    const char *back = p->at;
    p->at += 2;
    if (parse_hex4(p, &low) && low >= 0xDC00 && low < 0xE000)
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    else
      p->at = back; /* half a pair stands for itself */
  }
  *to = put_utf8(*to, code);
  return true;
}

/* The text behind an opening quote: a pointer into the line itself where nothing is escaped. */
static bool parse_text(struct parser *p, const char **text, size_t *size) {
  const char *begin = p->at;
  bool escaped = false;
  while (p->at < p->end && *p->at != '"') {
    size_t step = utf8_length(p->at, p->end);
    if ((unsigned char)*p->at < 0x20 || !step) return broken(p, "a control character, or bytes that are not UTF-8"), false;
    if (*p->at == '\\') {
      escaped = true;
      step = 2;
    }
    if (step > (size_t)(p->end - p->at)) break;
    p->at += step;
  }
  if (p->at >= p->end || *p->at != '"') return broken(p, "a string without an end"), false;
  const char *end = p->at++;
  *text = begin;
  *size = (size_t)(end - begin);
  if (!escaped) return true;
  char *copy = alloc(*size), *to = copy;
  struct parser inner = {.at = begin, .end = end};
  while (inner.at < inner.end) {
    if (*inner.at != '\\')
      *to++ = *inner.at++;
    else if (inner.at++, !parse_escape(&inner, &to))
      return broken(p, "an escape that JSON has not got"), false;
  }
  *text = copy;
  *size = (size_t)(to - copy);
  return true;
}

static size_t digits(struct parser *p) {
  const char *begin = p->at;
  while (p->at < p->end && *p->at >= '0' && *p->at <= '9') p->at++;
  return (size_t)(p->at - begin);
}

static struct node *parse_number(struct parser *p, struct node *node) {
  const char *begin = p->at;
  bool negative = taken(p, '-');
  const char *first = p->at;
  size_t count = digits(p);
  if (!count || (count > 1 && *first == '0')) return broken(p, "a number that JSON has not got");
  uint64_t value = 0;
  node->kind = INTEGER;
  node->exact = count <= 19;
  for (size_t i = 0; i < count && node->exact; i++) value = value * 10 + (uint64_t)(first[i] - '0');
  if (value > (uint64_t)INT64_MAX + negative) node->exact = false;
  if (node->exact) node->number = (int64_t)(negative ? 0 - value : value);
  if (taken(p, '.')) {
    node->kind = REAL;
    if (!digits(p)) return broken(p, "a number that JSON has not got");
  }
  if (taken(p, 'e') || taken(p, 'E')) {
    node->kind = REAL;
    if (!taken(p, '+')) taken(p, '-');
    if (!digits(p)) return broken(p, "a number that JSON has not got");
  }
  node->real = (double)node->number;
  if (node->kind == REAL || !node->exact) {
    char copy[64];
    size_t size = (size_t)(p->at - begin);
    if (size >= sizeof copy) return broken(p, "a number of more than 63 characters");
    memcpy(copy, begin, size);
    copy[size] = 0;
    node->real = strtod(copy, NULL);
    if (node->kind == REAL) node->exact = false;
  }
  return node;
}

static bool parse_name(struct parser *p, const char **name, size_t *size) {
  skip_space(p);
  if (!taken(p, '"')) return broken(p, "a member without a name"), false;
  if (!parse_text(p, name, size)) return false;
  skip_space(p);
  return taken(p, ':') || (broken(p, "a member without a value"), false);
}

static struct node *parse_members(struct parser *p, struct node *node, char close) {
  struct node **tail = &node->first;
  node->kind = close == '}' ? OBJECT : LIST;
  if (++p->depth > MAX_DEPTH) return broken(p, "more than 64 levels");
  skip_space(p);
  if (!taken(p, close)) {
    do {
      const char *name = NULL;
      size_t size = 0;
      if (node->kind == OBJECT && !parse_name(p, &name, &size)) return NULL;
      struct node *member = parse_value(p);
      if (!member) return NULL;
      member->name = name;
      member->name_size = size;
      *tail = member;
      tail = &member->next;
      node->size++;
      skip_space(p);
    } while (taken(p, ','));
    if (!taken(p, close)) return broken(p, "a list or an object without an end");
  }
  p->depth--;
  return node;
}

static struct node *parse_word(struct parser *p, struct node *node) {
  static const struct {
    const char *word;
    enum kind kind;
    int value;
  } words[] = {{"null", NOTHING, 0}, {"true", BOOLEAN, 1}, {"false", BOOLEAN, 0}};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    size_t size = strlen(words[i].word);
    if ((size_t)(p->end - p->at) < size || memcmp(p->at, words[i].word, size) != 0) continue;
    p->at += size;
    node->kind = words[i].kind;
    node->number = words[i].value;
    return node;
  }
  return broken(p, "a value that JSON has not got");
}

static struct node *parse_value(struct parser *p) {
  struct node *node = zeroed(1, sizeof *node), *found;
  if (!p->whole) p->whole = node;
  skip_space(p);
  node->begin = p->at;
  if (taken(p, '{')) {
    found = parse_members(p, node, '}');
  } else if (taken(p, '[')) {
    found = parse_members(p, node, ']');
  } else if (taken(p, '"')) {
    node->kind = TEXT;
    found = parse_text(p, &node->text, &node->size) ? node : NULL;
  } else if (p->at < p->end && (*p->at == '-' || (*p->at >= '0' && *p->at <= '9'))) {
    found = parse_number(p, node);
  } else {
    found = parse_word(p, node);
  }
  node->end = p->at;
  return found;
}

/* Parse one value and nothing behind it. NULL where it is none; p->problem says why. */
static struct node *parse(struct parser *p) {
  struct node *node = parse_value(p);
  skip_space(p);
  if (node && p->at < p->end) return broken(p, "something stands behind the value");
  return node;
}

static bool is_text(const struct node *node, const char *wanted) {
  return node->kind == TEXT && node->size == strlen(wanted) && memcmp(node->text, wanted, node->size) == 0;
}

/* The member of an object, the last of that name; NULL where there is none. */
static struct node *member(const struct node *object, const char *name) {
  struct node *found = NULL;
  size_t size = strlen(name);
  for (struct node *one = object->first; object->kind == OBJECT && one; one = one->next)
    if (one->name_size == size && memcmp(one->name, name, size) == 0) found = one;
  return found;
}
