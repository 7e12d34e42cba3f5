"""The reference: the implementation of descriptor passing that everybody may copy.

Three layers over the socket module, each usable alone: `message` (sendmsg and recvmsg with owned descriptors),
`descriptors` (the ScmSocket calls and send_fds, recv_fds), `transport` (a stream transport for asyncio, which
`endpoints` makes by connecting or serving). Beneath them are `ownership`, `control` and, for the transport,
`sendqueue`. `dialects` gives the first layer the shapes of its ancestors.

`libcmessage` is the first layer once more, over the C library's own calls (`libc`): there `control`, which writes and
reads control buffers, does what CPython does in C.
"""
