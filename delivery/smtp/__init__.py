"""An SMTP client without I/O, and the one file that adds sockets to it.

Imports run one way: sender -> loop -> pool -> network -> connection -> session -> handshake, state, classification ->
reply, command -> errors.
Only `transport` uses sockets, TLS and the clock; `connection` and `network` call it. Below these, bytes go in, and
outcomes and bytes come out.
"""
