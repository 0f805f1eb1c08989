"""Screenshots matches.png and map.png of a running `style_match.app` in Chromium.

Usage: python -m experiments.app.screenshots --chromium /usr/bin/chromium [--address http://127.0.0.1:7860]
"""

import argparse
import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
SIZE = {"width": 1280, "height": 860}
LOADED = "[...document.images].filter((each) => each.offsetParent).every((each) => each.complete && each.naturalWidth)"


def matches(page: Page) -> None:
    page.locator("#trained .card").first.wait_for()


def on_map(page: Page) -> None:
    """Colour the map by an attribute and move the pointer over a profile."""
    page.get_by_role("tab", name="Map").click()
    page.get_by_label("Colour by").select_option("appearance_type")
    page.locator("#map-trained .legendtext", has_text="dandy").wait_for(timeout=300_000)
    page.locator("#map-trained .points path").nth(250).hover(force=True)
    page.locator("#hover").wait_for()


def save(page: Page, name: str) -> None:
    """Save the page once its photos are loaded; 256 colours keep the file small."""
    while not page.evaluate(LOADED):
        page.wait_for_timeout(100)
    page.wait_for_timeout(500)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(256, kmeans=2).save(HERE / name, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="http://127.0.0.1:7860")
    parser.add_argument("--chromium", help="default: that of Playwright")
    args = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.goto(args.address)
        for name, show in (("matches.png", matches), ("map.png", on_map)):
            show(page)
            save(page, name)
        browser.close()


if __name__ == "__main__":
    main()
