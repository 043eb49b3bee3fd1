"""What a page costs: to write, beside reading its data, and to lay out, whole and by chunks of a hundred rows.

python -m tests.benchmarks.page
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from reportgen.document.codec import decode, encode
from reportgen.document.facts import Report
from reportgen.page.build import build
from reportgen.render.html import to_html

from .. import builders
from ..test_browser import CHROMIUM, FLAGS
from .pairs import ratio, show

REPORTS = {"161 rows, 91 charts": builders.classifier(3), "1,000 tensors, 250 charts": builders.huge()}
# the time that the style and the layout of the whole page take when all of it is thrown away
LAYOUT = """visibility => {
  document.querySelectorAll('.chunk').forEach(c => { c.style.contentVisibility = visibility; });
  document.body.offsetHeight;
  const times = [];
  for (let i = 0; i < 7; i++) {
    document.body.style.display = 'none'; document.body.offsetHeight;
    const start = performance.now();
    document.body.style.display = ''; document.body.offsetHeight;
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[3];
}"""


def written(report: Report) -> bytes:
    return to_html(build(report))


def writing() -> None:
    print("writing, against reading the same report from JSON")
    for name, report in REPORTS.items():
        data = encode(report)
        show(name, ratio(lambda report=report: written(report), lambda data=data: decode(data, "it")))  # type: ignore[misc]
        started = time.thread_time()
        n = len(written(report))
        print(f"{'':44} {time.thread_time() - started:.2f} s of the processor, {n:,} bytes")


def layout(folder: Path) -> None:
    from playwright.sync_api import sync_playwright

    print("layout in Chromium: by chunks, and as one")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        for name, report in REPORTS.items():
            path = folder / "page.html"
            path.write_bytes(written(report))
            page: Any = browser.new_context(bypass_csp=True).new_page()
            page.goto(path.as_uri())
            page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
            chunks, whole = page.evaluate(LAYOUT, "auto"), page.evaluate(LAYOUT, "visible")
            print(f"{name:44} {chunks / whole:5.2f}x  ({chunks:.0f} ms, {whole:.0f} ms)")
            page.context.close()
        browser.close()


if __name__ == "__main__":
    writing()
    with tempfile.TemporaryDirectory() as place:
        layout(Path(place))
