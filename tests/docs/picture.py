"""Make docs/img/report.png, the picture of the report in README and manual.

    python tests/docs/picture.py DIRECTORY        DIRECTORY of a run, with its index.html

The run that is shown is that of `make report`, or of the implementations that the picture is to show.
"""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).parents[2] / "docs" / "img" / "report.png"
SIZE = {"width": 1200, "height": 1180}
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main(directory: Path) -> None:
    """Look at the top of the page, in the light scheme."""
    browser_path = next(filter(None, map(shutil.which, NAMES)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto((directory.resolve() / "index.html").as_uri())
        PICTURE.parent.mkdir(exist_ok=True)
        page.screenshot(path=PICTURE)
        browser.close()
    logging.getLogger("picture").info("%s: %d bytes", PICTURE, PICTURE.stat().st_size)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(Path(sys.argv[1]))
