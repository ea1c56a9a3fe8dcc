"""Why deliveries failed, in words, and what to do about it."""

from __future__ import annotations

import re
from typing import NamedTuple

from database import Reason

CODE = re.compile(r"[245]\d\d(?: [245]\.\d{1,3}\.\d{1,3})?")
CHECK = "Check the address for a typo."
LATER = "Retry in a day or two."
ASK = "Ask the recipient’s provider to accept your mail, then retry."


class Explanation(NamedTuple):
    """A reason in a few words, and what to do. `advice` may be empty."""

    title: str
    advice: str


# By enhanced status code (RFC 3463). A shorter key is for all codes that begin with it.
EXPLANATIONS = {
    "5.1.1": Explanation("No such mailbox", CHECK),
    "5.1.2": Explanation("The domain receives no mail", CHECK),
    "5.1.3": Explanation("Invalid address", CHECK),
    "5.1.6": Explanation("The mailbox has moved", "Ask for the new address."),
    "5.1.10": Explanation("The domain receives no mail", CHECK),
    "5.2.1": Explanation("The mailbox is disabled", "Ask for another address."),
    "5.2.2": Explanation("The mailbox is full", LATER),
    "5.2.3": Explanation("The message is too large", "Send a shorter email."),
    "5.3.4": Explanation("The message is too large", "Send a shorter email."),
    "5.4": Explanation("The recipient’s server cannot be reached", CHECK),
    "5.7": Explanation("Blocked by the recipient’s server", ASK),
}
REFUSED = Explanation("Refused by the mail server", "")


def explain(reason: Reason) -> Explanation:
    """Return why deliveries failed in words. If it is not a code of a server, the title is the reason itself."""
    if not CODE.fullmatch(reason.reason):
        return Explanation(reason.reason[:1].upper() + reason.reason[1:] if reason.reason else "No reason given", "")
    code = reason.reason.partition(" ")[2]
    return EXPLANATIONS.get(code) or EXPLANATIONS.get(code.rpartition(".")[0]) or REFUSED
