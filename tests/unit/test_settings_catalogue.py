"""The descriptions of the settings: complete, true, and the source of docs/settings.md and `.env.example`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from email_app import create_app
from serving.address import AddressError, reserve
from settings import ADDRESS, FOLDER, SettingsError, load_settings, plain_variables, variables_of
from settings.catalogue import SECTIONS, SETTINGS
from settings.defaults import DEFAULTS
from settings.documents import documents, env_example

EXAMPLE_LINES = re.findall(r"^#([A-Z_]+=.*)$", env_example(), re.MULTILINE)
RANGES = {name: match for name, each in SETTINGS.items() if (match := re.search(r"from (\d+) to (\d+)", each.allowed))}
CHOICES = ("SINGLE_LABEL_DOMAINS", "IN_DOUBT", "SCHEDULER", "LOG_FORMAT")


def is_valid(name: str, text: str) -> bool:
    """Return whether the program accepts this value."""
    try:
        if name in ADDRESS:
            reserve({name: text}, "./start_flask.sh").holder.close()
        else:
            load_settings({name: text}, Path("/nowhere"))
    except AddressError as error:
        return "allowed: " not in str(error)  # valid, but the port may be in use
    except SettingsError:
        return False
    return True


def test_every_setting_is_described_once() -> None:
    described = [setting.name for section in SECTIONS.values() for setting in section]
    assert sorted(described) == sorted(DEFAULTS)


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_the_files_are_made_from_the_descriptions(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == documents()[path], "run: python -m settings.documents"


@pytest.mark.parametrize("name", RANGES)
def test_a_range_is_the_one_that_is_checked(name: str) -> None:
    least, most = map(int, RANGES[name].groups())
    given = (least - 1, least, most, most + 1)
    assert [is_valid(name, str(number)) for number in given] == [False, True, True, False]


@pytest.mark.parametrize("name", CHOICES)
def test_each_choice_is_valid(name: str) -> None:
    choices = re.findall("`(.*?)`", SETTINGS[name].allowed)
    assert len(choices) > 1 and all(is_valid(name, choice) for choice in choices)


@pytest.mark.parametrize("line", EXAMPLE_LINES)
def test_the_program_starts_with_each_line_of_the_example_file(line: str, tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text(line + "\n")
    env.chmod(0o600)
    name, _, text = line.partition("=")
    assert variables_of({}, tmp_path, []) == {name: text}
    assert is_valid(name, text)
    assert create_app(load_settings({}, tmp_path)).url_map


def test_the_example_file_has_every_setting_and_is_as_quick_to_read_as_any() -> None:
    assert {line.partition("=")[0] for line in EXAMPLE_LINES} == {*DEFAULTS}
    assert plain_variables((FOLDER / ".env.example").read_text()) == {}
    assert plain_variables("\n".join(EXAMPLE_LINES)) is not None


@pytest.mark.parametrize("name", sorted(set(DEFAULTS) - {"HOST", "API_TOKEN", "SECRET_KEY"}))
def test_the_error_about_a_value_says_what_is_allowed_and_gives_an_example(name: str) -> None:
    with pytest.raises((SettingsError, AddressError)) as caught:
        if name in ADDRESS:
            reserve({name: "?\x01"}, "./start_flask.sh")
        load_settings({name: "?\x01"}, Path("/nowhere"))
    assert f"allowed: {SETTINGS[name].allowed.replace('`', '')}" in str(caught.value)
    assert f"; for example {name}={SETTINGS[name].examples[0]}" in str(caught.value)


def test_no_example_is_a_secret_that_everyone_knows() -> None:
    assert not SETTINGS["API_TOKEN"].examples and not SETTINGS["SECRET_KEY"].examples
