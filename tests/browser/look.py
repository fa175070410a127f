#!/usr/bin/env python3
"""Opens an HTML file in a headless Chromium and says what it asks for and complains about.

It speaks the DevTools protocol over two pipes: no other program and no port is needed.
usage: look.py FILE [--pictures FOLDER] [--picture PNG] [--chromium PATH]
prints one line of JSON: requests beside the file itself, errors of the console, scripts, images and
the texts of cells.
"""

import argparse
import base64
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

SECONDS = 60
# Name, width, further features of the medium.
LOOKS = [
    ("light", 1100, "screen", "light"),
    ("dark", 1100, "screen", "dark"),
    ("narrow", 390, "screen", "light"),
    ("print", 800, "print", "light"),
]
# No picture is higher than this: a long table goes on as it begins.
HEIGHT_MAX = 900
READ = """JSON.stringify({
    scripts: document.scripts.length,
    images: document.images.length + document.querySelectorAll('iframe,object,embed,link').length,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    height: document.documentElement.scrollHeight,
    background: getComputedStyle(document.body).backgroundColor,
    text: document.body.innerText,
})"""


class Browser:
    """A Chromium with one page."""

    def __init__(self, path, folder):
        to_browser, own_write = os.pipe()
        own_read, from_browser = os.pipe()
        arguments = [
            path, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={folder}", "about:blank",
        ]

        def pipes():
            # Chromium reads from 3 and writes to 4.
            first, second = os.dup(to_browser), os.dup(from_browser)
            os.dup2(first, 3)
            os.dup2(second, 4)

        self.process = subprocess.Popen(
            arguments, preexec_fn=pipes, close_fds=False, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.write, self.read = own_write, own_read
        self.rest, self.number, self.events, self.session = b"", 0, [], None

    def receive(self):
        while b"\0" not in self.rest:
            more = os.read(self.read, 1 << 20)
            if not more:
                raise SystemExit("the browser has gone")
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def ask(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.write, data):]
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise SystemExit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def wait(self, method):
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.receive())

    def open(self, address):
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        self.events.clear()
        self.ask("Page.navigate", url=address)
        self.wait("Page.loadEventFired")
        # What a script or a broken image asks for comes after the page is there.
        self.ask("Runtime.evaluate", expression="new Promise(r => setTimeout(r, 500))", awaitPromise=True)

    def facts(self):
        return json.loads(self.ask("Runtime.evaluate", expression=READ)["result"]["value"])

    def look(self, width, medium, scheme, height=900):
        self.ask("Emulation.setEmulatedMedia", media=medium,
                 features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        return self.facts()

    def end(self):
        """Ends the browser with the processes it has started: these outlive it for a moment."""
        self.process.terminate()
        try:
            self.process.wait(SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def picture(self, width, height):
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, HEIGHT_MAX), "scale": 1}
        shot = self.ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(shot["data"])


def requests(events, own):
    asked = [e["params"]["request"]["url"] for e in events if e.get("method") == "Network.requestWillBeSent"]
    return [url for url in asked if url != own]


def errors(events):
    out = []
    for event in events:
        method, said = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            out.append(said["exceptionDetails"]["text"])
        if method == "Runtime.consoleAPICalled" and said["type"] in ("error", "assert", "warning"):
            out.append(str(said["args"]))
        if method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            out.append(said["entry"]["text"])
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--pictures", type=pathlib.Path)
    parser.add_argument("--picture", type=pathlib.Path, help="one picture of the whole page")
    parser.add_argument("--chromium", default="chromium")
    options = parser.parse_args()
    own = options.file.resolve().as_uri()
    # A process of the browser may still write its last file while the folder goes.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(options.chromium, folder)
        try:
            browser.open(own)
            said = {"requests": requests(browser.events, own), "errors": errors(browser.events), "looks": {}}
            if options.picture:
                height = browser.look(920, "screen", "light", 100)["height"]
                options.picture.write_bytes(browser.picture(920, height))
            for name, width, medium, scheme in LOOKS:
                facts = browser.look(width, medium, scheme)
                said["looks"][name] = {key: facts[key] for key in ("overflow", "background", "height")}
                said.update({key: facts[key] for key in ("scripts", "images", "text")})
                if options.pictures:
                    path = options.pictures / f"report-{name}.png"
                    path.write_bytes(browser.picture(width, facts["height"]))
        finally:
            browser.end()
    print(json.dumps(said))


if __name__ == "__main__":
    sys.exit(main())
