"""Find placeholders of mail-merge programs, such as `*|NAME|*`, which this service sends unchanged.

`{{ name }}` is one of them, unless the email has personal fields.
"""

from __future__ import annotations

import re

MAX_FOUND = 3
# Liquid, Jinja, Handlebars, Django; Mailchimp; Salesforce, Oracle; Mailgun; JavaScript, shells; Python and many others.
# A word in braces must look like a name, because texts and CSS contain braces too.
_PLACEHOLDER = re.compile(
    r"\{\{\{?[^{}\n]{1,80}\}\}\}?|\{%[^%\n]{1,80}%\}|\*\|[A-Z0-9_:=, ]{1,80}\|\*|%%[^\s%]{1,80}%%"
    r"|%recipient\.\w{1,40}%|\$\{[\w.]{1,40}\}|\[\[ ?\w{1,40} ?\]\]"
    r"|\{(?:(?:first|last|full|user)[ _-]?name|name|e-?mail|company|organi[sz]ation)\}",
    re.IGNORECASE,
)


def placeholders(*texts: str) -> list[str]:
    """Return the first few different placeholders in these texts."""
    found: dict[str, None] = {}
    for text in texts:
        for match in _PLACEHOLDER.finditer(text):
            found[match[0]] = None
            if len(found) == MAX_FOUND:
                return list(found)
    return list(found)
