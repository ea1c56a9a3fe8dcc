"""An SMTP client without I/O, and the one file that gives it sockets.

Imports run one way: network -> connection -> session -> opening, dialogue, verdict -> reply, command -> errors.
`connection` and `network` reach sockets, TLS and time through `transport` alone; below them bytes go in, and
outcomes and bytes come out.
"""
