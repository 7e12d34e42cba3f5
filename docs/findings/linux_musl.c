/* What goes wrong in sendmsg of musl on 64-bit machines.
 *
 *     musl-gcc -static -o linux_musl linux_musl.c && ./linux_musl [SCENARIO]
 *
 * prints a line for each scenario; the exit code is 0 when all of them are shown.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MOST = 253 }; /* SCM_MAX_FD of the kernel */

struct outcome {
	long libc, kernel;
	int libc_errno, kernel_errno;
};

/* Send `count` descriptors by the library's sendmsg and by the system call itself, with the same header. */
static struct outcome send_both(int count)
{
	static union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * MOST)];
	} control;
	struct outcome seen = {0};
	struct iovec iov = {.iov_base = "x", .iov_len = 1};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control};
	int pair[2];

	memset(&control, 0, sizeof control);
	message.msg_controllen = CMSG_SPACE(sizeof(int) * (unsigned)count);
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int) * (unsigned)count); /* count times descriptor 0 */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair))
		return seen;
	errno = 0;
	seen.libc = sendmsg(pair[0], &message, 0);
	seen.libc_errno = errno;
	errno = 0;
	seen.kernel = syscall(SYS_sendmsg, pair[0], &message, 0);
	seen.kernel_errno = errno;
	close(pair[0]);
	close(pair[1]);
	return seen;
}

static int most_of_a_message(void)
{
	struct outcome fits = send_both(252), most = send_both(MOST);
	int shown = fits.libc == 1 && most.libc == -1 && most.libc_errno == ENOMEM && most.kernel == 1;

	printf("most-of-a-message: %s: 252 descriptors: sendmsg returned %ld; 253: sendmsg returned %ld (%s), the system call %ld\n",
	       shown ? "shown" : "not shown", fits.libc, most.libc, strerror(most.libc_errno), most.kernel);
	return !shown;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "most-of-a-message")) {
			fprintf(stderr, "no such scenario: %s; there is: most-of-a-message\n", argv[i]);
			return 2;
		}
	return most_of_a_message();
}
