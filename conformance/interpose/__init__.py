"""The harness between a testee and its kernel: held system calls, by seccomp user notification (Linux 5.9 or later).

Usable alone: `launcher.Interposer` starts any program under a handler of yours, and `kernel.Kernel` is the handler that the
suite's cases speak to. Lowest to highest: `calls` and `bpf` (which calls are held), `seccomp` (the kernel's own interface),
`memory` (the caller's msghdr and buffers), `held` (one call, and its answers), `perform` (doing it in the kernel's stead),
`supervisor` (the thread that answers), `launcher` (starting a program so), `faults` and `kernel`.
"""
