"""The default without a mail server: deliver into a Maildir (https://cr.yp.to/proto/maildir.html).

Each file is written to tmp/, synced and renamed into new/, so that a reader never sees half a message. The rename
corresponds to the final dot in SMTP. The file is written before `Queue.commit` marks the delivery as `sending`, because
nearly everything that can fail has been done by then. The file name consists of the email's time, so that names sort by
time, and of the Message-ID, so that a delivery repeated after a crash replaces the first file, unless an email client
has already moved that.
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

TMP_EXPIRY_SECONDS = 36 * 3600  # Maildir convention: older files in tmp/ were left by killed processes
BATCH_SIZE = 32  # envelopes claimed at once; few, so that mail that falls due meanwhile does not wait long

_GRANT_ACCESS = "give this user write access (chown, chmod u+rwx)"
_NOT_A_FOLDER = "a file is in the way: move it, or set EMAIL_URL to another folder"
_REMEDIES = {
    errno.EACCES: _GRANT_ACCESS,
    errno.EPERM: _GRANT_ACCESS,
    errno.EROFS: "set EMAIL_URL to a folder on a writable disk",
    errno.EEXIST: _NOT_A_FOLDER,
    errno.ENOENT: "create its parent folder, or set EMAIL_URL to another folder",
    errno.EISDIR: _NOT_A_FOLDER,
    errno.ENOTDIR: _NOT_A_FOLDER,
    errno.ENOSPC: "free some disk space",
    errno.EDQUOT: "free some space, or raise this user's quota",
    errno.EFBIG: "raise this user's file size limit (ulimit -f)",
}


class MaildirSender:
    """Delivers into the Maildir at `path`, one message at a time. Creates missing folders."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.maildir = _Maildir(path)
        self.clock = clock

    def deliver(self, queue: Queue) -> None:
        """Deliver everything in `queue`. Raises SessionError if the Maildir is not writable.

        In any case, all outcomes are recorded first, and all other envelopes are released. One of those may be an
        envelope that `queue.commit` had already returned: it is certain that it was not delivered.
        """
        self.maildir.create(self.clock())
        _Delivery(self, queue).run()

    def as_bytes(self, envelope: Envelope) -> bytes:
        """Return the whole file, including the lines that a local delivery agent adds at the top.

        Raises MessageError.
        """
        message, address = envelope.message, envelope.address
        octets = message.as_bytes(address, envelope.recipient_id, self.clock(), eight_bit=True)
        trace = b"Return-Path: <%b>\nDelivered-To: %b\n" % (
            message.sender_address.encode("utf-8"),
            header_address(address),
        )
        return trace + octets.replace(b"\r\n", b"\n")


class _Delivery:
    """One call of `deliver`. Envelopes in `waiting` have no outcome yet; those in `outcomes` are not recorded yet."""

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
        """Deliver the first waiting envelope. Return False if the lease has expired."""
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
                self.waiting.popleft()  # cancelled, or claimed by another sender: do not release it
                return True
            if not self.queue.lease_is_valid():
                return False
            self._publish(draft, name)
        return True

    def _publish(self, draft: Path, name: str) -> None:
        """Publish the draft. Once it is renamed, the envelope must not be released, whatever happens."""
        maildir, envelope = self.sender.maildir, self.waiting.popleft()
        try:
            maildir.publish(draft, name)
        except SessionError:
            self.waiting.appendleft(envelope)
            raise
        try:
            maildir.sync_new()
        except SessionError as error:
            self._decide(envelope, Kind.IN_DOUBT, error.reason)  # the file exists, but may not survive a power cut
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
    """The folders of a Maildir. Raises OSErrors as SessionErrors with a remedy."""

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
            with suppress(FileNotFoundError):  # another process removed it first
                if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < before:
                    os.unlink(entry.path)  # noqa: PTH108

    @contextmanager
    def draft(self, name: str, octets: bytes) -> Iterator[Path]:
        """Context manager: write and sync a file in tmp/. It is removed at the end unless it was published."""
        path = self.tmp / f"{name}.P{os.getpid()}"
        try:
            with self._explain_errors():
                _write(path, octets)
            yield path
        finally:
            with suppress(OSError):
                path.unlink()

    def publish(self, draft: Path, name: str) -> None:
        """Rename the draft into new/, where email clients see it."""
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
            remedy = _REMEDIES.get(error.errno or 0, "check EMAIL_URL")
            raise SessionError(
                f"cannot write to the Maildir {self.display_path()}: {error.strerror}; {remedy}"
            ) from error


def _file_name(envelope: Envelope) -> str:
    """Return the file name: when the email could first be sent, then the left side of the Message-ID, which is unique.

    It consists of letters, digits, `-`, `_` and two dots.
    """
    message = envelope.message
    return f"{max(message.ready_at, 0):010}.{message.message_id(envelope.recipient_id).strip('<>').partition('@')[0]}"


def _write(path: Path, octets: bytes) -> None:
    """Write and sync a file. Overwrites one that a killed process with the same process ID may have left."""
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
