"""A headless chromium, driven over its DevTools protocol, and what it says about its requests.

A Browser is one process with a profile of its own; a Page is a tab in a browser context of its own, so it begins with
an empty cache. An Exchange is one request of a page as the browser's network service saw it: what went over the wire,
if anything did.
"""
import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

SECONDS = 60  # for anything that is waited for

COMMAND = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
           "--disable-background-networking", "--disable-component-update", "--disable-sync",
           "--disable-dev-shm-usage", "--no-proxy-server", "--mute-audio", "--remote-debugging-pipe"]


class BrowserError(Exception):
    """The browser does not do what it is told."""


class Exchange:
    """One request, and its answer.

    Mostly that is one exchange over the wire, or none. Of a range that the cache has in parts the browser asks for the
    parts, one after the other: sent and answers have them all, and the other attributes are those of the last one.
    """

    def __init__(self, url):
        self.url = url
        self.sent = []          # fields of each request that went over the wire, names in lower case
        self.answers = []       # (status, fields) of each answer that came over the wire
        self.shown = None       # the status that the page got
        self.cached = False     # the page got it from a cache
        self.wire_bytes = 0     # of head and body, as they came
        self.ended = False
        self.error = None
        self.extra_due = False  # the fields of the answer have been promised

    def __repr__(self):
        return (f"<{self.url} sent: {self.asked is not None}, wire: {self.status}, page: {self.shown}, "
                f"cached: {self.cached}, bytes: {self.wire_bytes}, error: {self.error}>")

    @property
    def asked(self):
        return self.sent[-1] if self.sent else None

    @property
    def status(self):
        return self.answers[-1][0] if self.answers else None

    @property
    def fields(self):
        return self.answers[-1][1] if self.answers else {}

    @property
    def settled(self):
        return self.ended and not (self.extra_due and self.status is None)


def lower(fields):
    return {name.lower(): value for name, value in fields.items()}


class Page:
    def __init__(self, browser):
        self.browser = browser
        self.context = browser.call("Target.createBrowserContext")["browserContextId"]
        target = browser.call("Target.createTarget", url="about:blank", browserContextId=self.context)["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.forget()
        browser.pages[self.session] = self
        for domain in ("Network", "Page", "Runtime"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def forget(self):
        """All that has been seen so far."""
        self.requests = {}
        self.loaded = False
        self.complaints = []

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def handle(self, method, params):
        """One event."""
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details.get("text"))
        if not method.startswith("Network.") or "requestId" not in params:
            return
        one = self.requests.setdefault(params["requestId"], Exchange(None))
        if method == "Network.requestWillBeSent":
            one.url = params["request"]["url"]
        elif method == "Network.requestWillBeSentExtraInfo":
            one.sent.append(lower(params["headers"]))
        elif method == "Network.requestServedFromCache":
            one.cached = True
        elif method == "Network.responseReceived":
            response = params["response"]
            one.shown = response["status"]
            one.cached = one.cached or response.get("fromDiskCache", False)
            one.extra_due = params.get("hasExtraInfo", False) and not one.cached
            if not one.extra_due and not one.cached:
                one.answers.append((response["status"], lower(response["headers"])))
        elif method == "Network.responseReceivedExtraInfo":
            one.answers.append((params["statusCode"], lower(params["headers"])))
        elif method == "Network.dataReceived":
            one.wire_bytes += params["encodedDataLength"]
        elif method == "Network.loadingFinished":
            one.ended = True
            one.wire_bytes = max(one.wire_bytes, params["encodedDataLength"])
        elif method == "Network.loadingFailed":
            one.ended = True
            one.error = params["errorText"]

    def exchanges(self):
        return [one for one in self.requests.values() if (one.url or "").startswith("http")]

    def go(self, method, **params):
        """Navigates, and waits until the page and all that it asked for have come; what it asked for."""
        self.forget()
        answer = self.call(method, **params)
        if answer.get("errorText"):
            raise BrowserError(f"{method} {params}: {answer['errorText']}")
        self.browser.pump_until(lambda: self.loaded and all(one.settled for one in self.exchanges()),
                                lambda: f"{method} {params} does not come to an end: {self.exchanges()}")
        return self.exchanges()

    def load(self, url):
        return self.go("Page.navigate", url=url)

    def reload(self, ignore_cache=False):
        return self.go("Page.reload", ignoreCache=ignore_cache)

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description") or str(details.get("text")))
        return answer["result"].get("value")

    def until(self, expression):
        """Waits until the expression is true, and gives what it gave."""
        end = time.monotonic() + SECONDS
        while True:
            value = self.evaluate(expression)
            if value:
                return value
            if time.monotonic() > end:
                raise BrowserError(f"never true: {expression}; {self.complaints}")
            time.sleep(0.02)

    def screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        """Its connections go with it."""
        self.browser.call("Target.disposeBrowserContext", browserContextId=self.context)
        del self.browser.pages[self.session]


class Browser:
    """Spoken to over a pipe: JSON messages, each ended by a NUL. Without the pipe it ends by itself."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="loom-e2e-chromium-")
        pipe_in, self.out = os.pipe()
        self.inp, pipe_out = os.pipe()
        # The browser wants them as descriptors 3 and 4, which may be taken here: by way of higher ones.
        theirs_in, theirs_out = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (pipe_in, pipe_out))
        self.log = open(os.path.join(self.directory, "log"), "w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", *COMMAND,
             f"--user-data-dir={os.path.join(self.directory, 'profile')}", "about:blank"],
            pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        for end in (pipe_in, pipe_out, theirs_in, theirs_out):
            os.close(end)
        self.buffer = bytearray()
        self.answers = {}
        self.number = 0
        self.pages = {}
        try:
            self.version = self.call("Browser.getVersion")["product"]
        except BrowserError:
            self.close()
            raise

    def page(self):
        return Page(self)

    def pump(self, end, why):
        """Takes in one message: an answer, or an event of a page."""
        while (at := self.buffer.find(b"\0")) < 0:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.inp], [], [], left)[0]:
                raise BrowserError(why())
            data = os.read(self.inp, 1 << 20)
            if not data:
                self.log.seek(0)
                raise BrowserError(f"the browser has ended: {self.log.read()[-500:].strip()}")
            self.buffer += data
        message = json.loads(self.buffer[:at])
        del self.buffer[:at + 1]
        if "id" in message:
            self.answers[message["id"]] = message
        elif message.get("sessionId") in self.pages:
            self.pages[message["sessionId"]].handle(message["method"], message["params"])

    def pump_until(self, condition, why):
        end = time.monotonic() + SECONDS
        while not condition():
            self.pump(end, why)

    def call(self, method, session=None, **params):
        self.number += 1
        number = self.number
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        try:
            while data:
                data = data[os.write(self.out, data):]
        except BrokenPipeError:
            pass  # it has ended, and reading tells more
        self.pump_until(lambda: number in self.answers, lambda: f"no answer to {method}")
        answer = self.answers.pop(number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def close(self):
        try:
            self.call("Browser.close")
        except (BrowserError, OSError):
            self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        os.close(self.inp)
        os.close(self.out)
        shutil.rmtree(self.directory, ignore_errors=True)
