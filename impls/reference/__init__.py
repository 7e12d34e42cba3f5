"""The reference: the implementation of descriptor passing that everybody may copy.

Three layers over the socket module, each usable alone: `message` (sendmsg and recvmsg with owned descriptors),
`descriptors` (the ScmSocket calls and send_fds, recv_fds), `transport` (a stream transport for asyncio). `dialects`
gives the first one the shapes of its ancestors.
"""
