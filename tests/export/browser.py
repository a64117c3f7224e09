"""A real browser: Debian's Chromium without a window, spoken to through two pipes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe", "--hide-scrollbars"),
)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: no page can be laid out")


class Browser:
    """One page of a browser. Commands are those of the Chrome DevTools Protocol; scripts run in spite of the page."""

    def __init__(self, to, back):
        self._to, self._back, self._number, self._session = to, back, 0, None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")

    def call(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while (answer := self._read()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def wait_for(self, event):
        while self._read().get("method") != event:
            pass

    def _read(self):
        data = bytearray()
        while (byte := self._back.read(1)) != b"\0":
            assert byte, "the browser has ended"
            data += byte
        return json.loads(data)

    def show(self, path, width, height=844):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 500)  # fmt: skip
        self.call("Page.navigate", url=path.as_uri())
        self.wait_for("Page.loadEventFired")

    def ask(self, script):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"]["value"]

    def picture(self, path):
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def browser(folder):
    """Run a browser with a profile of its own in the folder."""
    to_read, to_write = os.pipe()
    back_read, back_write = os.pipe()

    # The browser reads commands at 3 and answers at 4.
    start = f'exec "$@" 3<&{to_read} 4>&{back_write}'
    process = subprocess.Popen(
        ["/bin/bash", "-c", start, "browser", CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=(to_read, back_write),
    )  # fmt: skip
    os.close(to_read)
    os.close(back_write)
    with os.fdopen(to_write, "wb") as to, os.fdopen(back_read, "rb", buffering=65536) as back:
        try:
            yield Browser(to, back)
        finally:
            process.kill()
            process.wait()
