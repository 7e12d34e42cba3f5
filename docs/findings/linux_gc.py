"""Sockets in flight that Linux never collects: four that wait in one another's queues, and that nobody can reach.

`python linux_gc.py` prints a line for each scenario; the exit code is 0 when all of them are shown.

Beware: where it is shown, the kernel keeps four sockets and the files in their queues until the machine is restarted. As root
the script becomes a user of its own first, so that no other user's account of descriptors in flight is charged.
"""

import array
import os
import select
import socket
import sys
import time

USER = 65001
PATIENCE = 2.0
COLLECTED = [(0, 1), (1, 2), (2, 0), (1, 3), (3, 2)]
KEPT = [(0, 1), (1, 2), (2, 0), (0, 3), (3, 2)]
"""Edges: the receiving end of the second pair waits in the queue of the first one's. Both graphs are one cycle each."""


def send(sock, fds):
    sock.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])


def released(edges):
    """Build the graph with a pipe's writer in every queue, close everything, and tell how many of the pipes were released."""
    count = 1 + max(max(edge) for edge in edges)
    pipes = [os.pipe() for _ in range(count)]
    pairs = [socket.socketpair() for _ in range(count)]
    for (sender, _), (_, writer) in zip(pairs, pipes, strict=True):
        send(sender, [writer])
        os.close(writer)
    for source, target in edges:
        send(pairs[source][0], [pairs[target][1].fileno()])
    for sender, receiver in pairs:
        receiver.close()
        sender.close()
    poll = select.poll()
    for reader, _ in pipes:
        poll.register(reader, 0)
    deadline = time.monotonic() + PATIENCE
    while len(poll.poll(10)) < count and time.monotonic() < deadline:
        for end in socket.socketpair():  # the close of any AF_UNIX socket begins a collection
            end.close()
    told = len(poll.poll(0))
    for reader, _ in pipes:
        os.close(reader)
    return told, count


def cross_edge():
    usual, kept = released(COLLECTED), released(KEPT)
    words = f"files released with the graph {COLLECTED}: {usual[0]} of {usual[1]}; with {KEPT}: {kept[0]} of {kept[1]}"
    return usual == (4, 4) and kept == (0, 4), words


def main(wanted):
    scenarios = {"cross-edge": cross_edge}
    unknown = set(wanted) - set(scenarios)
    if unknown:
        sys.exit(f"no such scenario: {', '.join(sorted(unknown))}; there are: {', '.join(scenarios)}")
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
    missed = 0
    for name in wanted or scenarios:
        shown, words = scenarios[name]()
        missed += not shown
        print(f"{name}: {'shown' if shown else 'not shown'}: {words}")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
