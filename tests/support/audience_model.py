"""Random acts on lists, audiences and senders, checked against a model in plain Python.

The model knows who is in which list, and, for each email that was started, the people it was for at that moment. It
does not know cursors, windows or SQL. It checks three things:

- a message leaves only to someone whom the email was for when it was started, whom it has not reached yet, and who is
  still active and in one of its lists;
- a delivery is created only for someone who is in no excluded list at that moment;
- an email that was sent has reached everyone who stayed in its audience all the time.

Any statement of an act can fail, as if the process had been killed. Then the transaction is rolled back, and a person
or a program does the same again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from database import (
    EVERYONE,
    Address,
    Audience,
    Claim,
    Database,
    DBError,
    Delivery,
    DeliveryUpdate,
    Email,
    ListArchived,
    ListInBoth,
    NoActiveRecipients,
    NoSuchList,
)
from tests.support.faults.killed_statements import Killed, killed_at
from tests.support.invariants import check_whole

START = datetime(2026, 11, 25, 4, 0, 0, tzinfo=UTC)
NAMES = ("gala", "staff", "press", "guests")


@dataclass
class Person:
    """A recipient that exists, or that is remembered although it was removed."""

    recipient_id: int
    status: str = "active"
    is_removed: bool = False
    is_listed: bool = True
    in_lists: set[int] = field(default_factory=set)
    left: set[int] = field(default_factory=set)

    @property
    def is_reachable(self) -> bool:
        return self.status == "active" and not self.is_removed


@dataclass
class ModelList:
    """A list, which keeps its number when it is deleted and created again."""

    name: str
    is_archived: bool = False


@dataclass
class Mail:
    """An email. `meant` and what follows are set when it is started."""

    kind: str
    included: frozenset[int]
    excluded: frozenset[int]
    named: frozenset[int]
    recipients_max: int | None = None
    meant: set[int] | None = None  # recipient_ids
    steady: set[int] = field(default_factory=set)  # those of them who have been in the audience ever since
    lists_of: dict[int, set[int]] = field(default_factory=dict)  # the included lists they have been in ever since
    created: set[int] = field(default_factory=set)
    reached: set[int] = field(default_factory=set)


class Run:
    """One random history on a database that must be empty."""

    def __init__(self, database: Database, seed: int) -> None:
        self._database = database
        self._random = random.Random(seed)
        self._now = START
        self._people: dict[str, Person] = {}  # by address
        self._lists: dict[int, ModelList] = {}
        self._deleted: dict[str, int] = {}
        self._mails: dict[int, Mail] = {}
        self._event_id = 0
        self._sender_id = self._register()
        self._claims: list[Claim] = []
        self._acts: list[tuple[int, Callable[[], None]]] = [
            (8, self._add_list),
            (1, self._rename_list),
            (1, self._archive_list),
            (1, self._delete_list),
            (16, self._add_members),
            (4, self._replace_members),
            (8, self._remove_member),
            (8, self._leave),
            (4, self._add_recipients),
            (2, self._remove_recipient),
            (4, self._change_status),
            (16, self._save),
            (16, self._start),
            (30, self._claim),
            (40, self._send),
            (2, self._release),
            (1, self._cancel),
            (2, self._die),
        ]

    def steps(self, count: int) -> None:
        """Do so many random acts, then send what is left, and check everything."""
        acts, weights = [act for _, act in self._acts], [weight for weight, _ in self._acts]
        for number in range(count):
            self._now += timedelta(seconds=self._random.randrange(1, 3))  # joins are recorded by the second
            self._random.choices(acts, weights)[0]()
            self._observe()
            if number % 100 == 0:
                self._check()
        self._finish()
        self._check()

    # Acts on lists and people

    def _add_list(self) -> None:
        name = self._random.choice(NAMES)
        if self._alive(name) is not None:
            return
        list_id = self._again(lambda: self._database.lists.add(name, self._now), lambda: self._database.lists.get(name))
        list_id = list_id.list_id
        before = self._deleted.pop(name, list_id)
        assert before == list_id
        self._lists[list_id] = ModelList(name)

    def _rename_list(self) -> None:
        list_id, new = self._any_list(), self._random.choice(NAMES)
        if list_id is None or self._alive(new) is not None:
            return
        old = self._lists[list_id].name
        self._again(
            lambda: self._database.lists.rename(old, new.upper(), self._now), lambda: self._database.lists.get(new)
        )
        if (gone := self._deleted.pop(new, None)) is not None:
            for person in self._people.values():
                if gone in person.left and list_id not in person.in_lists:
                    person.left.discard(gone)
                    person.left.add(list_id)
        self._lists[list_id].name = new

    def _archive_list(self) -> None:
        if (list_id := self._any_list()) is not None:
            found = self._lists[list_id]
            found.is_archived = not found.is_archived
            if found.is_archived:
                self._again(lambda: self._database.lists.archive(found.name, self._now))
            else:
                self._again(lambda: self._database.lists.unarchive(found.name))

    def _delete_list(self) -> None:
        if (list_id := self._any_list()) is None:
            return
        name = self._lists.pop(list_id).name
        self._deleted[name] = list_id
        self._again(
            lambda: self._database.lists.delete(name, self._now), lambda: self._database.lists.get(name) is None
        )
        for person in self._people.values():
            person.in_lists.discard(list_id)

    def _add_members(self) -> None:
        if (list_id := self._any_list()) is not None:
            addresses, name = self._some_addresses(6), self._lists[list_id].name
            self._again(lambda: self._database.lists.add_members(name, addresses, self._now, "program"))
            self._join(list_id, addresses)

    def _replace_members(self) -> None:
        if (list_id := self._any_list()) is not None:
            addresses, name = self._some_addresses(10), self._lists[list_id].name
            self._again(lambda: self._database.lists.replace_members(name, addresses, self._now, "program"))
            for key in self._people.keys() - {address.key for address in addresses}:
                self._people[key].in_lists.discard(list_id)
            self._join(list_id, addresses)

    def _remove_member(self) -> None:
        if (list_id := self._any_list()) is not None:
            person, name = self._any_person(), self._lists[list_id].name
            key = next((key for key, each in self._people.items() if each is person), "stranger@example.com")
            self._again(lambda: self._database.lists.remove_member(name, Address(key, key), self._now))
            if person is not None:
                person.in_lists.discard(list_id)

    def _leave(self) -> None:
        person = self._any_person()
        if person is not None:
            all_of = sorted(person.in_lists) or list(self._lists)
            list_ids = self._random.sample(all_of, self._random.randint(1, len(all_of))) if all_of else []
            self._again(lambda: self._database.lists.leave(person.recipient_id, list_ids, self._now))
            person.in_lists -= set(list_ids)
            person.left |= set(list_ids)

    def _add_recipients(self) -> None:
        addresses = self._some_addresses(6)
        self._again(lambda: self._database.recipients.add(addresses, self._now))
        self._exist(addresses)

    def _remove_recipient(self) -> None:
        addresses = self._some_addresses(2)
        self._again(lambda: self._database.recipients.remove(addresses, self._now))
        for address in addresses:
            person = self._people.get(address.key)
            if person is not None and not person.is_removed:
                person.in_lists.clear()
                person.is_removed = True
                if person.status == "rejected":
                    person.status = "active"
                if person.status == "active" and not person.left:
                    del self._people[address.key]

    def _change_status(self) -> None:
        person = self._any_person()
        if person is None:
            return
        if person.status == "active" and self._random.random() < 0.5:
            self._again(lambda: self._database.recipients.unsubscribe(person.recipient_id, self._now))
            person.status = "unsubscribed"
        elif person.status == "active":
            self._reject(person)
        else:
            key = next(key for key, each in self._people.items() if each is person)
            self._again(lambda: self._database.recipients.reactivate(Address(key, key)))
            person.status = "active"

    def _reject(self, person: Person) -> None:
        def act() -> None:
            with self._database.connection.transaction():
                for number in (-1, -2):
                    self._database.recipients.record_hard_bounce(person.recipient_id, number, self._second)

        self._again(act)
        person.status = "rejected"

    # Acts on emails

    def _save(self) -> None:
        audience, recipients_max = self._random_audience(), self._random.choice([None] * 9 + [2])
        event_id = self._event_id + 1
        email = Email(event_id, "S", "C\n", self._now, audience=audience, recipients_max=recipients_max)
        expected = self._error(audience)
        try:
            self._again(
                lambda: self._database.emails.save(email, self._now),
                lambda: (saved := self._database.emails.get(event_id)) is not None and saved.audience.is_same(audience),
            )
        except (NoSuchList, ListArchived, ListInBoth) as error:
            assert type(error) is expected
            return
        assert expected is None
        self._event_id = event_id
        included, excluded = (
            frozenset(self._alive(name.lower()) or 0 for name in names)
            for names in (audience.lists, audience.exclude_lists)
        )
        named = frozenset(self._named(address).recipient_id for address in audience.to)
        self._mails[event_id] = Mail(audience.kind, included, excluded, named, recipients_max)

    def _start(self) -> None:
        due = [event_id for event_id in self._mails if self._status(event_id) == "scheduled"]
        self._again(lambda: self._start_all())
        for event_id in due:
            reason = self._why_held(self._mails[event_id])
            assert self._status(event_id) == ("held" if reason else "sending"), (event_id, reason)
            if reason is None:
                self._freeze(event_id)

    def _start_all(self) -> None:
        while self._database.progress.start_due_emails(self._second):
            pass

    def _release(self) -> None:
        held = [event_id for event_id in self._mails if self._status(event_id) == "held"]
        if not held:
            return
        event_id = self._random.choice(held)
        mail = self._mails[event_id]
        is_started = mail.meant is not None
        expected = self._is_deleted(mail) or (not is_started and not self._meant(mail, active=True))
        try:
            self._again(
                lambda: self._database.emails.release(event_id, self._now), lambda: self._status(event_id) != "held"
            )
        except NoActiveRecipients:
            assert expected
            return
        # An email all of whose deliveries exist can be released although a list was deleted.
        assert not expected or is_started
        if not is_started:
            self._freeze(event_id)

    def _cancel(self) -> None:
        event_id = self._random.choice([*self._mails, 0])
        if event_id and self._status(event_id) != "sent":
            self._again(lambda: self._database.emails.cancel(event_id, self._now))
            del self._mails[event_id]  # none of its messages are sent any more

    def _claim(self) -> None:
        limit = self._random.choice([1, 2, 5, 20])
        try:
            with self._may_be_killed():
                claims = self._database.claims.claim(self._sender_id, self._random.randrange(9), self._second, limit)
        except Killed:
            self._die()
            return
        for event_id, recipient_id, _ in claims:
            self._check_claim(event_id, recipient_id)
        self._claims += claims

    def _check_claim(self, event_id: int, recipient_id: int) -> None:
        mail, person = self._mails[event_id], self._by_id(recipient_id)
        if recipient_id not in mail.created:
            assert mail.meant is not None
            assert recipient_id in mail.meant, "created for someone who was not in the audience at the start"
            assert person is not None
            assert self._is_wanted(mail, person), "created for someone who is no longer in the audience"
            assert person.is_listed or not mail.kind.startswith("everyone"), "created for someone who is not listed"
            assert not person.in_lists & mail.excluded, "created for someone in an excluded list"
            mail.created.add(recipient_id)

    def _send(self) -> None:
        """Send some of the claimed messages. Each is accepted, deferred or refused."""
        self._random.shuffle(self._claims)
        batch = [self._claims.pop() for _ in range(min(len(self._claims), self._random.randrange(1, 6)))]
        if not batch:
            return
        intents = [(*claim[:2], self._sender_id) for claim in batch]
        try:
            with self._may_be_killed():
                cleared = self._database.deliveries.record(self._sender_id, [], [], intents)
        except Killed:
            self._die()
            return
        accepted, updates = [], []
        for event_id, recipient_id, _ in cleared:
            outcome = self._random.choices(["sent", "deferred", "failed"], [8, 2, 1])[0]
            if outcome == "sent":
                self._leave_machine(event_id, recipient_id)
                accepted.append((event_id, recipient_id, self._sender_id, "250 ok", self._second))
            else:
                self._check_wanted(event_id, recipient_id)
                status = "queued" if outcome == "deferred" else "failed"
                updates.append(
                    DeliveryUpdate(event_id, recipient_id, outcome, status, "no", self._second, self._second)
                )
        try:
            with self._may_be_killed():
                self._database.deliveries.record(self._sender_id, accepted, updates, [])
        except Killed:
            self._die()
        for update in updates:
            if update.status == "failed":
                self._mails[update.event_id].steady.discard(update.recipient_id)

    def _leave_machine(self, event_id: int, recipient_id: int) -> None:
        self._check_wanted(event_id, recipient_id)
        mail = self._mails[event_id]
        assert recipient_id not in mail.reached, "a second message"
        mail.reached.add(recipient_id)

    def _check_wanted(self, event_id: int, recipient_id: int) -> None:
        mail, person = self._mails[event_id], self._by_id(recipient_id)
        assert mail.meant is not None
        assert recipient_id in mail.meant
        assert person is not None, "sent to someone who was removed"
        assert self._is_wanted(mail, person), "sent to someone who is no longer in the audience"

    def _die(self) -> None:
        """Let the sender die. The next one takes over, and knows which messages were sent."""

        def resolve(delivery: Delivery) -> DeliveryUpdate:
            key = delivery.event_id, delivery.recipient_id
            mail = self._mails.get(delivery.event_id)
            status = "unknown" if mail is None or delivery.recipient_id in mail.reached else "queued"
            return DeliveryUpdate(*key, "in_doubt", status, "died", self._second, self._second)

        self._claims.clear()
        self._database.senders.unregister(self._sender_id, resolve)
        self._sender_id = self._register()

    def _register(self) -> int:
        sender_id = self._database.senders.register(9, self._second, lambda _: 1 / 0)  # type: ignore[arg-type,return-value]
        assert sender_id is not None
        return sender_id

    def _finish(self) -> None:
        """Send everything that is left."""
        for _ in range(10_000):
            self._now += timedelta(seconds=1)
            self._start()
            self._claim()
            if not self._claims and not self._database.has_work(self._second, log=False):
                return
            while self._claims:
                self._send()
        raise AssertionError("there is still work")

    # The model

    @property
    def _second(self) -> int:
        return int(self._now.timestamp())

    def _alive(self, name: str) -> int | None:
        return next((list_id for list_id, each in self._lists.items() if each.name == name), None)

    def _any_list(self) -> int | None:
        return self._random.choice(list(self._lists)) if self._lists else None

    def _any_person(self) -> Person | None:
        """Return a random recipient, often one to whom a message is being sent."""
        there = [person for person in self._people.values() if not person.is_removed]
        claimed = {recipient_id for _, recipient_id, _ in self._claims}
        if self._random.random() < 0.7:
            there = [person for person in there if person.recipient_id in claimed] or there
        return self._random.choice(there) if there else None

    def _by_id(self, recipient_id: int) -> Person | None:
        return next((each for each in self._people.values() if each.recipient_id == recipient_id), None)

    def _some_addresses(self, most: int) -> list[Address]:
        count = self._random.randrange(1, most + 1)
        texts = {f"p{self._random.randrange(30)}@example.com" for _ in range(count)}
        return [Address(text, text) for text in sorted(texts)]

    def _exist(self, addresses: Sequence[Address]) -> None:
        """Note that these are listed recipients now."""
        for address in addresses:
            person = self._people.get(address.key)
            if person is None:
                self._people[address.key] = Person(self._id_of(address))
            else:
                person.is_removed, person.is_listed = False, True

    def _named(self, address: Address) -> Person:
        person = self._people.get(address.key)
        if person is None:
            person = self._people[address.key] = Person(self._id_of(address), is_listed=False)
        elif person.is_removed:
            person.is_removed, person.is_listed = False, False
        return person

    def _id_of(self, address: Address) -> int:
        found = self._database.recipients.find(address)
        assert found is not None
        return found.recipient_id

    def _join(self, list_id: int, addresses: Sequence[Address]) -> None:
        self._exist(addresses)
        for address in addresses:
            person = self._people[address.key]
            if list_id not in person.left:
                person.in_lists.add(list_id)

    def _random_audience(self) -> Audience:
        chosen = self._random.random()
        if chosen < 0.1:
            return EVERYONE
        if chosen < 0.2:
            return Audience(to=tuple(self._some_addresses(4)))
        included = self._random.sample(NAMES, self._random.choice([0, 1, 1, 1, 2, 3]))
        excluded = self._random.sample(NAMES, self._random.choice([0, 0, 0, 1, 2]))
        if self._random.random() < 0.9:  # otherwise, it may well be refused
            included = [name for name in included if self._usable(name)]
            excluded = [name for name in excluded if self._usable(name) and name not in included]
        return Audience(tuple(included), tuple(name.title() for name in excluded))

    def _usable(self, name: str) -> bool:
        list_id = self._alive(name)
        return list_id is not None and not self._lists[list_id].is_archived

    def _error(self, audience: Audience) -> type[DBError] | None:
        seen: dict[int, bool] = {}
        for names, excluded in ((audience.lists, False), (audience.exclude_lists, True)):
            for name in names:
                list_id = self._alive(name.lower())
                if list_id is None:
                    return NoSuchList
                if self._lists[list_id].is_archived:
                    return ListArchived
                if seen.setdefault(list_id, excluded) is not excluded:
                    return ListInBoth
        return None

    def _is_deleted(self, mail: Mail) -> bool:
        return not (mail.included | mail.excluded) <= set(self._lists)

    def _is_wanted(self, mail: Mail, person: Person) -> bool:
        if mail.kind == "lists" and not person.in_lists & mail.included:
            return False
        return person.is_reachable

    def _meant(self, mail: Mail, *, active: bool) -> set[int]:
        """Return whom an email is for now: only those who are active, or all."""
        return {
            person.recipient_id
            for person in self._people.values()
            if (person.is_reachable if active else True)
            and not person.in_lists & mail.excluded
            and {
                "everyone": person.is_listed,
                "everyone_but": person.is_listed,
                "lists": bool(person.in_lists & mail.included),
                "named": person.recipient_id in mail.named,
            }[mail.kind]
        }

    def _why_held(self, mail: Mail) -> str | None:
        if self._is_deleted(mail):
            return "deleted"
        count = len(self._meant(mail, active=True))
        if not count:
            return "nobody"
        return "too large" if mail.recipients_max is not None and count > mail.recipients_max else None

    def _freeze(self, event_id: int) -> None:
        mail = self._mails[event_id]
        # Before the cursor reaches them, someone may leave an excluded list, or become a listed recipient.
        everyone = {person.recipient_id for person in self._people.values()}
        less = Mail(mail.kind, mail.included, frozenset(), mail.named)
        mail.meant = everyone if mail.kind.startswith("everyone") else self._meant(less, active=False)
        mail.steady = self._meant(mail, active=True)
        mail.lists_of = {each.recipient_id: each.in_lists & mail.included for each in self._people.values()}
        ((count,),) = self._database.connection.fetch_all(
            "SELECT recipients FROM progress WHERE event_id = :event_id", event_id=event_id
        )
        assert count == len(mail.steady)

    def _observe(self) -> None:
        """Note who is not in the audience of a started email any more."""
        people = {person.recipient_id: person for person in self._people.values()}
        for mail in self._mails.values():
            for recipient_id in list(mail.steady):
                person = people.get(recipient_id)
                if person is not None:
                    mail.lists_of[recipient_id] &= person.in_lists
                if (
                    person is None
                    or not person.is_reachable
                    or (mail.kind == "lists" and not mail.lists_of[recipient_id])
                    or (person.in_lists & mail.excluded and recipient_id not in mail.created)
                ):
                    mail.steady.discard(recipient_id)

    def _check(self) -> None:
        check_whole(self._database)
        for list_id, found in self._lists.items():
            members = self._database.lists.members(found.name)
            there = {member.recipient.recipient_id for member in members if member.left_at is None}
            gone = {member.recipient.recipient_id for member in members if member.left_at is not None}
            people = [person for person in self._people.values() if not person.is_removed]
            assert there == {person.recipient_id for person in people if list_id in person.in_lists}
            assert gone == {person.recipient_id for person in people if list_id in person.left}
        for event_id, mail in list(self._mails.items()):
            if self._status(event_id) == "sent":
                assert mail.steady <= mail.reached, f"email {event_id} has not reached everyone"
                del self._mails[event_id]

    def _status(self, event_id: int) -> str:
        return self._database.progress.email_status(event_id)

    # Kills

    def _again(self, act: Callable[[], Any], is_done: Callable[[], Any] = lambda: None) -> Any:
        """Act. If the process is killed meanwhile, act again unless it is done."""
        try:
            with self._may_be_killed():
                return act()
        except Killed:
            return is_done() or act()

    def _may_be_killed(self) -> AbstractContextManager[None]:
        """Every eighth time, let one of the first statements fail."""
        left = self._random.randrange(12) if self._random.random() < 0.125 else None
        return killed_at(self._database.connection, left)
