"""Decide whom a refusal is about: the recipient, or our own side (RFC 5321, section 4.2; RFC 3463).

Servers use the same codes for both. `550 5.7.1` can mean "relaying denied", "this group does not accept mail from
outside" or "this looks like spam". So the words decide:

1. A code that names the mailbox (such as 5.1.1) is about the recipient, whatever the words say. Two codes mean that
   our domain is not authenticated (5.7.26 and 5.7.515). Every other code is only a hint.
2. Everything that varies is removed: addresses, URLs, host names, IP addresses and enhanced codes.
3. Clauses about the recipient or the size of the message are removed, so that "the account that you tried to reach is
   over quota" is not mistaken for our own quota.
4. The rest is searched for words that blame our side: the account, its quota, its permission to send or relay, the
   domain, the IP address, the server, and the way we use SMTP.

If nothing matches, the refusal is UNCLEAR. A single one counts against its recipient; `circuit_breaker.py` decides
about many.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache

from delivery.lazy_pattern import LazyPattern
from delivery.smtp import foreign_blame
from delivery.smtp.command import Step
from delivery.smtp.reply import Reply

MAX_JUDGED_LENGTH = 600  # characters of a reply, because the patterns take quadratic time


class Blame(Enum):
    """What a 4yz or 5yz reply is about."""

    SESSION = "session"  # our account, our domain, the server or our use of SMTP: no recipient is at fault
    CONNECTIONS = "connections"  # too many connections at the moment
    RECIPIENT = "recipient"  # this recipient's mailbox or domain
    MESSAGE = "message"  # the size or the format of this message
    UNCLEAR = "unclear"


_DOMAIN_NOT_AUTHENTICATED = frozenset({"5.7.26", "5.7.515"})
_MAILBOX_CODE = LazyPattern(r"[45]\.(?:1\.(?:1|2|3|4|6|10)|2\.[1-4])")
_ADDRESS_CODE = LazyPattern(r"[45]\.1\.(?:1|2|3|4|6|10)")  # those mailbox codes that no words can override
_MESSAGE_CODE = LazyPattern(r"[45]\.(?:3\.4|6\.\d{1,3}|2\.3)")
_RESTRICTED_GROUP_CODE = LazyPattern(r"5\.7\.(?:12[0-9]|13[0-9]|193)")  # Exchange: who may write to a group or mailbox
_CODE_IN_TEXT = LazyPattern(r"(?<![\d.])[45]\.\d{1,3}\.\d{1,3}(?![\d.])")

# Microsoft 365 rejects unknown mailboxes like this (Directory-Based Edge Blocking). In RFC 3463 it means a busy host.
_MISSING_AT_MICROSOFT = LazyPattern(r"^550 5\.4\.1 recipient address rejected: access denied")


def _pattern(*alternatives: str) -> LazyPattern:
    return LazyPattern("|".join(alternatives))


# Step 2: everything that can contain a significant word by chance.
_VARYING = _pattern(
    r"https?://\S+",
    r"[^\s<>\"'(]*@[^\s<>\"',;)]*",
    r"\[?(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}\]?",  # IPv4
    r"\[?(?:ipv6:)?[0-9a-f]*:[0-9a-f:.]*:[0-9a-f:.]*\]?",  # IPv6
    r"(?<![\w.-])(?:[\w-]+\.)+[a-z][\w-]*",  # host names
    r"(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?![\d.])",  # enhanced codes
)

# Step 3. `[^.;:]*` is the rest of a clause.
_THEIRS = r"(?:recipient|destination|addressee|receiver|receiving|remote)"
_NOT_OURS = _pattern(
    r"(?:account|user|address|mailbox|person|recipient|group|inbox) (?:that )?you(?:'re| are|'ve| have)? "
    r"(?:tried|trying|attempted|attempting|wish)[^.;]*",
    rf"\b{_THEIRS}(?:'s|s')[^.;:]*",
    rf"\b{_THEIRS} (?:has|have|is|was|mail ?box|inbox|account|server|domain|address|user|system|host|over|quota|storage"
    r"|~)\b[^.;:]*",
    r"\b(?:mail ?box|inbox|storage|disk|maildir|home directory)\b[^.;:]*"
    r"\b(?:quota|limits?|full|exceed\w*|allocation|space|disabled|suspended|blocked)\b[^.;:]*",
    r"\b(?:quota|limits?|full|exceed\w*|space)\b[^.;:]*\b(?:mail ?box|inbox|storage|disk)\b[^.;:]*",
    r"\b(?:user|account|customer)(?:'s)?(?: ~)?(?: is| has)? over[ -]?quota\b[^.;:]*",
    r"\b(?:by|from) (?:the |its |his |her |their |this )?(?:recipient|addressee|user)\b[^.;:]*",
    r"[^.;:]*\b(?:rejected|refused|denied|blocked|blacklisted|block\w*) by (?:the |its |his |her |their )?"
    r"(?:recipient|addressee|user)\b[^.;:]*",
    r"\b(?:user|recipient|addressee) (?:has |have )?(?:blocked|blacklisted)[^.;:]*",
    r"\b(?:sender |you |are |is |do |have )*(?:not|n't|no) (?:have )?(?:been )?"
    r"(?:authori[sz]ed|allowed|permitted|permissions?|able)"
    r"(?: to)? (?:send|mail|e-?mail|post|write|contact|deliver)\w*(?: mail| e-?mail| messages?)? to[^.;:]*",
    r"\baddress (?:is )?blacklisted\b",  # Amazon SES: an address that bounced before
    r"\baccount or domain may not exist\b[^.;:]*",
    r"\bdelivery error\b[^.;:]*",
)
_BOILERPLATE = _pattern(  # the wording of RFC 5321, which servers put before their reasons
    r"requested (?:mail )?action (?:not taken|aborted)(?:[: ]+mailbox unavailable|[: ]+exceeded storage allocation)?",
)
_SIZE = LazyPattern(r"[^.;:]*\b(?:size|too (?:large|big|long)|larger than|bytes|octets|attachments?)\b[^.;:]*")

# Step 4. Between two words of one clause there are at most a few others.
_GAP = r"(?:[ '\"()\[\]/_,~-]+[\w'~-]+){0,6}?[ '\"()\[\]/_,~-]+"
_EXCEEDED = r"(?:quotas?|limits?|limited|limitation|threshold|allowance|exceed(?:s|ed|ing)?|maximum)"
_PERIOD = (
    r"(?:daily|hourly|monthly|weekly|per[ -]?(?:day|hour|week|month)|(?:this|one|each|every|an?) (?:hour|day|month)"
    r"|today|24 ?h(?:ou)?rs?|\d+ ?/ ?h(?:our)?|\d+ ?/ ?d(?:ay)?|\d+ (?:hours|days))"
)
_REFUSED = (
    r"(?:block(?:ed|ing|s)?|black[ -]?list(?:ed|s)?|block[ -]?list(?:ed|s)?|deny[ -]?list(?:ed|s)?|banned|suspended"
    r"|rejected|refused|denied|disabled|listed|revoked|paused|restricted|prohibited|forbidden|unverified|unauthori[sz]ed"
    r"|reputation|(?:not|n't) (?:been |yet )*(?:accepted|allowed|authori[sz]ed|permitted|verified|trusted|owned"
    r"|registered|configured|approved|activated))"
)
_OURS = r"(?:your|sending|source|originating|connecting|client|sender(?:'s)?|from|outgoing|outbound|submitting)"
_SENDING_QUOTA = _pattern(
    rf"\b(?:sends?|sending|submission|submit|outgoing|outbound|sender(?:'s)?|relay|relaying|smtp|messaging|mail count"
    rf"|mailing|mail ?send)\b{_GAP}{_EXCEEDED}\b",
    rf"\b{_EXCEEDED}\b{_GAP}(?<!not )(?:sent|sending|outgoing|outbound|submission|relayed)\b",
)
_QUOTA = _pattern(  # limits for hours or longer, and money
    rf"\b{_PERIOD}\b[^.;:]*\b(?:{_EXCEEDED}|too many|max|reached|credits?)\b",
    rf"\b(?:{_EXCEEDED}|too many|max|reached|credits?)\b[^.;:]*\b{_PERIOD}\b",
    rf"\b(?:you|you've|your (?:\w+ ){{1,3}}|tenant|domain|organi[sz]ation|subscription|plan|client|host|ip|server)\b"
    rf"(?: [\w'~-]+){{0,4}}? (?:exceeded|exceeds|reached|hit|over|used (?:up|all))\b[^.;:]*"
    rf"\b(?:{_EXCEEDED}|credits?|messages|recipients)\b",
    r"\b(?:out of|insufficient|not enough|no(?: more)?|exceeded|maximum) (?:\w+ )?(?:credits?|funds|balance)\b",
    r"\bcredits? (?:limit )?(?:exceeded|exhausted|ran out)\b",
    rf"\brecipients? (?:per \w+ )?limit\b|\b(?:e-?mails?|messages?|mails?) (?:quota|limit) {_EXCEEDED}\b",
    r"\btoo many (?:e-?mails|messages|mails) (?:were |have been )?(?:sent|from)\b",
    r"\bsent too (?:much|many)\b",
    r"\bexceed\w*[^.;:]*\bnumber of (?:e-?mails|messages|mails|recipients)\b",
)
_FOR_LONG = LazyPattern(rf"\b{_PERIOD}\b")
_SOME_LIMIT = _pattern(  # our limit, or the mailbox's
    r"(?<!over )(?<!over-)\b(?:quota|limits?)\b[^.;:]*\b(?:exceeded|reached|hit|used up|exhausted|depleted)\b",
    r"\b(?:exceeded|exceeds|reached|hit|over)\b[^.;:]*(?<!over )(?<!over-)\b(?:quota|limits?)\b",
)
_RATE = _pattern(  # limits for seconds or minutes
    r"\brate[ -]?limit\w*",
    rf"\brate\b{_GAP}{_EXCEEDED}\b",
    r"\bfrequency limit\w*",
    r"\bthrottl\w*",
    r"\btoo much mail\b",
    r"\bsending too (?:fast|many|quickly|much)\b",
    r"\bunusual (?:\w+ )?(?:sending|rate|volume|amount)\b",
)
_RATE_WORDS = _pattern(r"\brate\b", r"\bper[ -]?(?:second|minute)\b", r"\btoo (?:fast|quickly)\b", r"\bslow down\b")
_BLOCKED = _pattern(
    rf"\b{_OURS}(?: mail| smtp| e-?mail)? (?:ips?|hosts?|servers?|networks?|domains?|address(?:es)?|provider|account"
    rf"|user|organi[sz]ation|tenant)\b{_GAP}{_REFUSED}\b",
    rf"\b(?:(?:ips?|ip address(?:es)?|tenant|client|host|sender|network)\b|(?:domain|server) ~){_GAP}{_REFUSED}\b",
    rf"\b{_REFUSED}{_GAP}{_OURS} (?:ips?|hosts?|servers?|networks?|domains?|address(?:es)?|account|organi[sz]ation"
    r"|ip address)\b",
    r"\b(?:ip|domain|sender|server|host)\b[^.;:]*\breputation\b|\breputation of (?:the |your )?(?:sending|ip|domain)",
    r"\b(?:black|block|deny)[ -]?list(?:ed|s)?\b",
    r"\bblocked using\b",
    r"\bbanned (?:sender|sending|ip)\b|\bbad outbound sender\b|\btraffic not accepted from\b|\bspam abuse detected\b",
    r"\b(?:e-?mails?|messages?|mails?) from ~ ?(?:were|was|are|is|will be|has been|have been)?"
    r" ?(?:n't|not|\w+n't|permanently|blocked|rejected|refused|denied)",
    rf"\byour (?:\w+ )?(?:account|subscription|plan|trial|tenant|profile|service|credentials)\b[^.;:]*"
    rf"\b(?:{_REFUSED}|locked|limited|expired|deactivated|terminated|under review|pending|inactive|compromised|hacked"
    r"|closed|run out)\b",
    rf"\b(?:sends?|sending|outgoing|outbound|submission|smtp access|mail service)\b{_GAP}{_REFUSED}\b",
    r"\b(?:suspended|disabled|blocked|restricted|prohibited|banned|prevented|limited)\b"
    r" (?:from|for) (?:sending|relaying|sent|spam\w*)\b",
    r"\b(?:account|user|domain|customer)(?: ~)? (?:is |has been |was )?(?:under review|pending approval|on hold)\b",
    r"\brequested account is disabled\b|\bapi[ -]?key\b[^.;:]*\b(?:disabled|revoked|expired|invalid|unauthori[sz]ed)\b",
    r"(?<!not )\blisted (?:at|in|on|by) ~|\bunauthori[sz]ed (?:ip|sender|client|host)\b|\bbehaviou?r spam\b",
    r"\b(?:can ?not|can't|may not) (?:be sent until|send)\b|\b(?:can|may) only send\b",
    r"\b(?:free|trial|sandbox|test) (?:accounts?|plan|mode|subdomains?)\b",
)
_RELAYING = _pattern(
    r"\brelay\w*\b[^.;:]{0,30}\b(?:denied|not|prohibited|disallowed|forbidden|disabled|rejected|refused|restricted)\b",
    r"\b(?:unable to|not (?:allowed|permitted|authori[sz]ed)(?: to)?|not|n't|cannot|no|open|refus\w+(?: to)?|denied)"
    r" relay\w*",
    r"\brelay access\b|\ballowed rcpthosts\b",
)
_LOGIN = _pattern(
    r"\bauth(?:entication|entications|orization)? (?:is |was )?(?:required|needed|necessary)\b",
    r"\b(?:must|need to|needs to|please|should|have to|has to) (?:be |first |use )?"
    r"(?:authenticat\w+|log(?:ged)? ?in|starttls|smtp auth\w*|issue a? ?starttls)",
    r"\bnot (?:been )?(?:authenticated|logged in)\b|\bunauthenticated\b|\blog ?in first\b|\blogin required\b",
    r"\bauthentication (?:credentials )?(?:failed|failure|invalid|unsuccessful)\b|\binvalid credentials\b",
    r"\b(?:bad|wrong|invalid|incorrect) (?:user ?name|password|login|api key|token)\b",
    r"\b(?:tls|encryption|encrypted connection)\b[^.;:]{0,20}\b(?:required|needed|first)\b|\bstarttls\b",
    r"\bno permission\b",
)
_SENDER = _pattern(
    r"\b(?:null )?sender(?: address| domain| e-?mail| identity| id)?(?:'s)?(?: ~| is| was| has been)*"
    r" (?:rejected|denied|refused|invalid|unknown|not|does not|doesn't|could not|cannot|verif\w+|forged|blocked|must"
    r"|unverified|mismatch|disallowed)\b",
    r"\bsender signature\b|(?<!callout )(?<!recipient )\bverif\w+ failed\b",
    r"\binvalid sender\b|\bunverified sender\b|\bnot one of your\b",
    r"\b(?:unconfigured|unverified|unknown|invalid) (?:sending|sender|from) (?:domain|address)\b",
    r"\bmail ?from\b[^.;]{0,40}\b(?:must|not|doesn't|rejected|denied|invalid|refused|blocked)\b",
    r"\bfrom'?:? '?(?:address|domain|header|e-?mail)?'?[^.;:]{0,60}?"
    r"\b(?:does not match|doesn't match|must match|must be|not match|mismatch|unverified|not verified"
    r"|not (?:allowed|permitted|authori[sz]ed|owned|a sender))\b",
    r"\bsender's (?:mail |e-?mail )?domain[^.;:]*\b(?:no|not|without)\b",
    r"\bnot owned\b|\bsend[ -]?as\b|sendasdenied|\bon behalf of\b",
    r"\baddress is not verified\b|\bidentit(?:y|ies)\b[^.;:]*\b(?:failed|not verified)\b|\bfollowing identities\b",
    r"\b(?:not|n't) (?:been )?(?:allowed|permitted|authori[sz]ed|enabled|entitled) (?:to |for )"
    r"(?:send|sending|use|submit|submission|perform)\b",
    r"\bdomain(?: ~)? (?:is )?(?:unverified|not (?:verified|registered|allowed|authori[sz]ed|configured))\b"
    r"|\bunregistered domains?\b",
)
_DOMAIN = _pattern(
    r"\b(?:spf|dkim|dmarc)\b|\bsender policy framework\b|\bdomainkeys\b",
    r"\bauthentication (?:level|checks?|requirements?|information|records?)\b",
    r"\b(?:fail\w*|pass)\b[^.;:]{0,20}\bauthentication\b",
    r"\bptr\b|\breverse[ -]?(?:dns|hostname|lookup|ip|name|address)\b|\brdns\b|\bfcrdns\b|\binvalid dns\b",
    r"\bcannot find your\b|\bhelo\b|\behlo\b|\bsending guidelines\b|\bbulk sender guidelines\b",
)
_SERVER = _pattern(  # only for a 5yz reply: in a 4yz, these words just mean "try again later"
    r"\bservice (?:is |was )?(?:currently |temporarily )?(?:unavailable|not available)\b|\bno smtp service\b",
    r"\b(?:system|server|host) (?:is )?(?:currently |temporarily )?not accepting\b",
    r"\binsufficient (?:system|server) (?:storage|resources)\b|\bconfiguration (?:error|problem)\b|\bmisconfigured\b",
)
_ACCOUNT_BLOCKED = LazyPattern(r"\baccount\b[^.;:]{0,30}\b(?:blocked|suspended|locked)\b")
_NAMED_LISTS = LazyPattern(r"spamhaus|spamcop|barracudacentral|sorbs|uceprotect|dnsbl|\brbl\b")
_NETEASE = LazyPattern(  # 163.com and 126.com
    r"\b(?:mi:(?:spf|spb|cel|stc|sfq|dmc|ccl|nhd|imf|dma)|rp:(?:cel|ccl|drc|frl|qrc|rcl|trc)|hl:\w{3}|dt:(?:sum|rbl))\b"
)
_TOO_MANY_CONNECTIONS = _pattern(
    r"\b(?:too many|concurrent|simultaneous|parallel|maximum)[^.;:]{0,30}\b(?:connections?|sessions?)\b",
    r"\bconnections?\b[^.;:]{0,30}\b(?:limits?|exceeded|too many)\b",
)
_GREYLISTED = LazyPattern(r"\bgr[ea]y-?list")

# Words that are as clear about the mailbox as 5.1.1. "Mailbox unavailable" and "rejected" can mean anything.
_MAILBOX = _pattern(
    r"\b(?:no such|unknown|invalid|non-?existent) (?:\w+ )?(?:user|mailbox|recipient|account|person|alias)\b",
    r"\b(?:user|mailbox|recipient|account|address(?:ee)?)(?: ~| is)* (?:unknown|not found|not known|non-?existent)\b",
    r"\b(?:user|mailbox|recipient|account|address|~)\b[^.;:]*\b(?:does not|doesn't|did not|do not|not) exist\b",
    r"\b(?:mail ?box|inbox)\b[^.;:]*\b(?:full|over[ -]?quota|quota exceeded|exceeded its quota)\b",
    r"\bover[ -]?quota\b|\bdoes(?:n't| not) have an? ~ ?(?:account|mailbox)\b|\bunrouteable address\b",
)


def find_blame(step: Step, reply: Reply, address: str) -> Blame:
    """Return what a 4yz or 5yz reply to `step` is about. `address` is the recipient's."""
    text = reply.text[:MAX_JUDGED_LENGTH].lower()
    code = reply.enhanced or _first_code(text)
    if code in _DOMAIN_NOT_AUTHENTICATED:
        return Blame.SESSION
    if _ADDRESS_CODE.fullmatch(code) or _MISSING_AT_MICROSOFT.match(text):
        return Blame.RECIPIENT
    if _RESTRICTED_GROUP_CODE.fullmatch(code) or "resolver.rst." in text:
        return Blame.UNCLEAR
    if _NAMED_LISTS.search(text) or _NETEASE.search(text) or "sendasdenied" in text:
        return Blame.SESSION
    return _judge(step is Step.RCPT, reply.code, code, _without_varying(text, address))


def _first_code(text: str) -> str:
    """Return an enhanced code from the middle of the text, as in "554 <a@b>: (#5.1.1)", or ""."""
    found = _CODE_IN_TEXT.search(text, 3)
    return found[0] if found is not None and found[0][0] == text[0] else ""


def _without_varying(text: str, address: str) -> str:
    return " ".join(_VARYING.sub("~", text.replace(address.lower(), "~")[3:]).split())


@lru_cache(maxsize=256)  # there are many recipients but few reasons
def _judge(at_rcpt: bool, code: int, enhanced: str, text: str) -> Blame:
    """Return what a refusal is about. `text` no longer contains anything that varies."""
    words = _SIZE.sub(" ~ ", text)
    if code < 500 and _TOO_MANY_CONNECTIONS.search(words):
        return Blame.CONNECTIONS
    ours = _NOT_OURS.sub(" ~ ", _BOILERPLATE.sub(" ; ", words))
    if not _GREYLISTED.search(words) and _blames_session(at_rcpt, code, enhanced, ours):
        return Blame.SESSION
    if _MESSAGE_CODE.fullmatch(enhanced):
        return Blame.MESSAGE
    if _MAILBOX_CODE.fullmatch(enhanced) or _MAILBOX.search(words):
        return Blame.RECIPIENT
    return Blame.UNCLEAR


def _blames_session(at_rcpt: bool, code: int, enhanced: str, words: str) -> bool:
    if _MAILBOX_CODE.fullmatch(enhanced):
        return _SENDING_QUOTA.search(words) is not None
    if _SENDING_QUOTA.search(words) or _QUOTA.search(words):
        # A temporary limit per second or minute is handled by trying again later.
        return code >= 500 or not _RATE_WORDS.search(words) or _FOR_LONG.search(words) is not None
    if any(pattern.search(words) for pattern in (_RELAYING, _LOGIN, _SENDER, _DOMAIN, _BLOCKED)):
        return True
    if code >= 500 and (_RATE.search(words) or _SERVER.search(words) or foreign_blame.blames_session(words)):
        return True
    if enhanced.startswith(("5.7.", "5.4.")) or (not at_rcpt and not enhanced and code != 552):
        # A refusal about the recipient's account or quota would have another code, and come at RCPT.
        return _SOME_LIMIT.search(words) is not None or _ACCOUNT_BLOCKED.search(words) is not None
    return False
