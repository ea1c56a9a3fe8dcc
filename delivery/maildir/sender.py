"""The embedded default: deliveries become files in a Maildir (https://cr.yp.to/proto/maildir.html).

A file is written to tmp/, synced, and renamed into new/, so no reader sees half a message. The rename is what the
final dot is in SMTP: the file is written before `Queue.commit` marks the delivery as sending, so nearly everything that
can go wrong has gone wrong by then. The name is made of the email's time, so that names sort by time, and of the
Message-ID: a delivery that is repeated after a kill replaces the first file, unless a reader has already moved that.
"""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from delivery.interface import Envelope, Kind, Outcome, Queue, SessionError, classify_build_error
from delivery.message.address import header_address

TMP_EXPIRY_SECONDS = 36 * 3600  # the Maildir convention: an older file in tmp/ was left by a killed process
BATCH_SIZE = 32  # envelopes claimed at once: few, so that mail that falls due meanwhile waits behind few

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
    """Delivers into the Maildir at `path`, one message at a time, and creates missing folders."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.maildir = _Maildir(path)
        self.clock = clock

    def deliver(self, queue: Queue) -> None:
        """Deliver everything in `queue`. Raises SessionError if the folder cannot be written to.

        However it ends, outcomes are recorded and all other envelopes are given back first. One of these may be an
        envelope that `queue.commit` let through: it was certainly not delivered.
        """
        self.maildir.create(self.clock())
        _Delivery(self, queue).run()

    def as_bytes(self, envelope: Envelope) -> bytes:
        """Return the whole file, with the lines that a local delivery agent adds at the top. Raises MessageError."""
        message, address = envelope.message, envelope.address
        octets = message.as_bytes(address, envelope.recipient_id, self.clock(), eight_bit=True)
        trace = b"Return-Path: <%b>\nDelivered-To: %b\n" % (
            message.sender_address.encode("utf-8"),
            header_address(address),
        )
        return trace + octets.replace(b"\r\n", b"\n")


class _Delivery:
    """One `deliver`: `waiting` envelopes have no outcome yet, and `outcomes` are not recorded yet."""

    def __init__(self, sender: MaildirSender, queue: Queue) -> None:
        self.sender = sender
        self.queue = queue
        self.waiting: deque[Envelope] = deque()
        self.outcomes: list[Outcome] = []

    def run(self) -> None:
        try:
            while not self.queue.stopping and self._fetch() and self._deliver_first():
                pass
        finally:
            self._close()

    def _fetch(self) -> bool:
        self.queue.renew_lease()
        if not self.waiting:
            self.waiting.extend(self.queue.fetch(BATCH_SIZE))
        return bool(self.waiting)

    def _deliver_first(self) -> bool:
        """Deliver the first of the waiting envelopes; return False if the lease has ended."""
        envelope = self.waiting[0]
        try:
            octets = self.sender.as_bytes(envelope)
        except Exception as error:  # noqa: BLE001 - a fault in one message must not stop the others
            self._decide(self.waiting.popleft(), *classify_build_error(error))
            self._commit([])
            return True
        return self._write_and_publish(envelope, octets)

    def _write_and_publish(self, envelope: Envelope, octets: bytes) -> bool:
        maildir, name = self.sender.maildir, _file_name(envelope)
        with maildir.draft(name, octets) as draft:
            if envelope not in self._commit([envelope]):
                self.waiting.popleft()  # cancelled, or claimed by another sender: not ours to give back
                return True
            if not self.queue.lease_is_valid():
                return False
            self._publish(draft, name)
        return True

    def _publish(self, draft: Path, name: str) -> None:
        """Publish the draft. Once it is renamed, the envelope must not be given back, whatever happens."""
        maildir, envelope = self.sender.maildir, self.waiting.popleft()
        try:
            maildir.publish(draft, name)
        except SessionError:
            self.waiting.appendleft(envelope)
            raise
        try:
            maildir.sync_new()
        except SessionError as error:
            self._decide(envelope, Kind.IN_DOUBT, error.reason)  # it is there, but a power cut may remove it
            raise
        self._decide(envelope, Kind.SENT, f"saved as {maildir.display_path(name)}")

    def _decide(self, envelope: Envelope, kind: Kind, reply: str) -> None:
        self.outcomes.append(Outcome(envelope, kind, reply, self.sender.clock()))

    def _commit(self, ending: list[Envelope]) -> Collection[Envelope]:
        kept = self.queue.commit(tuple(self.outcomes), ending)
        self.outcomes.clear()
        return kept

    def _close(self) -> None:
        try:
            if self.outcomes:
                self._commit([])
        finally:
            if self.waiting:
                self.queue.release(tuple(self.waiting))


class _Maildir:
    """The folders. An error of the system becomes a SessionError with a remedy."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.new = path / "new"
        self.tmp = path / "tmp"

    def create(self, now: float) -> None:
        """Create missing folders, durably, and clean up tmp/."""
        with self._explain_errors():
            missing = [each for each in (self.path, self.new, self.tmp, self.path / "cur") if not each.is_dir()]
            for folder in missing:
                folder.mkdir(mode=0o700, exist_ok=True)
                _sync(folder.parent)
            self._clean(now - TMP_EXPIRY_SECONDS)

    def _clean(self, before: float) -> None:
        """Remove the files that killed processes left in tmp/."""
        for entry in os.scandir(self.tmp):
            with suppress(FileNotFoundError):  # another process was faster
                if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < before:
                    os.unlink(entry.path)  # noqa: PTH108

    @contextmanager
    def draft(self, name: str, octets: bytes) -> Iterator[Path]:
        """Write and sync a file in tmp/; it is removed at the end unless it was published."""
        path = self.tmp / f"{name}.P{os.getpid()}"
        try:
            with self._explain_errors():
                _write(path, octets)
            yield path
        finally:
            with suppress(OSError):
                path.unlink()

    def publish(self, draft: Path, name: str) -> None:
        """Rename the draft into new/, where readers see it."""
        with self._explain_errors():
            draft.replace(self.new / name)

    def sync_new(self) -> None:
        with self._explain_errors():
            _sync(self.new)

    def display_path(self, name: str = "") -> str:
        """Return the path of a message, or of the Maildir, as text for logs and the database."""
        return os.fsencode(self.new / name if name else self.path).decode("utf-8", "replace")

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            remedy = _REMEDIES.get(error.errno or 0, "see EMAIL_URL")
            raise SessionError(
                f"cannot write to the Maildir {self.display_path()}: {error.strerror}; {remedy}"
            ) from error


def _file_name(envelope: Envelope) -> str:
    """Return the file name: when the email could first be sent, and the unique left side of the Message-ID.

    It consists of letters, digits, `-`, `_` and two dots.
    """
    message = envelope.message
    return f"{max(message.ready_at, 0):010}.{message.message_id(envelope.recipient_id).strip('<>').partition('@')[0]}"


def _write(path: Path, octets: bytes) -> None:
    """Write and sync a file, over one that a killed process with the same id may have left."""
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows cannot open folders, and does not need to sync them
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF):  # some file systems cannot sync folders
            raise
    finally:
        os.close(descriptor)
