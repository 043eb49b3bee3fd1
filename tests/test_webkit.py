"""The page in WebKit, which Safari is made of, where it is installed: ``webkit2gtk-driver`` and ``xvfb`` of Debian."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from . import showcase

pytestmark = pytest.mark.slow

WEBKIT, SCREEN = (shutil.which(name) for name in ("WebKitWebDriver", "xvfb-run"))
BROWSERS = sorted(Path("/usr").glob("lib*/**/webkit2gtk-4.*/MiniBrowser")) if WEBKIT else []


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pages") / "classifier.html"
    file.write_bytes(showcase.html("classifier"))
    return file


@contextmanager
def webkit(folder: Path) -> Iterator[Any]:
    """Open a window of WebKit; yields a function that sends a command, as WebDriver has them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    plain = {"HOME": str(folder), "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1"}  # no sandbox within a container
    command = [str(SCREEN), "-a", "-s", "-screen 0 1400x1100x24", str(WEBKIT), f"--port={port}"]
    driver = subprocess.Popen(
        command, env={**os.environ, **plain}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def say(method: str, where: str, **body: Any) -> Any:
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(f"http://127.0.0.1:{port}{where}", data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())["value"]

    try:
        for _ in range(100):
            try:
                say("GET", "/status")
                break
            except OSError:
                time.sleep(0.2)
        options = {"binary": str(BROWSERS[-1]), "args": ["--automation"]}
        opened = say("POST", "/session", capabilities={"alwaysMatch": {"webkitgtk:browserOptions": options}})
        session = f"/session/{opened['sessionId']}"
        yield lambda method, where, **body: say(method, session + where, **body)
        say("DELETE", session)
    finally:
        driver.terminate()
        driver.wait(timeout=30)


@pytest.mark.skipif(not BROWSERS or SCREEN is None, reason="webkit2gtk-driver or xvfb is not installed")
def test_rules_beneath_rows_are_straight_in_webkit(path: Path, tmp_path: Path) -> None:
    """A cell with a chart that lay on the line of writing made its row taller than the cells beside it."""
    with webkit(tmp_path) as say:
        say("POST", "/window/rect", x=0, y=0, width=1280, height=1000)
        say("POST", "/url", url=path.as_uri())
        script = """for (const d of document.querySelectorAll('details')) d.open = true;
        for (const c of document.querySelectorAll('.chunk')) c.style.contentVisibility = 'visible';
        const ends = row => [...row.cells].map(c => c.getBoundingClientRect().bottom);
        const rows = [...document.querySelectorAll('tbody tr')].map(ends);
        return [rows.length, Math.max(...rows.map(r => Math.max(...r) - Math.min(...r))),
                document.documentElement.scrollWidth - innerWidth];"""
        rows, crooked, sideways = say("POST", "/execute/sync", script=script, args=[])
    assert rows > 100
    assert crooked < 0.5
    assert sideways <= 0
