"""An SMTP client whose protocol code does no I/O.

Imports run one way: sender -> loop -> pool -> network -> connection -> session -> handshake, state, classification ->
reply, command -> errors.
Only `transport` uses sockets, TLS and the clock; `connection` and `network` call it. In the modules below them, bytes
go in, and bytes and outcomes come out.
"""
