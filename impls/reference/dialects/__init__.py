"""The ancestors' shapes over the reference's message layer, so that their own test suites can judge it.

`socket_methods` (CPython's socket.socket), `twisted_sendmsg` (twisted.python.sendmsg), `send1msg` (the C extension of
Twisted 14), `recipe` (the functions of the socket module's documentation). What they hand out are bare numbers, as the
ancestors do, and the numbers are the caller's to close.
"""
