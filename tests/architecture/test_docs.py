"""The docs agree with the code and with each other: links, names, requests, messages and commands."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.support.python_files import PROJECT

README = PROJECT / "README.md"
DOCS = sorted((PROJECT / "docs").glob("*.md"))
PAGES = [README, PROJECT / "CHANGELOG.md", PROJECT / "CONTRIBUTING.md", *DOCS]
MAX_README_LINES = 150
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# A path in the tree: a file with an extension of its own, or a folder with a slash at its end.
TREE_PATH = re.compile(r"`([a-z_]+(?:/[\w.]+)*/?(?:\.(?:py|sh|bat|sql|toml|txt|md|yaml|yml|js))?)`")
FOLDERS = {path.name for path in PROJECT.iterdir() if path.is_dir()}
# What mail servers and Python say. All other messages in the tables are the program's own.
OF_SERVERS = {"535", "quota exceeded", "blocked", "relaying denied", "SPF", "ModuleNotFoundError"}


def without_blocks(page: Path) -> str:
    """Return the text of a page without its blocks of code, whose comments look like headings."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = HEADING.findall(without_blocks(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_the_readme_is_one_page() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(without_blocks(page)):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_links_every_page() -> None:
    linked = {(README.parent / link.partition("#")[0]).resolve() for link in LINK.findall(README.read_text())}
    assert [page.name for page in PAGES[1:] if page not in linked] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_is_in_the_tree(page: Path) -> None:
    paths = [path for path in TREE_PATH.findall(without_blocks(page)) if path.partition("/")[0] in FOLDERS]
    near = [PROJECT / "tests"] if page.name == "CONTRIBUTING.md" else []
    assert [path for path in paths if not any((folder / path).exists() for folder in (PROJECT, *near))] == []
    files = re.findall(r"`([a-z_]+\.(?:py|sh|bat|sql|toml))`", without_blocks(page))
    assert [file for file in files if not (PROJECT / file).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_commands_is_correct_shell(page: Path) -> None:
    for block in re.findall(r"^ *```(?:sh|bash)\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE):
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_api_page_lists_every_request() -> None:
    description = json.loads((PROJECT / "web" / "api" / "openapi.json").read_text())
    offered = {
        f"{method.upper()} {path}"
        for path, item in description["paths"].items()
        for method in item
        if method in ("get", "put", "post", "patch", "delete")
    }
    rows = set(re.findall(r"^\| `([A-Z]+ /\S+)` \|", (PROJECT / "docs" / "api.md").read_text(), re.MULTILINE))
    assert rows == {request for request in offered if " /api/" in request}


def test_every_message_that_is_explained_is_one_of_the_program() -> None:
    rows = re.findall(r"^\| (`.*?`) \|", (PROJECT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    sources = [
        *PROJECT.glob("*.py"),
        *(file for folder in FOLDERS - {"tests", "bench"} for file in (PROJECT / folder).rglob("*.py")),
    ]
    program = "\n".join(file.read_text() for file in sources if ".venv" not in file.parts)
    assert len(rows) > 20
    for text in re.findall("`([^`]*)`", "".join(rows)):
        longest = max(text.removeprefix("held: ").removeprefix("WARNING ").split("…"), key=len).strip()
        assert longest in program or longest in OF_SERVERS, text


def test_the_guide_to_the_pages_names_buttons_by_their_labels() -> None:
    templates = "\n".join(file.read_text() for file in (PROJECT / "web" / "templates").rglob("*.html"))
    bold = re.findall(r"\*\*([^*]+)\*\*", (PROJECT / "docs" / "pages.md").read_text())
    labels = {label: ".*".join(map(re.escape, re.split("[… ]+", label) if "…" in label else [label])) for label in bold}
    assert len(labels) > 10
    assert [label for label, pattern in labels.items() if not re.search(pattern, templates)] == []
