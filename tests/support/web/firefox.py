"""Debian's Firefox, driven over WebDriver BiDi (https://w3c.github.io/webdriver-bidi/).

Playwright can only drive its own build of Firefox. Firefox itself speaks WebDriver BiDi on a WebSocket: each command is
a JSON object with an `id`, and the reply has the same `id`. Events arrive in between.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.support.web.person import PATIENCE, selector

CONTROL = "\ue009"  # the key, in WebDriver's code
POLL_SECONDS = 0.05  # between two looks at the page
PREFERENCES = {"browser.shell.checkDefaultBrowser": False, "datareporting.policy.dataSubmissionEnabled": False}
NOTE_VIOLATIONS = """
note => addEventListener("securitypolicyviolation", event => note(`${event.violatedDirective} ${event.blockedURI}`))
"""


class FirefoxError(Exception):
    """Firefox rejected a command."""


class Firefox:
    """A person with a mouse and a keyboard at one tab of Firefox.

    `requests` are the addresses that the pages have loaded, and `complaints` are violations of the content security
    policy and errors of scripts.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._socket = socket
        self._last_id = 0
        self.send("session.new", capabilities={})
        self._tab = self.send("browsingContext.getTree")["contexts"][0]["context"]
        self.send("session.subscribe", events=["network.beforeRequestSent", "log.entryAdded", "script.message"])
        channel = {"type": "channel", "value": {"channel": "violations"}}
        self.send("script.addPreloadScript", functionDeclaration=NOTE_VIOLATIONS, arguments=[channel])
        self.send("browsingContext.setViewport", context=self._tab, viewport={"width": 1280, "height": 800})

    def send(self, method: str, **parameters: object) -> Any:
        """Send a command, and return its result. Record the events until then."""
        self._last_id += 1
        self._socket.send(json.dumps({"id": self._last_id, "method": method, "params": parameters}))
        while (message := json.loads(self._socket.recv(PATIENCE))).get("id") != self._last_id:
            self._note(message)
        if message["type"] == "error":
            raise FirefoxError(f"{method}: {message['error']}: {message['message']}")
        return message["result"]

    def _note(self, message: dict[str, Any]) -> None:
        event, parameters = message.get("method"), message.get("params", {})
        if event == "network.beforeRequestSent":
            self.requests.append(parameters["request"]["url"])
        elif event == "script.message":
            self.complaints.append(parameters["data"]["value"])
        elif event == "log.entryAdded" and parameters["level"] in ("error", "warn"):
            self.complaints.append(parameters["text"])

    def open(self, address: str) -> None:
        self.send("browsingContext.navigate", context=self._tab, url=address, wait="complete")

    def press(self, role: str, *names: str) -> None:
        self._click(self._find(*(_accessible(role, name) for name in names)))

    def write(self, field: str, text: str) -> None:
        self._click(self._field(field))
        keys = [("keyDown", CONTROL), ("keyDown", "a"), ("keyUp", "a"), ("keyUp", CONTROL)]
        keys += [(kind, character) for character in text for kind in ("keyDown", "keyUp")]
        self._act({"type": "key", "id": "keyboard", "actions": [{"type": kind, "value": key} for kind, key in keys]})

    def choose(self, field: str, value: str) -> None:
        self._click(self._field(field, value))

    def choose_file(self, field: str, file: Path) -> None:
        self.send("input.setFiles", context=self._tab, element=self._field(field), files=[str(file)])

    def read(self, text: str) -> None:
        self._wait_for("document.querySelector('main')?.innerText ?? ''", text)

    def read_title(self, text: str) -> None:
        self._wait_for("document.title", text)

    def _wait_for(self, expression: str, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text.lower() not in (found := str(self._evaluate(expression))).lower():
            assert time.monotonic() < deadline, f"{text!r} is not in {found!r}"
            time.sleep(POLL_SECONDS)

    def _evaluate(self, expression: str) -> object:
        target = {"context": self._tab}
        answer = self.send("script.evaluate", expression=expression, target=target, awaitPromise=False)
        return answer.get("result", {}).get("value", "")

    def _field(self, field: str, value: str | None = None) -> dict[str, str]:
        return self._find({"type": "css", "value": selector(field, value)})

    def _find(self, *locators: dict[str, object]) -> dict[str, str]:
        """Wait for the element that the first matching locator finds, and return a reference to it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for locator in locators:
                found = self.send("browsingContext.locateNodes", context=self._tab, locator=locator)["nodes"]
                if found:
                    return {"sharedId": found[0]["sharedId"]}
            assert time.monotonic() < deadline, f"not found: {locators}"
            time.sleep(POLL_SECONDS)

    def _click(self, element: dict[str, str]) -> None:
        self.send(
            "script.callFunction",
            functionDeclaration="element => element.scrollIntoView({block: 'center', behavior: 'instant'})",
            arguments=[element],
            target={"context": self._tab},
            awaitPromise=False,
        )
        origin = {"type": "element", "element": element}
        actions = [
            {"type": "pointerMove", "x": 0, "y": 0, "origin": origin},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        self._act({"type": "pointer", "id": "mouse", "actions": actions})

    def _act(self, source: dict[str, object]) -> None:
        self.send("input.performActions", context=self._tab, actions=[source])


def _accessible(role: str, name: str) -> dict[str, object]:
    """Return a locator of the elements with this role and accessible name."""
    return {"type": "accessibility", "value": {"role": role, "name": name}}


@contextmanager
def started_firefox(program: str) -> Iterator[Firefox]:
    """Start Firefox without a window, in a new profile."""
    with tempfile.TemporaryDirectory() as profile:
        lines = (f'user_pref("{name}", {json.dumps(value)});\n' for name, value in PREFERENCES.items())
        (Path(profile) / "user.js").write_text("".join(lines))
        log = Path(profile) / "firefox.log"
        command = [program, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            with connect(_address_in(log, process) + "/session", max_size=None) as socket:
                yield Firefox(socket)
        finally:
            process.terminate()
            process.wait(30)


def _address_in(log: Path, process: subprocess.Popen[bytes]) -> str:
    """Wait until Firefox listens, and return the WebSocket's address."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            if "WebDriver BiDi listening on " in line:
                return line.split()[-1]
        time.sleep(POLL_SECONDS)
    raise AssertionError(log.read_text())
