"""Characters that no address may contain, because nobody sees them: two recipients would look like one."""

from __future__ import annotations

import re
import unicodedata

# Default_Ignorable_Code_Point, whole: it has not changed since Unicode 9, and code points that are not assigned yet are
# part of it (https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt). RFC 8264, 9.13 disallows them.
_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Others that draw nothing: annotation marks, braille's blank, a notehead, hieroglyphs, Khitan; all spaces but one.
_BLANK = (
    "\ufff9-\ufffb\u2800\U0001d159\U00013430-\U0001343f\U00013441\U00013442\U00016fe4"
    "\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
)
# What stands for a character that a program has lost or could not show: replacement characters, pictures of control
# characters, private use, noncharacters, surrogates.
_SUBSTITUTES = "\ufffc\ufffd\u3013\u2400-\u2426\ue000-\uf8ff\U000f0000-\U0010ffff\ufdd0-\ufdef\ud800-\udfff" + "".join(
    f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(15)
)
_SUBSTITUTE = re.compile(f"[{_SUBSTITUTES}]")
_UNSEEN = re.compile(f"[{_IGNORABLE}{_BLANK}{_SUBSTITUTES}]")


def unseen_character(text: str) -> str | None:
    """Return the fault of the first character that cannot be seen or stands for a lost one, or None without one."""
    found = None if text.isascii() else _UNSEEN.search(text)
    if not found:
        return None
    named = f"U+{ord(found.group()):04X} {unicodedata.name(found.group(), '')}".rstrip()
    if _SUBSTITUTE.match(found.group()):
        return f"{named} stands for a character that was lost; type the address again"
    return f"it contains a character that cannot be seen, {named}; type the address again"
