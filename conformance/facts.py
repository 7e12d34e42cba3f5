"""Facts about the platform, measured at run time and written into every run's header; never decided by a system's name."""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections.abc import Callable

from ..impls.constants import CONSTANTS
from .census import same_description
from .interpose.kernel import missing
from .records import Platform


def _option(name: str) -> Callable[[], str]:
    def probe() -> str:
        a, b = socket.socketpair()
        with a, b:
            return str(a.getsockopt(socket.SOL_SOCKET, CONSTANTS[name]))

    return probe


def _proc_fd_size() -> str:
    return "yes" if os.stat("/proc/self/fd").st_size else "no"  # noqa: PTH116 - a number is wanted, no path


def _kcmp() -> str:
    outcome = same_description(os.getpid(), 0, os.getpid(), 0)
    return "no" if outcome is None else "yes"


def _sysctl(path: str) -> Callable[[], str]:
    def probe() -> str:
        with open(path, encoding="ascii") as file:  # noqa: PTH123 - the path is a constant of the kernel's
            return file.read().strip()

    return probe


PROBES: dict[str, Callable[[], str]] = {
    "proc-fd-size": _proc_fd_size,
    "kcmp": _kcmp,
    "so-passpidfd": _option("SO_PASSPIDFD"),
    "so-passrights": _option("SO_PASSRIGHTS"),
    "so-inq": _option("SO_INQ"),
    "optmem-max": _sysctl("/proc/sys/net/core/optmem_max"),
    "max-dgram-qlen": _sysctl("/proc/sys/net/unix/max_dgram_qlen"),
    "interposer": lambda: f"no ({reason})" if (reason := missing()) else "yes",
    "root": lambda: "no" if os.geteuid() else "yes",
}


def _ask(probe: Callable[[], str]) -> str:
    try:
        return probe()
    except (OSError, KeyError) as fault:
        return f"no ({fault})"


def platform_facts(personality: str = "") -> Platform:
    """Return where we are. Each probe's answer is short text; ``no (why)`` where the kernel has not got it.

    ``personality``: the name of the system that the kernel is made to look like.
    """
    system = os.uname()
    python = f"{platform.python_implementation()} {platform.python_version()}"
    probes = {name: _ask(probe) for name, probe in PROBES.items()} if sys.platform == "linux" else {}
    return Platform(system.sysname, system.release, system.machine, python, os.geteuid(), probes, personality)
