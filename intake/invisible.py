"""Invisible characters, which an address must not contain: two different recipients would look the same."""

from __future__ import annotations

import re
import unicodedata

# All of Default_Ignorable_Code_Point. It has not changed since Unicode 9, and it includes code points that are not yet
# assigned (https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt). RFC 8264, 9.13 disallows them.
_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Others that are blank: annotation marks, a braille pattern, a notehead, hieroglyphs, Khitan; all spaces except U+0020.
_BLANK = (
    "\ufff9-\ufffb\u2800\U0001d159\U00013430-\U0001343f\U00013441\U00013442\U00016fe4"
    "\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
)
# Characters that replace one that a program lost or could not show: replacement characters, pictures of control
# characters, private use, noncharacters, surrogates.
_SUBSTITUTES = "\ufffc\ufffd\u3013\u2400-\u2426\ue000-\uf8ff\U000f0000-\U0010ffff\ufdd0-\ufdef\ud800-\udfff" + "".join(
    f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(15)
)
_SUBSTITUTE = re.compile(f"[{_SUBSTITUTES}]")
_UNSEEN = re.compile(f"[{_IGNORABLE}{_BLANK}{_SUBSTITUTES}]")


def unseen_character(text: str) -> str | None:
    """Return what is wrong with the first invisible or replacement character, or None if there is none."""
    found = None if text.isascii() else _UNSEEN.search(text)
    if not found:
        return None
    named = f"U+{ord(found.group()):04X} {unicodedata.name(found.group(), '')}".rstrip()
    if _SUBSTITUTE.match(found.group()):
        return f"{named} replaces a character that was lost; type the address again"
    return f"it contains an invisible character, {named}; type the address again"
