"""The second part of every script in C that is the same: what an operation shows, and what it has to show."""

from __future__ import annotations

JUDGE = r"""
/* ---- what an operation shows, and what it has to show ---- */

void forget_shown(void)
{
    error[0] = files[0] = 0;
    value = -1;
    nfiles = nplain = 0;
    flags_seen = 0;
    size = 0;
}

void operation(int number, const char *line)
{
    printf("%3d  %s\n", number, line);
    forget_shown();
}

void done(void)
{
    if (error[0]) printf("       error: %s\n", error);
    if (value >= 0) printf("       value: %ld\n", value);
    if (size) printf("       data: %zu bytes\n", size);
    if (files[0]) printf("       files: %.100s\n", files);
    if (flags_seen) printf("       flags: %#x\n", flags_seen);
}

void claim_error(const char *said) { snprintf(error, sizeof error, "%s", said); }
void claim_value(long said) { value = said; }
void claim_files(const char *said) { snprintf(files, sizeof files, "%s", said); }
void claim_flags(unsigned said) { flags_seen = said; }
void claim_data(void) { size_t whole = 0; for (int i = 0; i < niov; i++) whole += iov[i].iov_len; size = 0;
    came((ssize_t)whole); forget_message(); }

int same = 1;
void expect_error(const char *wanted)
{
    printf("\nseen:      error '%s'\nhas to be: error '%s'\n", error, wanted);
    same &= !strcmp(error, wanted);
}
void expect_value(long wanted)
{
    printf("\nseen:      value %ld\nhas to be: value %ld\n", value, wanted);
    same &= value == wanted;
}
void expect_files(const char *wanted)
{
    printf("\nseen:      files '%.2000s'\nhas to be: files '%.2000s'\n", files, wanted);
    same &= !strcmp(files, wanted);
}
void expect_flags(unsigned wanted)
{
    printf("\nseen:      flags %#x\nhas to be: flags %#x\n", flags_seen, wanted);
    same &= flags_seen == wanted;
}
void expect_cloexec(int wanted)
{
    printf("\nseen:      %ld of %ld descriptors without close-on-exec\nhas to be: %s\n", nplain, nfiles, wanted ? "none" : "all");
    same &= nplain == (wanted ? 0 : nfiles);
}
void expect_data(void)
{
    size_t at = 0;
    int equal = 1;
    for (int i = 0; i < niov; i++) {
        equal = equal && at + iov[i].iov_len <= size && (!iov[i].iov_len || !memcmp(data + at, iov[i].iov_base, iov[i].iov_len));
        at += iov[i].iov_len;
    }
    printf("\nseen:      %zu bytes, %s\nhas to be: %zu bytes\n", size, equal && at == size ? "as here" : "others", at);
    same &= equal && at == size;
    forget_message();
}
/* bad: that is what it must not be */
void expected(int bad)
{
    if (bad) puts("(anything but this)");
    defects += bad ? same : !same;
}

/* See that what the caller has is what it was; close all that it knows of, and see that nothing is left. */
void account(int leak, int stray, const char *owned)
{
    struct stat s;
    int wrong = 0;
    leave_free(-1);
    for (int i = 0; stray && i < nnames; i++) {
        if (!strchr(owned, names[i].name[0]) || names[i].number == NOWHERE) continue;
        if (!fstat(names[i].number, &s) && s.st_dev == names[i].device && s.st_ino == names[i].inode) continue;
        printf("\nseen:      %s is closed, or something else, although nobody asked for that", names[i].name);
        wrong++;
    }
    if (stray) printf("\n%shas to be: what the caller has open stays open\n", wrong ? "" : "seen:      nothing was closed\n");
    for (int i = 0; i < nnames; i++) if (strchr("tfr", names[i].name[0])) close_name(names[i].name);
    if (leak) {
        int left = 0;
        printf("\nseen:      still open in the implementation, and its caller cannot know:");
        for (int i = 3; i < LOW; i++) if (is_open(i)) { printf(" %s", label(i)); left++; }
        if (!left) printf(" nothing");
        puts("\nhas to be: nothing is left open after the caller has closed all that it was told of");
        wrong += left;
    }
    defects += wrong;
}

void recorded(const char *text) { printf("\nseen:      %s\nhas to be: not that\n", text); defects++; }

void begin(void)
{
    struct rlimit l;
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (getrlimit(RLIMIT_NOFILE, &l)) die("getrlimit");
    top = l.rlim_max < 4 * LOW ? (long)l.rlim_max : 4 * LOW;
    if (top < LOW + 1024) { fprintf(stderr, "this needs a hard limit of %d descriptors (ulimit -Hn)\n", LOW + 1024); exit(4); }
    set_limit(0);
    for (int i = 3; i < top; i++) close(i);
    forget_shown();
}
""".strip("\n")
