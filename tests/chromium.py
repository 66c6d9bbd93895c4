"""A Chromium without a window, asked over the pipe of its DevTools protocol."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--hide-scrollbars", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
         "--remote-debugging-pipe")  # fmt: skip
# The browser reads commands from file 3 and writes to file 4.
LAUNCH = """
import fcntl, os, sys
for number, file in ((3, int(sys.argv[1])), (4, int(sys.argv[2]))):
    os.dup2(fcntl.fcntl(file, fcntl.F_DUPFD, 10), number)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find() -> str | None:
    """Returns the program: of the environment variable CHROMIUM, or on the path; None if there is none."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """A page in the browser."""

    def __init__(self, out: IO[bytes], answers: IO[bytes]):
        self._out, self._in = out, answers
        self._count, self._session = 0, {}
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Inspector", "Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Returns the result of a command; RuntimeError if the browser refuses it."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params} | self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._count:
            if answer.get("method") == "Inspector.targetCrashed":
                raise RuntimeError("the page has crashed")
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        data = bytearray()
        while (byte := self._in.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("the browser is gone")
            data += byte
        return json.loads(data)

    def open(self, path: Path) -> None:
        """Opens a file as a double click does."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.readyState === 'complete'")

    def ask(self, expression: str) -> Any:
        """Returns what JavaScript gives, waiting for promises; RuntimeError if it throws."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"].get("description", "thrown"))
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = 120) -> Any:
        """Returns the first true value of JavaScript."""
        end = time.monotonic() + seconds
        while not (value := self.ask(expression)):
            assert time.monotonic() < end, (
                f"{expression} isn't true; the page says: {self.ask('document.body.innerText')}"
            )
            time.sleep(0.1)
        return value

    def choose(self, selector: str, files: list[Path]) -> None:
        """Chooses files for an <input>."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file.resolve()) for file in files])

    def screenshot(self, path: Path) -> None:
        """Writes the whole page as PNG."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def complaints(self) -> list[str]:
        """Returns what the browser has written to the console."""
        self.ask("0")
        logged = [e["params"]["entry"]["text"] for e in self.events if e.get("method") == "Log.entryAdded"]
        thrown = [str(e["params"]) for e in self.events if e.get("method") == "Runtime.exceptionThrown"]
        called = [str(e["params"]["args"]) for e in self.events if e.get("method") == "Runtime.consoleAPICalled"]
        return logged + thrown + called


@contextlib.contextmanager
def tab(program: str, folder: Path) -> Iterator[Tab]:
    """Starts a browser, whose profile is `folder`, with a page."""
    (to_read, command), (answer, to_write) = os.pipe(), os.pipe()
    arguments = [shutil.which(program) or program, *FLAGS, f"--user-data-dir={folder}"]
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(to_read), str(to_write), *arguments],
        pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(to_read)
    os.close(to_write)
    with os.fdopen(command, "wb", buffering=0) as out, os.fdopen(answer, "rb") as answers:
        try:
            yield Tab(out, answers)
        finally:
            process.kill()
            process.wait()
