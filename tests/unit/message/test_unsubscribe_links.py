"""unsubscribe.py and footer.py: links identify a recipient, and are in every message in full."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.message.mime import TOKEN_LENGTH
from delivery.message.unsubscribe import Links, Target, Tokens, _signed
from tests.support.properties import AT_ANY_SPEED
from tests.support.rendering import AT, message, normalised, parsed, rendered, text_of
from tests.support.samples.contents import CONTENTS
from tests.support.samples.messages import LETTERS

TOKENS = Tokens("s" * 16, "installation")
LINKS = TOKENS.links("https://mail.example.com/app", 7)
OURS = f"{LINKS.prefix}{TOKENS.token(5, 7).decode()}"  # `rendered` writes to the recipient 5
HTML_LINK = f'\n<p><small><a href="{OURS}">Unsubscribe</a></small></p>\n'


def as_sent(content: str, links: Links = LINKS) -> list[tuple[str, str]]:
    """(type, text) of each part of the message, the same in each of its forms."""
    forms = [
        [(part.get_content_type(), text_of(part)) for part in parsed(octets).walk() if not part.is_multipart()]
        for octets in rendered(message(content=content, unsubscribe=links))
    ]
    assert forms[0] == forms[1]
    return forms[0]


IDS = [0, 1, 255, 256, 10**6, 2**53, 2**63 - 1]
EVENT_IDS = [None, *IDS, -1, -(2**63)]


def path_of(recipient_id: int, event_id: int | None = 7) -> str:
    token = TOKENS.token(recipient_id, event_id).decode()
    return token if event_id is None else f"{event_id}/{token}"


def test_a_link_identifies_its_recipient_and_its_email() -> None:
    targets = [Target(recipient_id, event_id) for recipient_id in IDS for event_id in EVENT_IDS]
    paths = [path_of(*target) for target in targets]
    assert [TOKENS.target(path) for path in paths] == targets
    tokens = {path.rpartition("/")[2] for path in paths}
    assert all(re.fullmatch("[A-Za-z0-9_-]{32}", token) for token in tokens)
    assert len(tokens) == len(targets)


@pytest.mark.parametrize("other", [Tokens("t" * 16, "installation"), Tokens("s" * 16, "another")])
def test_a_link_of_another_key_or_installation_is_invalid(other: Tokens) -> None:
    assert other.target(path_of(5)) is other.target(path_of(5, None)) is None


def test_a_token_belongs_to_one_email() -> None:
    token = TOKENS.token(5, 7).decode()
    for path in (token, f"8/{token}", f"-7/{token}", f"/{token}", f"07/{token}", f"+7/{token}", f"7//{token}",
                 f"7/7/{token}", f"٧/{token}", f"7 /{token}", f"{2**63}/{token}", f"{10**40}/{token}"):  # fmt: skip
        assert TOKENS.target(path) is None, path
    assert TOKENS.target(f"7/{TOKENS.token(5).decode()}") is None


@pytest.mark.parametrize("event_id", [None, 7])
def test_a_token_with_any_character_changed_is_invalid(event_id: int | None) -> None:
    token = TOKENS.token(5, event_id).decode()
    prefix = path_of(5, event_id).removesuffix(token)
    for place in range(TOKEN_LENGTH):
        for other in "A-_z!=.é\0":
            changed = token[:place] + other + token[place + 1 :]
            assert TOKENS.target(prefix + changed) == (Target(5, event_id) if changed == token else None)


@pytest.mark.parametrize("text", ["", "A", "A" * 31, "A" * 33, "A" * 32, "=" * 32, "\ud800" * 32, "5", "🙂" * 32])
def test_what_is_not_a_token_is_invalid(text: str) -> None:
    assert TOKENS.target(text) is TOKENS.target(f"7/{text}") is None
    assert TOKENS.target(path_of(5) + text) == (None if text else Target(5, 7))


def test_a_link_does_not_tell_the_address() -> None:
    octets = message(unsubscribe=LINKS).as_bytes("ann@example.org", 5, AT, eight_bit=True)
    assert octets.count(b"ann") == octets.count(b"To: ann@example.org") == 1


@pytest.mark.parametrize("content", [*CONTENTS, *(letter.content for letter in LETTERS.values())], ids=ascii)
def test_a_text_ends_with_the_link_and_is_otherwise_as_it_was(content: str) -> None:
    *_, (kind, text) = as_sent(re.sub("(?i)<!doctype html|<html", "<", content))
    written = normalised(re.sub("(?i)<!doctype html|<html", "<", content))
    line_end = "" if not written or written.endswith("\n") else "\n"
    assert (kind, text) == ("text/plain", f"{written}{line_end}\nUnsubscribe: {OURS}\n")


@pytest.mark.parametrize("content", CONTENTS, ids=ascii)
def test_html_has_the_link_and_is_otherwise_as_it_was(content: str) -> None:
    (plain, text), (kind, html) = as_sent(f"<html><body>{content}</body></html>")
    assert (plain, kind) == ("text/plain", "text/html")
    assert text.endswith(f"\nUnsubscribe: {OURS}\n")
    assert html == normalised(f"<html><body>{content}") + HTML_LINK + "</body></html>\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<html>Hello", ""),
        ("<html>Hello", "</html>"),
        ("<!DOCTYPE html><BODY>Hello", "</BODY >\n</HTML>\n"),
        ("<html><body>Hello<!-- </body> -->", "</body></html>"),
        ("<html><body>Hello", "</body></html><!-- </body> -->"),
        ("<html><body><script>'</body>'</script>", "</body>"),
        ("<html><body>one</body></html><html><body>two", "</body></html>"),
        ("<html><p title='</body>'>", ""),
        ("<html>" + "<b>x</b>" * 5_000, "</body>"),
    ],
    ids=lambda text: text[:60],
)
def test_in_html_the_link_is_where_the_body_ends(before: str, after: str) -> None:
    _, (_, html) = as_sent(before + after)
    assert html.removesuffix("\n") == (before + HTML_LINK + normalised(after)).removesuffix("\n")


@pytest.mark.parametrize(
    ("before", "closing"),
    [
        ("<html><body><div hidden>preview", "</div>"),
        ('<html><div style="display:none"><p>preview <b>text', "</b></p></div>"),
        ("<html><body><table style=display:none><tr><td>x", "</td></tr></table>"),
        ("<html><body><p>Hello</p><select><option>one", "</option></select>"),
        ("<html><body><details><summary>More</summary>x", "</details>"),
        ("<html><body><video><a href='x'>y</a>", "</video>"),
        ("<html><body><button>Join", "</button>"),
        ("<html><body><svg><desc><div hidden>x", "</div></desc></svg>"),
        ("<html><body><noscript><p>x", "</p></noscript>"),
        ("<html><body><p><b hidden>x</p>", "</b>"),
        ("<html><body><div><p style='visibility:hidden'>x", "</p>"),
        ("<html><body><div hidden>x</div><p><i>y", ""),
        ("<html><body><plaintext><p hidden></body>", None),
    ],
)
@pytest.mark.parametrize("after", ["", "</body></html>"])
def test_the_link_is_never_in_something_that_is_hidden(before: str, closing: str | None, after: str) -> None:
    _, (_, html) = as_sent(before + after)
    expected = f"{before}{closing}{HTML_LINK}{after}"
    if closing is None:
        expected = f"<html><body>{HTML_LINK}<plaintext><p hidden></body>{after}"
    assert html.removesuffix("\n") == expected.removesuffix("\n")


@pytest.mark.parametrize("style", ["font-size:0", "visibility:hidden"])
def test_a_link_in_a_body_without_visible_text_has_a_style_of_its_own(style: str) -> None:
    _, (_, html) = as_sent(f'<html><body style="{style}"><div style="font-size:14px;visibility:visible">x</div></body>')
    assert '<p style="visibility:visible;font-size:13px"><small><a href=' in html


@pytest.mark.parametrize("hidden", ["<div hidden>", "<b hidden>", "<select><option>"])
def test_in_thousands_of_hidden_elements_the_link_comes_first(hidden: str) -> None:
    _, (_, html) = as_sent(f"<html><head><style>p{{}}</style></head><BODY class=a>{hidden * 5000}x")
    before, link, after = html.partition(HTML_LINK)
    assert link and before == "<html><head><style>p{}</style></head><BODY class=a>"
    assert after.count("<") == hidden.count("<") * 5000


@given(content=st.text(alphabet="a\r\n. =é你😀<\t-", max_size=300), length=st.integers(1, 490))
@settings(AT_ANY_SPEED, max_examples=50)
def test_the_link_is_whole_whatever_stands_before_it_and_however_long_it_is(content: str, length: int) -> None:
    links = TOKENS.links("https://" + "h" * length, -(2**63))
    link = f"{links.prefix}{TOKENS.token(5, -(2**63)).decode()}"
    for page in (content, f"<html>{content}"):
        parts = as_sent(page, links)
        assert [text.count(link) for _, text in parts] == [1] * len(parts)


@pytest.mark.parametrize(
    "content", ["plain", "é and more text", "你好", "<html>plain", "<html>é", "<html><body>你好</body>"]
)
def test_each_recipient_has_a_link_of_its_own_everywhere(content: str) -> None:
    email = message(content=content, unsubscribe=LINKS)
    for number in (1, 5, 10**12):
        for eight_bit in (True, False):
            read = parsed(email.as_bytes("ann@example.org", number, AT, eight_bit=eight_bit))
            link = f"{LINKS.prefix}{TOKENS.token(number, 7).decode()}"
            assert read["List-Unsubscribe"] == f"<{link}>"
            texts = [text_of(part) for part in read.walk() if not part.is_multipart()]
            assert [re.findall(r"https://mail[^\s\"]*", text) for text in texts] == [[link]] * len(texts)


def test_the_fields_are_lines_of_their_own_that_no_server_has_to_fold() -> None:
    """Mail providers look for this form (RFC 8058, section 3.1)."""
    links = TOKENS.links("https://" + "x" * 492, -(2**63))
    octets = message(unsubscribe=links).as_bytes("a@b.example", 1, AT, eight_bit=True)
    lines = octets.partition(b"\r\n\r\n")[0].split(b"\r\n")
    (link,) = [line for line in lines if line.startswith(b"List-Unsubscribe: ")]
    assert re.fullmatch(rb"List-Unsubscribe: <https://x{492}/unsubscribe/-9223372036854775808/[A-Za-z0-9_-]{32}>", link)
    assert len(link) < 998
    assert lines.count(b"List-Unsubscribe-Post: List-Unsubscribe=One-Click") == 1


@pytest.mark.parametrize("text", ["{{7*7}}", "{% raw", "%s %d %(x)s", "{0.__class__}", "$x ${x}", "\\1 \\g<0>"])
def test_what_looks_like_a_template_is_none(text: str) -> None:
    """M12."""
    octets = message(text, text, unsubscribe=LINKS).as_bytes("ann@example.org", 5, AT, eight_bit=True)
    email = parsed(octets)
    assert (email["Subject"], text_of(email)) == (text, f"{text}\n\nUnsubscribe: {OURS}\n")


def test_text_html_and_both_have_the_right_types() -> None:
    """HTML content is sent as both."""
    assert [kind for kind, _ in as_sent("a text")] == ["text/plain"]
    assert [kind for kind, _ in as_sent("<html>a page")] == ["text/plain", "text/html"]
    assert "\u202egnp.exe" in as_sent("\u202egnp.exe")[0][1]


def test_links_for_many_recipients_take_no_time() -> None:
    email = message(content="你好" * 500, unsubscribe=LINKS)
    begin = time.process_time()
    for number in range(20_000):
        email.smtp_data("ann@example.org", number, AT, eight_bit=False)
    assert time.process_time() - begin < 2


def test_every_token_ends_as_a_link_may_end_in_a_text() -> None:
    for event_id in (None, 7):
        tokens = [TOKENS.token(number, event_id).decode() for number in range(3_000)]
        assert all(token[-1].isalnum() and len(token) == TOKEN_LENGTH for token in tokens)
        assert [TOKENS.target(path_of(number, event_id)) for number in range(3_000)] == [
            Target(number, event_id) for number in range(3_000)
        ]


def test_links_that_were_mailed_before_stay_valid_whole_or_cut() -> None:
    earlier = [_signed(TOKENS._signer, number.to_bytes(8, "big"), b"").decode() for number in range(3_000)]
    targets = [Target(number, None) for number in range(3_000)]
    assert {token[-1] for token in earlier} > {"-", "_"}
    assert [TOKENS.target(token) for token in earlier] == targets
    assert [TOKENS.target(token.rstrip("-")) for token in earlier] == targets


def test_what_is_cut_off_otherwise_is_invalid() -> None:
    for number in range(200):
        path = path_of(number)
        assert TOKENS.target(path[:-1]) is TOKENS.target(path[:-2]) is TOKENS.target(path[:-4]) is None


@pytest.mark.parametrize(
    "end",
    ["<!-- never closed", "<!--", "<!-- --", "<style>p { color: red", "<style>", "<script>x", "<title>x", "<xmp><b>",
     "<template><p>x", "<textarea>x", "<iframe>", "<noframes>x", "<a href='https://example.com", '<p title="x>y',
     "<p class=", "<p", "<!DOCTYPE", "</p", "</", "<STYLE >x</styl"],
)  # fmt: skip
def test_html_that_ends_inside_of_something_does_not_swallow_the_link(end: str) -> None:
    _, (_, html) = as_sent(f"<html><body>Hello {end}")
    assert html.removesuffix("\n") == f"<html><body>Hello {HTML_LINK}{end}"


@pytest.mark.parametrize(
    "end", ["<!-- x -->", "<style>x</style>", "a < b", "<", "a <3", "&amp", "<p>", "<br/>", "</p>", "<!-->"]
)
def test_html_that_ends_well_has_the_link_at_its_end(end: str) -> None:
    _, (_, html) = as_sent(f"<html><body>Hello {end}")
    assert html.removesuffix("\n") == f"<html><body>Hello {end}{HTML_LINK}".removesuffix("\n")
