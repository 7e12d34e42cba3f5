/* Reads buffers (a uint32_t with the length, then as many bytes) and prints the walk of cmsg(3) over each, a line each:
 * level,type,data in hexadecimal, with a blank between two messages. */

#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(void)
{
    static union {
        struct cmsghdr alignment;
        unsigned char bytes[65536];
    } control;
    uint32_t length;

    while (fread(&length, sizeof length, 1, stdin) == 1) {
        struct msghdr message = {0};
        struct cmsghdr *item;

        if (length > sizeof control.bytes)
            return 1;
        memset(&control, 0, sizeof control);
        if (fread(control.bytes, 1, length, stdin) != length)
            return 1;
        message.msg_control = control.bytes;
        message.msg_controllen = length;
        for (item = CMSG_FIRSTHDR(&message); item != NULL; item = CMSG_NXTHDR(&message, item)) {
            size_t size = item->cmsg_len - CMSG_LEN(0);

            printf("%d,%d,", item->cmsg_level, item->cmsg_type);
            for (size_t at = 0; at < size; at++)
                printf("%02x", CMSG_DATA(item)[at]);
            putchar(' ');
        }
        putchar('\n');
    }
    return 0;
}
