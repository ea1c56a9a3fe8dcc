"""Wording: phrases that the project avoids, and internal terms that the pages do not show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from tests.support.python_files import PROJECT

# Regular expressions. No other file lists these phrases.
PHRASES = (
    r"mend(s|ed|ing)?",
    r"anew",
    r"(is|was|are|were) told\b(?! apart)",
    r"is no [a-z]+ of",
    r"is none of",
    r"what is the matter",
    r"by (itself|themselves)",
    r"looks? whether",
    r"(is|are|was|were) looked at",
    r"(deliver(y|ies)|is|are|again|were) in line",
    r"nobody (knows|gets|got|receives|has|who)",
    r"somebody",
    r"everybody",
    r"whoever (has|can|is|runs|opens|asks|comes)",
    r"of whom",
    r"(is|was|are|were|be) put off",
    r"(broke|broken|breaks) off",
    r"come again",
    r"stays? so",
    r"not served",
    r"too often",
    r"have to be fixed",
    r"for ever\b",
    r"fit to be",
    r"quotation mark may",
    r"on the clocks of",
    r"the machine of the service",
    r"the latest first",
    r"goes? out at once",
    r"ends at once",
    r"as it should be",
    r"wants another",
    r"does its work\?",
)
PATTERN = re.compile("|".join(rf"\b{phrase}" for phrase in PHRASES), re.IGNORECASE)
SENTENCE_WITH_WHO = re.compile(
    r'(?:^|[.:] |["#] ?)Who (?:has|is|was|leaves|comes|gets|does|may|can|finds|unsubscribed)\b'
)

SUFFIXES = (".py", ".html", ".js", ".css", ".json", ".sql", ".sh", ".bat", ".md", ".example")
SKIPPED = {"requirements", "vendor", "__pycache__", ".venv", ".git", "demo", "outbox", "dumps"}

# Terms of the program that templates do not show; they may appear inside tags and code.
INTERNAL_TERMS = re.compile(r"\b(sweeps?|leases?|claimed|in doubt|MAX_BODY)\b", re.IGNORECASE)
SERVER_PATHS = re.compile(r"\{\{[^}]*\b(folder|data_dir|database_path|tasklog|email_url\.path|path\.parent)\b[^}]*\}\}")
TEMPLATES = sorted((PROJECT / "web" / "templates").glob("**/*.html"))


def files() -> Iterator[Path]:
    for path in chain(PROJECT.glob("*"), *(folder.rglob("*") for folder in PROJECT.iterdir() if folder.is_dir())):
        parts = path.relative_to(PROJECT).parts
        if path.suffix in SUFFIXES and path.is_file() and not SKIPPED & set(parts) and path != Path(__file__):
            yield path


def visible(template: str) -> str:
    """Return what a template may show: its text, the labels in its tags, and the phrases in its expressions."""
    template = re.sub(r"\{#.*?#\}", " ", template, flags=re.DOTALL)
    expressions = re.findall(r"\{\{.*?\}\}|\{%.*?%\}", template, flags=re.DOTALL)
    strings = [text for each in expressions for pair in re.findall(r"'([^']*)'|\"([^\"]*)\"", each) for text in pair]
    text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", " ", template, flags=re.DOTALL)
    labels = re.findall(r'(?:aria-label|title|placeholder|alt)="([^"]*)"', text)
    return " ".join([re.sub(r"<[^>]*>", " ", text), *labels, *(each for each in strings if " " in each)])


def test_no_text_reads_as_translated() -> None:
    found = [
        f"{path.relative_to(PROJECT)}:{number}: {match[0]}"
        for path in files()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        for match in (PATTERN.search(line) or SENTENCE_WITH_WHO.search(line),)
        if match
    ]
    assert found == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_page_shows_no_internal_terms(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    assert INTERNAL_TERMS.findall(visible(text)) == []
    assert template.name == "docs.html" or "event_id" not in visible(text).lower()
    assert template.name == "health.html" or not SERVER_PATHS.search(text)
