"""A mail server that accepts every message and prints it, as a container beside the service."""

from __future__ import annotations

import socketserver

REPLIES = {"EHLO": "250 sink", "DATA": "354 go on", "QUIT": "221 bye"}


class Session(socketserver.StreamRequestHandler):
    """One connection: each message is printed, followed by a line with its recipients."""

    def handle(self) -> None:
        self._reply("220 sink")
        recipients: list[str] = []
        for line in self.rfile:
            command = line.decode().strip()
            verb = command[:4].upper()
            self._reply(REPLIES.get(verb, "250 ok"))
            if verb == "RCPT":
                recipients.append(command.partition("<")[2].partition(">")[0])
            elif verb == "DATA":
                self._print_message(recipients)
                recipients.clear()
            elif verb == "QUIT":
                return

    def _print_message(self, recipients: list[str]) -> None:
        lines: list[str] = []
        while (line := self.rfile.readline().decode()) not in (".\r\n", ""):
            lines.append(line.rstrip("\r\n"))
        print(*lines, f"DELIVERED TO {' '.join(recipients)}", sep="\n", flush=True)
        self._reply("250 accepted")

    def _reply(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


if __name__ == "__main__":
    with socketserver.ThreadingTCPServer(("", 2525), Session) as server:
        server.serve_forever()
