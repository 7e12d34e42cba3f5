"""The program of caller.c in Python, by the socket module alone."""

import os
import socket
import struct
import sys
import threading
import warnings

warnings.simplefilter("ignore")  # the socket module warns of control data that are cut
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])


def answer(line, fds):
    left = line.encode()
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
    left = left[sock.sendmsg([left], control) :]
    while left:
        left = left[sock.sendmsg([left]) :]


def one_round():
    try:
        data, control, _, _ = sock.recvmsg(64, socket.CMSG_SPACE(4))
    except OSError as fault:
        return answer(f"errno {fault.errno}\n", [])
    told = sum(16 + len(content) for _, _, content in control)
    fds = [
        fd
        for _, _, content in control
        for fd in struct.unpack(f"{len(content) // 4}i", content[: len(content) // 4 * 4])
    ]
    facts = os.fstat(fds[0])
    answer(f"{told} {len(fds)} {facts.st_dev}:{facts.st_ino} {len(data)}\n", fds[:1])
    os.close(fds[0])
    return None


def all_rounds():
    for _ in range(int(sys.argv[2])):
        one_round()


how = sys.argv[3] if len(sys.argv) > 3 else ""
if how == "thread":
    over = threading.Event()

    def busy():
        while not over.is_set():
            sum(range(100))

    other, worker = threading.Thread(target=busy), threading.Thread(target=all_rounds)
    other.start()
    worker.start()
    worker.join()
    over.set()
    other.join()
elif how == "child":
    child = os.fork()
    if not child:
        all_rounds()
        os._exit(0)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
else:
    all_rounds()
