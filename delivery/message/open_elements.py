"""Track the open elements in HTML, as far as they decide what is visible (HTML standard, "Tree construction").

A browser closes elements whose end tags are missing, ignores end tags that match nothing, and reopens formatting
elements after the end of the block in which they were opened. Each step here takes constant time or pops the elements
it visits, so the time for hostile markup is proportional to its length. No tree is built.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from delivery.message.inline_style import Effects

_VOID_TAGS = "area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr"
VOID = frozenset(_VOID_TAGS.split())
_FORMATTING_TAGS = "a b big code em font i nobr s small strike strong tt u"
FORMATTING = frozenset(_FORMATTING_TAGS.split())
HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_SCOPES_TAGS = "applet caption marquee object table td template th"
SCOPES = frozenset(_SCOPES_TAGS.split())
_TABLE_PARTS_TAGS = "caption table tbody td tfoot th thead tr"
TABLE_PARTS = frozenset(_TABLE_PARTS_TAGS.split())
_CLOSING_P_TAGS = (
    "address article aside blockquote center dd details dialog dir div dl dt fieldset figcaption figure footer "
    "form header hgroup hr li listing main menu nav ol p pre search section summary table ul xmp"
)
PARTS_OF_TABLES = TABLE_PARTS - {"table"}
CLOSING_P = HEADINGS | frozenset(_CLOSING_P_TAGS.split())
# A link in these may be hidden until something is opened, or cannot be clicked.
NO_PLACE_FOR_LINKS = frozenset(("button", "details", "math", "noscript", "rp", "select", "svg"))
_SPECIAL_TAGS = "body button head html iframe noscript select textarea"
SPECIAL = CLOSING_P | SCOPES | TABLE_PARTS | frozenset(_SPECIAL_TAGS.split())
SIBLINGS = {
    "li": ("li",),
    "dd": ("dd", "dt"),
    "dt": ("dd", "dt"),
    "option": ("option",),
    "optgroup": ("option", "optgroup"),
    "tr": ("tr",),
    "td": ("td", "th"),
    "th": ("td", "th"),
    **dict.fromkeys(("tbody", "thead", "tfoot"), ("tbody", "thead", "tfoot", "caption", "tr")),
    "caption": ("caption",),
}
IMPLIED = frozenset(("dd", "dt", "li", "optgroup", "option", "p", "rb", "rp", "rt", "rtc"))
_ROW_GROUPS = ("tbody", "thead", "tfoot", "table")
ROWS_AND_CELLS = {  # each with the elements that can contain it
    **dict.fromkeys(("td", "th"), ("tr", *_ROW_GROUPS)),
    "tr": _ROW_GROUPS,
    **dict.fromkeys(("tbody", "thead", "tfoot", "caption"), ("table",)),
}
MAKING_ROOM = CLOSING_P | frozenset(SIBLINGS) | {"a", "button", "nobr"}
TRANSPARENT = frozenset(("address", "div", "p"))  # a `li` inside one of these still closes the `li` around it
MAX_REOPENED = 8  # formatting elements after the end of a block; hostile markup may have a million
MAX_MISNESTED = 32  # elements that stay open when a formatting element below them is closed


# The state of text inside the open elements: 0 if it is visible, otherwise a combination of these.
GONE, UNSEEN, INVISIBLE, TINY = 1, 2, 4, 8


def inside(state: int, effects: Effects) -> int:
    """Return the state inside an element that has these effects."""
    if effects.is_invisible is not None:
        state = state | INVISIBLE if effects.is_invisible else state & ~INVISIBLE
    if effects.is_tiny is not None:
        state = state | TINY if effects.is_tiny else state & ~TINY
    return state | GONE * effects.is_gone | UNSEEN * effects.is_unseen


class Element(NamedTuple):
    tag: str
    effects: Effects | None
    outside: int  # the state before it was opened
    was_followed: bool  # whether `on_close` is called for it, which is so unless it is gone


class OpenElements:
    """The stack of open elements. `on_close` is called when an element that takes up space is closed."""

    def __init__(self, on_close: Callable[[str, Effects | None], None]) -> None:
        self.state = 0
        self._on_close = on_close
        self._has_form = False  # since the last `</form>`, whether or not the form is still open
        self._elements: list[Element] = []
        self._places: defaultdict[str, list[int]] = defaultdict(list)  # of each tag
        self._specials: list[int] = []
        self._scopes: list[int] = []
        self._barriers: list[int] = []  # a `li` inside one of these closes no `li` around it

    def state_of_text(self) -> int:
        """Return the state of text at this place. Browsers move text in a table but outside its cells before it."""
        place = _top(self._scopes)
        if place < 0 or self._elements[place].tag != "table":
            return self.state
        state = self._elements[place].outside
        for element in self._elements[place + 1 : place + 1 + MAX_MISNESTED]:
            if element.effects and element.tag not in TABLE_PARTS:
                state = inside(state, element.effects)
        return state

    def ignores(self, tag: str) -> bool:
        """Return whether a start tag opens nothing here.

        That is so for a part of a table outside a table, and for a form in a form or between the cells of a table.
        """
        if tag == "form":
            scope = _top(self._scopes)
            return self._has_form or (scope >= 0 and self._elements[scope].tag == "table")
        return tag in PARTS_OF_TABLES and not self._places["table"]

    def make_room(self, tag: str) -> None:
        """Close the elements that this opening tag closes implicitly."""
        if tag in CLOSING_P and self._last("p") > _top(self._scopes):
            self._close_down_to(self._last("p"))
        if tag == "table" and self._scopes and self._elements[self._scopes[-1]].tag == "table":
            self._close_down_to(self._scopes[-1])
        if tag in SIBLINGS:
            self._close_siblings(tag)
            if tag in ROWS_AND_CELLS:  # they close everything else inside the table
                self._close_down_to(max(map(self._last, ROWS_AND_CELLS[tag])) + 1, keeps_formatting=False)
        elif tag == "button" and self._last("button") > _top(self._scopes):
            self._close_down_to(self._last("button"))
        elif tag in ("a", "nobr") and self._last(tag) > _top(self._scopes):
            self._close_formatting(self._last(tag))
        elif tag in HEADINGS and self._elements and self._elements[-1].tag in HEADINGS:
            self._close_down_to(len(self._elements) - 1)

    def open(self, tag: str, effects: Effects | None, *, was_followed: bool) -> None:
        """Open an element. Call `make_room` first."""
        if tag in ("body", "html"):
            self.state = inside(self.state, effects) if effects else self.state
        else:
            self._has_form = self._has_form or tag == "form"
            self._push(Element(tag, effects, self.state, was_followed))

    def close(self, tag: str) -> bool:
        """Handle an end tag. Return False if it closes nothing."""
        if tag == "form":
            self._has_form = False
        last = max(map(self._last, HEADINGS)) if tag in HEADINGS else self._last(tag)
        if last < 0 or tag in ("body", "html"):
            return False
        if tag in FORMATTING:
            may_close = last > _top(self._scopes)
        elif tag in TABLE_PARTS:
            may_close = last >= self._last("table")
        elif tag in SPECIAL:
            may_close = last >= _top(self._scopes)
        else:
            may_close = last > _top(self._specials)
        if may_close and tag in FORMATTING:
            self._close_formatting(last)
        elif may_close and tag == "form":
            self._close_form(last)
        elif may_close:
            self._close_down_to(last)
        return may_close

    def close_hidden(self) -> list[str]:
        """Close every element in which a link would be hidden, and all elements inside it. Return their tags."""
        hiding = (place for place, element in enumerate(self._elements) if _hides(element))
        place = next(hiding, len(self._elements))
        return [self._pop().tag for _ in range(len(self._elements) - place)]

    def close_all(self) -> None:
        """Close all elements, as the end of the text does."""
        self._close_down_to(0)

    def _last(self, tag: str) -> int:
        places = self._places.get(tag)
        return places[-1] if places else -1

    def _close_siblings(self, tag: str) -> None:
        siblings = SIBLINGS[tag]
        across = self._last("table") if tag in TABLE_PARTS else _top(self._barriers)
        while (last := max(map(self._last, siblings))) >= max(across, 0):
            self._close_down_to(last)

    def _close_down_to(self, place: int, *, keeps_formatting: bool = True) -> None:
        """Close the element at this place and all above it. Formatting elements are reopened, unless a cell ends."""
        elements = self._elements
        if len(elements) - 1 == place:  # nearly always
            element = self._pop()
            if element.was_followed:
                self._on_close(element.tag, element.effects)
            return
        reopened: list[Element] = []
        keeps_formatting = keeps_formatting and place < len(elements) and elements[place].tag not in SCOPES
        while len(elements) > place:
            element = self._pop()
            if element.was_followed:
                self._on_close(element.tag, element.effects)
            if element.effects and element.tag in FORMATTING and len(elements) > place:
                reopened.append(element)
        if keeps_formatting:
            for element in reversed(reopened[-MAX_REOPENED:]):
                self._push(element._replace(outside=self.state, was_followed=False))

    def _close_formatting(self, place: int) -> None:
        """Close a formatting element. If it contains an open block, the elements inside it stay open."""
        if _top(self._specials) < place:
            self._close_down_to(place)
        else:
            self._take_out(place)

    def _close_form(self, place: int) -> None:
        """Close a form. The elements inside it stay open, except those whose end tags may be omitted."""
        while self._elements[-1].tag in IMPLIED:
            self._close_down_to(len(self._elements) - 1)
        self._take_out(place)

    def _take_out(self, place: int) -> None:
        """Close one element and leave those inside it open, unless there are too many."""
        if len(self._elements) - place > MAX_MISNESTED:
            self._close_down_to(place)
            return
        above = [self._pop() for _ in range(len(self._elements) - place)]
        element = above.pop()
        if element.was_followed:
            self._on_close(element.tag, element.effects)
        is_in_block = element.tag not in FORMATTING
        for each in reversed(above):
            is_in_block = is_in_block or each.tag in SPECIAL
            if is_in_block or each.tag in FORMATTING:
                self._push(each._replace(outside=self.state))
            elif each.was_followed:  # "adoption agency algorithm", step 14.5
                self._on_close(each.tag, each.effects)

    def _push(self, element: Element) -> None:
        tag, place = element.tag, len(self._elements)
        self._elements.append(element)
        self._places[tag].append(place)
        if tag in SPECIAL:
            self._specials.append(place)
            if tag in SCOPES:
                self._scopes.append(place)
            if tag not in TRANSPARENT:
                self._barriers.append(place)
        if element.effects:
            self.state = inside(self.state, element.effects)

    def _pop(self) -> Element:
        element = self._elements.pop()
        tag = element.tag
        self._places[tag].pop()
        if tag in SPECIAL:
            self._specials.pop()
            if tag in SCOPES:
                self._scopes.pop()
            if tag not in TRANSPARENT:
                self._barriers.pop()
        self.state = element.outside
        return element


def _hides(element: Element) -> bool:
    return element.tag in NO_PLACE_FOR_LINKS or (element.effects is not None and inside(0, element.effects) > 0)


def _top(places: list[int]) -> int:
    return places[-1] if places else -1
