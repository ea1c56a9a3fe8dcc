"""`flask lists`, and `--list` of `flask recipients add`."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from database import Database
from settings import Settings
from tests.support.recipients_command import Command, commands_of


@pytest.fixture
def lists(settings: Settings, database: Database) -> Command:
    return commands_of(settings, "lists")


@pytest.fixture
def recipients(settings: Settings, database: Database) -> Command:
    return commands_of(settings)


def test_a_list_lives_from_its_creation_to_its_removal(lists: Command) -> None:
    assert lists("add", "Gala 2026").output == "Created the list Gala 2026.\n"
    assert lists("list").output == "Gala 2026\t0\n"
    assert lists("rename", "GALA 2026", "Gala 2027").output == "Renamed to Gala 2027.\n"
    assert lists("archive", "gala 2027").output == "Archived Gala 2027.\n"
    assert "list: Gala 2027 (archived)\nmembers: 0\ncreated: " in lists("show", "gala 2027").output
    assert (lists("list").output, lists("list", "--archived").output) == ("", "Gala 2027\t0\n")
    assert lists("archive", "Gala 2027", "--undo").output == "Gala 2027 accepts new emails again.\n"
    removed = lists("remove", "Gala 2027")
    assert removed.output == "Deleted the list Gala 2027. Its members (0) are still recipients.\n"
    assert lists("list").output == ""


@pytest.mark.parametrize("command", ["show", "members", "archive", "remove"])
def test_an_unknown_list_is_refused_and_the_lists_that_exist_are_named(lists: Command, command: str) -> None:
    lists("add", "staff")
    result = lists(command, "stuff")
    assert (result.exit_code, result.output) == (1, 'Error: there is no list "stuff"; existing lists: staff\n')


def test_a_used_name_is_refused(lists: Command) -> None:
    lists("add", "Staff")
    lists("add", "other")
    for words in (("add", "STAFF"), ("rename", "other", "staff")):
        result = lists(*words)
        assert (result.exit_code, result.output) == (1, 'Error: a list named "Staff" already exists\n')


@pytest.mark.parametrize("name", ["", " a", "a,b", "a\n", "x" * 101, ".."])
def test_a_name_that_no_list_may_have_is_refused(lists: Command, name: str) -> None:
    result = lists("add", name)
    assert result.exit_code == 2 and "the name " in result.output


def test_recipients_are_added_to_a_list(lists: Command, recipients: Command, database: Database) -> None:
    lists("add", "staff")
    recipients("add", "a@example.com")
    result = recipients("add", "--list", "STAFF", "a@example.com", "Bea <b@example.com>")
    assert result.output == "1 added, 1 already existed\nList STAFF: 2 added, 0 already members\n"
    (ada, _) = database.lists.members("staff")
    assert ada.added_by == "command"
    database.lists.leave(ada.recipient.recipient_id, [database.lists.require("staff").list_id], datetime.now(UTC))
    result = recipients("add", "a@example.com", "b@example.com", "c@example.com", "--list", "staff", "--json")
    assert json.loads(result.output) == {
        "added": 1,
        "known": 2,
        "inactive": {},
        "list": {"name": "staff", "added": 1, "known": 1, "left": 1},
    }
    assert lists("members", "staff").output == "a@example.com\tleft\nb@example.com\tactive\nc@example.com\tactive\n"
    assert lists("list").output == "staff\t2\n"


def test_nobody_is_added_if_the_list_is_unknown(lists: Command, recipients: Command) -> None:
    lists("add", "staff")
    result = recipients("add", "a@example.com", "--list", "stuff")
    assert (result.exit_code, result.output) == (1, 'Error: there is no list "stuff"; existing lists: staff\n')
    assert recipients("list").output == ""


def test_every_command_has_output_for_programs(lists: Command, recipients: Command) -> None:
    created = json.loads(lists("add", "a", "--json").output)
    assert created.keys() == {"list_id", "name", "created_at", "archived_at", "members"}
    recipients("add", "ada@example.com", "--list", "a")
    assert json.loads(lists("list", "--json").output) == created | {"members": 1}
    assert json.loads(lists("show", "A", "--json").output)["members"] == 1
    member = json.loads(lists("members", "a", "--json").output)
    assert member.keys() == {"address", "status", "joined_at", "left_at", "added_by"}
    assert (member["address"], member["added_by"], member["left_at"]) == ("ada@example.com", "command", None)
    assert json.loads(lists("rename", "a", "b", "--json").output)["list_id"] == created["list_id"]
    assert json.loads(lists("archive", "b", "--json").output)["archived_at"] is not None
    assert json.loads(lists("remove", "b", "--json").output) == {"removed": "b", "members": 1}
