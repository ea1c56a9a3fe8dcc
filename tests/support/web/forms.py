"""Forms of the pages."""

from __future__ import annotations

import re


def csrf_token(page: str) -> str:
    """Return the token of the first form in the HTML of a page."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found, page
    return found[1]
