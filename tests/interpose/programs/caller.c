/* A program that passes descriptors: caller PATH ROUNDS [thread|child], or caller once|exec|spawn|threads.
 *
 * PATH: it connects there, and in each round receives a message with a descriptor and answers with one line and the same
 * descriptor: what cmsg_len said, how many descriptors it found, and what the last of them refers to. A receive that fails is
 * answered with a line "errno N". An interrupted call is made again, and what a send did not take is sent.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROOM = CMSG_SPACE(sizeof(int)) };

static int sock, rounds;
static atomic_int over;

static void answer(const char *line, int fd) {
    size_t length = strlen(line), done = 0;
    while (done < length) {
        _Alignas(struct cmsghdr) char control[ROOM];
        struct iovec vector = {(char *)line + done, length - done};
        struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
        if (fd >= 0 && done == 0) {
            message.msg_control = control;
            message.msg_controllen = sizeof control;
            struct cmsghdr *head = CMSG_FIRSTHDR(&message);
            head->cmsg_level = SOL_SOCKET;
            head->cmsg_type = SCM_RIGHTS;
            head->cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(head), &fd, sizeof fd);
        }
        ssize_t sent = sendmsg(sock, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            exit(3);
        if (sent > 0)
            done += sent;
    }
}

static void one_round(void) {
    _Alignas(struct cmsghdr) char control[ROOM];
    char data[64], line[128];
    struct iovec vector = {data, sizeof data};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got;
    do
        got = recvmsg(sock, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0) {
        snprintf(line, sizeof line, "errno %d\n", errno);
        answer(line, -1);
        return;
    }
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    int fd = -1, count = 0;
    long told = head ? (long)head->cmsg_len : 0;
    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS) {
        size_t end = told < (long)message.msg_controllen ? (size_t)told : message.msg_controllen;
        count = (int)((end - CMSG_LEN(0)) / sizeof fd);
        memcpy(&fd, CMSG_DATA(head), sizeof fd);
    }
    struct stat facts = {0};
    if (fd >= 0)
        fstat(fd, &facts);
    snprintf(line, sizeof line, "%ld %d %lu:%lu %zd\n", told, count, (unsigned long)facts.st_dev, (unsigned long)facts.st_ino, got);
    answer(line, fd);
    if (fd >= 0)
        close(fd);
}

static void *all_rounds(void *unused) {
    for (int i = 0; i < rounds; i++)
        one_round();
    return unused;
}

static void *busy(void *unused) {
    while (!over)
        ;
    return unused;
}

static int once(void) {
    int ends[2];
    char data;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) || send(ends[0], "x", 1, 0) != 1)
        return 4;
    struct iovec vector = {&data, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    return recvmsg(ends[1], &message, 0) == 1 && data == 'x' ? 0 : 5;
}

static void *leave(void *unused) {
    once();
    return unused;
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "once"))
        return once();
    if (argc == 2 && !strcmp(argv[1], "exec")) {
        if (once())
            return 6;
        execl("/proc/self/exe", argv[0], "once", (char *)0);
        return 7;
    }
    if (argc == 2 && !strcmp(argv[1], "spawn")) {
        char *const arguments[] = {argv[0], "once", 0};
        int status;
        pid_t pid;
        if (posix_spawn(&pid, "/proc/self/exe", 0, 0, arguments, environ) || waitpid(pid, &status, 0) != pid || status)
            return 8;
        pid = vfork();
        if (pid == 0) {
            execl("/proc/self/exe", argv[0], "once", (char *)0);
            _exit(9);
        }
        return waitpid(pid, &status, 0) != pid || status ? 10 : once();
    }
    if (argc == 2 && !strcmp(argv[1], "threads")) {
        for (int i = 0; i < 20; i++) {
            pthread_t worker;
            if (pthread_create(&worker, 0, leave, 0) || pthread_join(worker, 0))
                return 11;
        }
        return once();
    }
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    rounds = atoi(argv[2]);
    sock = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(sock, (struct sockaddr *)&address, sizeof address))
        return 2;
    const char *how = argc > 3 ? argv[3] : "";
    if (!strcmp(how, "thread")) {
        pthread_t worker, other;
        pthread_create(&other, 0, busy, 0);
        pthread_create(&worker, 0, all_rounds, 0);
        pthread_join(worker, 0);
        over = 1;
        pthread_join(other, 0);
    } else if (!strcmp(how, "child")) {
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            all_rounds(0);
            exit(0);
        }
        return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : 12;
    } else {
        all_rounds(0);
    }
    return 0;
}
