"""A file server that fails on purpose: per path, in the ways that archives do."""

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from xcloudfree.stac.local.serve import FileHandler, serve_files


@dataclass
class Fault:
    """What goes wrong with a file.

    ``status`` is answered instead of the content, ``times`` times (None: for ever) or ``until`` a
    time, with ``retry_after``, except to requests for its first ``spare`` bytes. The bytes
    ``broken`` (from, to) come as zeros; from ``cut_at`` on nothing comes, although it was
    announced; from ``stall_at`` on nothing comes for a while. Every answer takes ``delay`` seconds.
    """

    status: int | None = None
    times: int | None = None
    spare: int = 0
    delay: float = 0.0
    broken: tuple[int, int] | None = None
    cut_at: int | None = None
    stall_at: int | None = None
    until: float | None = None
    retry_after: str = ""


@dataclass
class Faults:
    """Faults by the end of the path, the tokens that are valid (None: none is needed), and load."""

    by_path: dict[str, Fault] = field(default_factory=dict)
    tokens: set[str] | None = None
    busy: int = 0
    busiest: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, path):
        return next((fault for end, fault in self.by_path.items() if path.endswith(end)), None)

    def clear(self):
        self.by_path.clear()
        self.tokens, self.busiest = None, 0


class FaultHandler(FileHandler):
    faults: Faults

    def answer(self, *, body):
        with self.faults.lock:
            self.faults.busy += 1
            self.faults.busiest = max(self.faults.busiest, self.faults.busy)
        try:
            self.answer_or_fail(body)
        finally:
            with self.faults.lock:
                self.faults.busy -= 1

    def answer_or_fail(self, body):
        token = parse_qs(urlsplit(self.path).query).get("sig", [""])[0]
        if self.faults.tokens is not None and token not in self.faults.tokens:
            self.reply(403)
            return
        fault = self.faults.of(self.asked) or Fault()
        time.sleep(fault.delay)
        start = int((self.headers.get("Range") or "bytes=0-").split("=")[1].split("-")[0] or 0)
        with self.faults.lock:
            fails = fault.status is not None and fault.times != 0 and start >= fault.spare
            if fails and fault.times is not None:
                fault.times -= 1
        if fault.until is not None and time.monotonic() > fault.until:
            fails = False
        if fails:
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            self.reply(fault.status, headers=headers)
        else:
            super().answer(body=body)

    def part(self, file, first, length):
        content = super().part(file, first, length)
        fault = self.faults.of(self.asked)
        if fault is not None and fault.broken is not None:
            low, high = (min(max(b - first, 0), length) for b in fault.broken)
            content = content[:low] + bytes(high - low) + content[high:]
        if fault is not None and fault.stall_at is not None and first + length > fault.stall_at:
            time.sleep(4)
            self.close_connection = True
        if fault is not None and fault.cut_at is not None and first + length > fault.cut_at:
            content = content[: max(fault.cut_at - first, 0)]
            self.close_connection = True
        return content


@contextmanager
def serve_faults(folder):
    """Serve a folder; yields its address, the requests so far, and the faults to be set."""
    faults = Faults()
    with serve_files(folder, FaultHandler, faults=faults) as (address, requests):
        yield address, requests, faults
