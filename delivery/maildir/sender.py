"""The embedded default: deliveries become files of a Maildir (https://cr.yp.to/proto/maildir.html).

A file is written to tmp/, synced, and renamed into new/: no reader sees half a message. The rename is what the
final dot is in SMTP, so the file is written before `Work.record` marks the delivery as sending, and nearly all
that can go wrong has gone wrong by then. The name is made of the email's time, so that the names have the order of
time, and of the Message-ID: a delivery that is done again after a kill takes the place of the first, unless a reader
has moved that one on already.
"""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from delivery.interface import Envelope, Kind, Outcome, SessionError, Work, not_built
from delivery.message.address import header_address

_LEFT_FOR = 36 * 3600  # seconds after which a file in tmp/ is nobody's
_BATCH = 32  # envelopes taken at once: few, so that what falls due meanwhile waits behind few

_LET_WRITE = "let this user write there (chown, chmod u+rwx)"
_BE_A_FOLDER = "move away what is in its place, or name another folder in EMAIL_URL"
_REMEDIES = {
    errno.EACCES: _LET_WRITE,
    errno.EPERM: _LET_WRITE,
    errno.EROFS: "name a folder on a writable disk in EMAIL_URL",
    errno.EEXIST: _BE_A_FOLDER,
    errno.ENOENT: "make the folder that it is to be in, or name another in EMAIL_URL",
    errno.EISDIR: _BE_A_FOLDER,
    errno.ENOTDIR: _BE_A_FOLDER,
    errno.ENOSPC: "make room on its disk",
    errno.EDQUOT: "make room, or raise this user's quota",
    errno.EFBIG: "raise the size that this user's files may have (ulimit -f)",
}


class MaildirSender:
    """Delivers into the Maildir at `path`, one message at a time, and makes the folders where they are missing."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.maildir = _Maildir(path)
        self.clock = clock

    def deliver(self, work: Work) -> None:
        """Deliver all that `work` hands out. Raises SessionError when the folder cannot be written to.

        However it ends, outcomes are recorded and all other envelopes are given back first. Among these may be
        one that `work.record` has let go on: it was certainly not delivered.
        """
        self.maildir.make(self.clock())
        _Delivery(self, work).run()

    def octets(self, envelope: Envelope) -> bytes:
        """The whole file, with what a local delivery agent puts on top. Raises MessageError."""
        message, address = envelope.message, envelope.address
        octets = message.octets(address, envelope.recipient_id, self.clock(), eight_bit=True)
        trace = b"Return-Path: <%b>\nDelivered-To: %b\n" % (
            message.sender_address.encode("utf-8"),
            header_address(address),
        )
        return trace + octets.replace(b"\r\n", b"\n")


class _Delivery:
    """One `deliver`: what is taken and not decided, and what is decided and not recorded."""

    def __init__(self, sender: MaildirSender, work: Work) -> None:
        self.sender = sender
        self.work = work
        self.waiting: deque[Envelope] = deque()
        self.outcomes: list[Outcome] = []

    def run(self) -> None:
        try:
            while not self.work.stopping and self._take() and self._deliver_first():
                pass
        finally:
            self._close()

    def _take(self) -> bool:
        self.work.keep_alive()
        if not self.waiting:
            self.waiting.extend(self.work.take(_BATCH))
        return bool(self.waiting)

    def _deliver_first(self) -> bool:
        """False when there is no sense in going on: the lease is another's."""
        envelope = self.waiting[0]
        try:
            octets = self.sender.octets(envelope)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one message stops no other
            self._decide(self.waiting.popleft(), *not_built(error))
            self._record([])
            return True
        return self._save(envelope, octets)

    def _save(self, envelope: Envelope, octets: bytes) -> bool:
        maildir, name = self.sender.maildir, _file_name(envelope)
        with maildir.draft(name, octets) as draft:
            if envelope not in self._record([envelope]):
                self.waiting.popleft()  # cancelled, or another sender's by now: not ours to give back
                return True
            if not self.work.may_end():
                return False
            self._publish(draft, name)
        return True

    def _publish(self, draft: Path, name: str) -> None:
        """From the rename on, nothing that happens may give the envelope back."""
        maildir, envelope = self.sender.maildir, self.waiting.popleft()
        try:
            maildir.publish(draft, name)
        except SessionError:
            self.waiting.appendleft(envelope)
            raise
        try:
            maildir.sync_new()
        except SessionError as error:
            self._decide(envelope, Kind.IN_DOUBT, error.reason)  # there, but a power cut may take it away
            raise
        self._decide(envelope, Kind.SENT, f"saved as {maildir.shown(name)}")

    def _decide(self, envelope: Envelope, kind: Kind, reply: str) -> None:
        self.outcomes.append(Outcome(envelope, kind, reply, self.sender.clock()))

    def _record(self, ending: list[Envelope]) -> Collection[Envelope]:
        kept = self.work.record(tuple(self.outcomes), ending)
        self.outcomes.clear()
        return kept

    def _close(self) -> None:
        try:
            if self.outcomes:
                self._record([])
        finally:
            if self.waiting:
                self.work.give_back(tuple(self.waiting))


class _Maildir:
    """The folders. What the system refuses is a SessionError that says what to do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.new = path / "new"
        self.tmp = path / "tmp"

    def make(self, now: float) -> None:
        """Make the folders that are missing, in such a way that they are still there after a power cut."""
        with self._explained():
            missing = [each for each in (self.path, self.new, self.tmp, self.path / "cur") if not each.is_dir()]
            for folder in missing:
                folder.mkdir(mode=0o700, exist_ok=True)
                _sync(folder.parent)
            self._clean(now - _LEFT_FOR)

    def _clean(self, before: float) -> None:
        """Remove what killed processes have left in tmp/, as the convention has it."""
        for entry in os.scandir(self.tmp):
            with suppress(FileNotFoundError):  # another process was quicker
                if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < before:
                    os.unlink(entry.path)  # noqa: PTH108

    @contextmanager
    def draft(self, name: str, octets: bytes) -> Iterator[Path]:
        """A synced file in tmp/; it is gone afterwards unless it was published."""
        path = self.tmp / f"{name}.P{os.getpid()}"
        try:
            with self._explained():
                _write(path, octets)
            yield path
        finally:
            with suppress(OSError):
                path.unlink()

    def publish(self, draft: Path, name: str) -> None:
        """From here on readers see it."""
        with self._explained():
            draft.replace(self.new / name)

    def sync_new(self) -> None:
        with self._explained():
            _sync(self.new)

    def shown(self, name: str = "") -> str:
        """The path of a message, or of all, as text that every log and database takes."""
        return os.fsencode(self.new / name if name else self.path).decode("utf-8", "replace")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            remedy = _REMEDIES.get(error.errno or 0, "see EMAIL_URL")
            raise SessionError(f"cannot write to the Maildir {self.shown()}: {error.strerror}; {remedy}") from error


def _file_name(envelope: Envelope) -> str:
    """When the email could be sent first, and the left side of the Message-ID, which is never the same for two.

    It is of letters, digits, `-`, `_` and two dots.
    """
    message = envelope.message
    return f"{max(message.ready_at, 0):010}.{message.message_id(envelope.recipient_id).strip('<>').partition('@')[0]}"


def _write(path: Path, octets: bytes) -> None:
    """Write over what a killed process of the same id may have left."""
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows opens no folders, and needs no sync of them
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF):  # some file systems sync no folders
            raise
    finally:
        os.close(descriptor)
