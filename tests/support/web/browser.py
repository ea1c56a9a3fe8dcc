"""A real browser: Debian's Chromium, driven by Playwright, and checks that every page must pass."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, sync_playwright

# A container has no sandbox and no GPU. Nothing may contact Chromium's servers.
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-features=AutofillServerCommunication",
)
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice")
COLOR_RULES = ("color-contrast", "link-in-text-block")  # the slowest rules; the others ignore colors
# axe cannot check frames: the only frame holds an email, in which no script runs.
OPTIONS = {"resultTypes": ["violations"], "iframes": False}
ONLY_COLORS = {**OPTIONS, "runOnly": {"type": "rule", "values": COLOR_RULES}}
WITHOUT_COLORS = {**OPTIONS, "runOnly": RULES, "rules": {rule: {"enabled": False} for rule in COLOR_RULES}}
# Checks the colors of three elements of each look, so that long tables take no longer than short ones. A look is what
# the color rules depend on, in an element and its ancestors. Looks in `seen` were checked before.
CHECK_COLORS = r"""
async ([options, seen]) => {
  const chains = new Map(), looks = new Map(), old = new Set(seen);
  const chain = element => {
    if (!element) return "";
    if (!chains.has(element)) {
      const style = getComputedStyle(element);
      chains.set(element, chain(element.parentElement) + "|" + [
        style.color, style.backgroundColor, style.backgroundImage, style.opacity, style.filter, style.mixBlendMode,
        style.colorScheme, style.position, style.fontSize, style.fontWeight, style.textShadow,
        style.textDecorationLine, style.borderBottom,
      ]);
    }
    return chains.get(element);
  };
  for (const element of document.querySelectorAll("body, body *")) {
    const texts = [...element.childNodes].filter(node => node.nodeType === Node.TEXT_NODE);
    const text = texts.map(node => node.data).join("").trim();
    const isField = element.matches("input, select, textarea, button");
    if (!(text || isField) || !element.checkVisibility({visibilityProperty: true})) continue;
    const look = [
      chain(element), element.localName, isField && element.type, (text.match(/[\p{L}\p{N}]/gu) ?? []).length > 1,
      element.matches(":disabled, :disabled *, [aria-disabled=true], [aria-disabled=true] *"),
      !!element.closest("label")?.control?.disabled,
    ].join();
    looks.set(look, [...looks.get(look) ?? [], element]);
  }
  const fresh = [...looks].filter(([look]) => !old.has(look)).map(([, elements]) => elements);
  const some = fresh.flatMap(elements => [elements[0], elements[elements.length >> 1], elements.at(-1)]);
  const include = [...new Set(some)];
  const violations = include.length ? (await axe.run({include}, options)).violations : [];
  return {violations, looks: [...looks.keys()]};
}
"""
DESK: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 320, "height": 640}
PATIENCE = 20_000  # milliseconds
TOO_WIDE = "document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"
# (width, size of the text in percent), besides DESK and PHONE. Text at 200 % is WCAG 2.2, 1.4.4.
WIDTHS = ((1280, 200), (768, 200), (1024, 100), (768, 100), (390, 100))
# Only code, fields and what is marked data-scroll may scroll sideways, and no text may be cut off. An element is
# reported if it hides a part of its content, or if its own text is outside the window.
CUT_OFF = """
() => {
  const mayScroll = "[data-scroll], [data-scroll] *, pre, pre *, textarea, input, select, option, svg, svg *, iframe";
  const exempt = `${mayScroll}, .skip, .visually-hidden, .visually-hidden *, :popover-open *`;
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    if (element.matches(exempt) || !element.checkVisibility({visibilityProperty: true})) continue;
    const style = getComputedStyle(element), box = element.getBoundingClientRect();
    if (style.display === "inline" || box.width <= 1) continue;
    const hides = style.overflowX !== "visible" && element.scrollWidth > element.clientWidth + 1
      || /hidden|clip/.test(style.overflowY) && element.scrollHeight > element.clientHeight + 1;
    const hasText = [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (hides || hasText && (box.right > innerWidth + 1 || box.left < -1))
      found.push(element.cloneNode(false).outerHTML + element.innerText.trim().slice(0, 40));
  }
  return found;
}
"""


@contextmanager
def started_chromium(program: str) -> Iterator[Browser]:
    """Start a headless browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


class Elsewhere:
    """Every host except the service: a proxy that records the browser's requests and never responds."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with closing(connection):
                    connection.settimeout(5)
                    self.asked.append(connection.recv(65_536).partition(b"\r\n")[0].decode("latin-1"))

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Tab:
    """A tab in its own session at the service at `address`. `complaints` are the browser's errors and warnings."""

    def __init__(
        self, browser: Browser, address: str, elsewhere: Elsewhere, *, scripts: bool = True, **context: Any
    ) -> None:
        self.elsewhere = elsewhere
        self.complaints: list[str] = []
        proxy: Any = {"server": f"http://127.0.0.1:{elsewhere.port}", "bypass": urlsplit(address).netloc}
        self.context = browser.new_context(
            base_url=address, proxy=proxy, viewport=DESK, reduced_motion="reduce", **context
        )
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self._tools = self.context.new_cdp_session(self.page)
        self._scripts = True
        self._looks: set[str] = set()  # whose colors were checked
        self.allow_scripts(scripts)

    def _note(self, message: ConsoleMessage) -> None:
        """Record an error or warning, except that the page itself has status 400 or 404, which tests ask for."""
        of_page = message.text.startswith("Failed to load resource") and message.location["url"] == self.page.url
        if message.type in ("error", "warning") and not of_page:
            self.complaints.append(f"{message.type}: {message.text}")

    def allow_scripts(self, allowed: bool) -> None:
        """Allow or forbid scripts from now on. Playwright's own option would also stop axe."""
        self._scripts = allowed
        self._tools.send("Emulation.setScriptExecutionDisabled", {"value": not allowed})

    def faults(self, *, colors: bool = True, others: bool = True) -> list[str]:
        """Return every fault of the current page, and complaints about the pages since the last call.

        `colors` and `others` select the rules of axe. Colors that were checked since `forget_colors` are not checked
        again.
        """
        self.page.wait_for_load_state()  # a click waits for the response, not for its style sheet
        found = self.cut_off()
        scripts = self._scripts
        self.allow_scripts(True)
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE_SCRIPT)
        if others:
            found += lines(self.page.evaluate("options => axe.run(options)", WITHOUT_COLORS)["violations"])
        if colors:
            checked = self.page.evaluate(CHECK_COLORS, [ONLY_COLORS, sorted(self._looks)])
            self._looks.update(checked["looks"])
            found += lines(checked["violations"])
        self.allow_scripts(scripts)
        found += self.complaints + [f"asked elsewhere: {line}" for line in self.elsewhere.asked]
        self.complaints.clear()
        self.elsewhere.asked.clear()
        return found

    def forget_colors(self) -> None:
        """Let `faults` check all colors again."""
        self._looks.clear()

    def cut_off(self) -> list[str]:
        """Return what makes the page scroll sideways, and what is cut off."""
        too_wide = self.page.evaluate(TOO_WIDE)
        found = [f"{too_wide} px too wide"] if too_wide > 0 else []
        return found + [f"cut off: {element}" for element in self.page.evaluate(CUT_OFF)]

    def cut_off_at_each_width(self) -> list[str]:
        """Return what is cut off at WIDTHS."""
        found = []
        for width, percent in WIDTHS:
            self.page.set_viewport_size({"width": width, "height": DESK["height"]})
            self._set_text_size(percent)
            found += [f"{width} px wide, text at {percent} %: {fault}" for fault in self.cut_off()]
        self._set_text_size(100)
        return found

    def _set_text_size(self, percent: int) -> None:
        """Set the size of text as in the settings of the browser. Media queries in rem follow it."""
        self._tools.send("Page.setFontSizes", {"fontSizes": {"standard": 16 * percent // 100}})

    def faults_in_every_view(self, show: Callable[[Page], object]) -> list[str]:
        """Return the faults of the page that `show` opens: in light and dark, at each width, and without scripts.

        Dark mode changes only colours, and a page without scripts has the same colours.
        """
        self.complaints.clear()
        self.forget_colors()
        self.allow_scripts(True)
        self.page.set_viewport_size(DESK)
        show(self.page)
        found = [f"in light: {fault}" for fault in self.faults()]
        self.page.emulate_media(color_scheme="dark")
        found += [f"in dark: {fault}" for fault in self.faults(others=False)]
        self.page.emulate_media(color_scheme="light")
        found += self.cut_off_at_each_width()
        self.page.set_viewport_size(PHONE)
        found += [f"on a phone: {fault}" for fault in self.faults()]
        self.allow_scripts(False)
        show(self.page)
        return found + [f"without scripts: {fault}" for fault in self.faults(colors=False)]

    def close(self) -> None:
        """End the session."""
        self.context.close()


def lines(violations: Iterable[Any]) -> list[str]:
    """Return what axe found, one line per element."""
    return [f"axe: {rule['id']}: {rule['help']}: {node['html']}" for rule in violations for node in rule["nodes"]]
