"""Pages in a real browser: Debian's Chromium, without a screen and without a network."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: install Debian's chromium")

# Errors are heard from the beginning of the page on. Frames are timed by a clock: this browser paints none by itself.
EARS = """<script>
window.errors = [];
addEventListener("error", (event) => errors.push(String(event.message || event.target.outerHTML)), true);
addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
for (const kind of ["error", "warn"]) console[kind] = (...words) => errors.push(words.join(" "));
window.requestAnimationFrame = (call) => setTimeout(() => call(performance.now()), 16);
</script>"""
ANSWER = """<script>
addEventListener("load", async () => {
  const answer = await (async () => { %s })().catch((error) => ({ failed: String(error) }));
  const needed = document.documentElement.scrollWidth;
  parent.postMessage(JSON.stringify({ answer, errors, width: innerWidth, needed }), "*");
});
</script>"""
OUTER = """<!DOCTYPE html>
<body><iframe style="border:0;width:%dpx;height:2000px" src="%s"></iframe>
<script>addEventListener("message", (event) => { document.body.textContent = "answered:" + event.data + ":end"; })
</script>"""


def ask(folder, page, question, fragment="", width=1280, dark=False):
    """Open a page from the disk, run `question`, the body of an async function in JavaScript, and return its answer.

    The page is in a frame of `width` pixels, because a window cannot be narrower than 500.

    Returns:
        `answer`; `errors`, of the page and on its console; `width`, of the window in CSS pixels; and `needed`, the
        width that the page takes.
    """
    head, foot = "<head>" + EARS, ANSWER % question + "</html>"
    assert page.count("<head>") >= 1
    before, _, after = page.rpartition("</html>")
    path, outer = folder / "page.html", folder / "outer.html"
    path.write_text(before.replace("<head>", head, 1) + foot + after, encoding="utf-8")
    outer.write_text(OUTER % (width, f"{path.as_uri()}#{fragment}"), encoding="utf-8")
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"--user-data-dir={folder / 'profile'}",
        "--window-size=1400,2200", "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}", outer.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r"answered:(\{.*\}):end<", done.stdout, re.S)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(unescape(found.group(1)))
