"""An SMTP client without I/O, and the one file that gives it sockets.

Imports run one way: sender -> loop -> pool -> network -> connection -> session -> handshake, state, verdict ->
reply, command -> errors.
`connection` and `network` reach sockets, TLS and time through `transport` alone; below them bytes go in, and
outcomes and bytes come out.
"""
