"""The page of a run in a browser: nothing is fetched, no script fails, tables sort, light and dark, on a phone.

Skipped where no Chromium is installed.
usage: browser.py PATH/gmvae_dist
"""
import html
import json
import os
import re
import shutil
import subprocess
import sys

from support import PATIENCE, RunTest, main

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = (390, 1200)

# Stands before everything of the page: what fails or is fetched from anywhere is noted.
WATCH = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<script>
const failed = [];
addEventListener('error', event => failed.push('error: ' + event.message));
addEventListener('securitypolicyviolation', event => failed.push('fetched: ' + event.blockedURI));
</script>"""

# Stands behind it: clicks and looks as a reader would, and tells the page around it.
LOOK = """<script>
addEventListener('load', () => {
  const tables = [...document.querySelectorAll('table')].map(table => [...table.tHead.rows[0].cells].map((head, column) => {
    const texts = () => [...table.tBodies[0].rows].map(row => row.cells[column].textContent);
    head.click();
    const once = texts();
    head.click();
    return {head: head.textContent, once, twice: texts()};
  }));
  const spot = document.querySelector('[data-tip]');
  spot.dispatchEvent(new PointerEvent('pointerover', {bubbles: true}));
  const style = getComputedStyle(document.body), tip = document.getElementById('tip');
  parent.postMessage({failed, tables, width: innerWidth, wide: document.documentElement.scrollWidth, ink: style.color, paper: style.backgroundColor,
                      tip: [spot.dataset.tip, tip.textContent, getComputedStyle(tip).display],
                      resources: performance.getEntriesByType('resource').map(entry => entry.name)}, '*');
});
</script>"""

AROUND = """<!doctype html><body>%s<pre id="found"></pre><script>
addEventListener('message', event => { document.getElementById('found').textContent += JSON.stringify(event.data) + '\\n'; });
</script>"""


def contrast(one, other):
    """Of two colours as rgb(r, g, b): from 1 to 21 (WCAG 2)."""
    def light(text):
        parts = [int(part) / 255 for part in re.findall(r"\d+", text)[:3]]
        parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def is_sorted(texts):
    """Downwards, as the numbers that stand there or as texts."""
    numbers = [re.match(r"\s*(-?[\d.]+(e[+-]?\d+)?)", text) for text in texts]
    if not all(numbers):
        return True  # some of each: nothing is promised
    values = [float(number[1]) for number in numbers]
    return values == sorted(values, reverse=True)


class Browser(RunTest):
    def open(self, page, dark):
        """What each width of the page told."""
        framed = page.replace("<head>", "<head>" + WATCH, 1).replace("</body>", LOOK + "</body>", 1)
        frames = "".join(f'<iframe width="{width}" height="844" style="border: 0" srcdoc="{html.escape(framed)}"></iframe>' for width in WIDTHS)
        path = os.path.join(self.folder, "around.html")
        with open(path, "w", encoding="utf-8") as out:
            out.write(AROUND % frames)
        done = subprocess.run([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1700,1000", f"--user-data-dir={self.folder}/profile",
                               f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--virtual-time-budget=20000", "--dump-dom", f"file://{path}"],
                              capture_output=True, text=True, timeout=PATIENCE)
        found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)
        self.assertTrue(found, done.stderr[-1000:])
        return [json.loads(line) for line in html.unescape(found[1]).splitlines()]

    def test_page(self):
        run = self.train("run", {"output.embedding": True, "output.report": True, "output.umap": True, "data.label_key": "cell_type"})
        with open(run.path("report.html"), encoding="utf-8") as file:
            page = file.read()
        papers = []
        for dark in (False, True):
            looks = self.open(page, dark)
            self.assertEqual(sorted(look["width"] for look in looks), list(WIDTHS))
            for look in looks:
                self.assertEqual((look["failed"], look["resources"]), ([], []))
                self.assertLessEqual(look["wide"], look["width"])
                self.assertGreater(contrast(look["ink"], look["paper"]), 7)
                self.assertEqual(look["tip"], [look["tip"][0], look["tip"][0], "block"])
                self.check_tables(look["tables"])
            papers.append({look["paper"] for look in looks})
        self.assertEqual([contrast(*papers[0], "rgb(255,255,255)") < 1.1, contrast(*papers[1], "rgb(0,0,0)") < 2], [True, True])

    def check_tables(self, tables):
        heads = [[column["head"] for column in table] for table in tables]
        for wanted in (["figure", "value", "standard error"], ["stage", "seconds", "percent"], ["library", "version"]):
            self.assertIn(wanted, heads)
        for table in tables:
            for column in table:
                self.assertTrue(is_sorted(column["once"]) and is_sorted(column["twice"][::-1]), column)
        seconds = next(table for table in tables if table[0]["head"] == "stage")[1]
        self.assertNotEqual(seconds["once"], seconds["twice"])
        stages = next(table for table in tables if table[0]["head"] == "stage")[0]
        self.assertEqual(stages["once"], sorted(stages["once"], reverse=True))
        self.assertEqual(stages["twice"], sorted(stages["once"]))


if __name__ == "__main__":
    if CHROMIUM is None:
        print("skipped: no Chromium; install the package chromium")
        sys.exit(77)
    main()
