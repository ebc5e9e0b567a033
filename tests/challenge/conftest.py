"""A server on this machine that answers like Zenodo, and misbehaves on demand."""

import hashlib
import io
import json
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from asd.challenge.download.policy import RetryPolicy


class ZenodoServer(ThreadingHTTPServer):
    """Files and records by address; `faults[address]` is a list, one taken per request.

    A fault is an HTTP status, ("status", number, headers), ("drop", bytes sent before the
    connection closes), ("stall", bytes sent before silence), "no-range", ("content", bytes sent
    instead of the file's), ("length", text sent as Content-Length), ("chunked", bytes sent as one
    chunk before the connection closes without a last one), or "endless".
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.files, self.faults, self.requests = {}, {}, []

    def add_file(self, address, content, record_entry=True):
        """Serve `content` at "/record/<number>/files/<name>" and list it in the record's answer."""
        self.files[address] = content
        if record_entry:
            number, _, name = address.removeprefix("/").split("/", 1)[1].split("/")
            entry = {
                "key": name,
                "size": len(content),
                "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
                "links": {"self": self.url + address},
            }
            api = f"/api/records/{number}"
            record = json.loads(self.files.get(api, '{"files": []}'))
            record["files"].append(entry)
            self.files[api] = json.dumps(record).encode()

    def count(self, address):
        return sum(path == address for path, _ in self.requests)

    def ranges(self, address):
        """The Range header of every request for an address."""
        return [headers.get("Range") for path, headers in self.requests if path == address]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, dict(self.headers)))
        fault = (server.faults.get(self.path) or [None]).pop(0)
        if isinstance(fault, int):
            return self._status(fault, {})
        if fault and fault[0] == "status":
            return self._status(*fault[1:])
        if self.path not in server.files:
            return self._status(404, {})
        content = server.files[self.path]
        if fault and fault[0] == "content":
            content = fault[1]
        return self._send(content, fault)

    def _status(self, code, headers):
        self.send_response(code)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, content, fault):
        start, tag = 0, f'"{hashlib.md5(content).hexdigest()}"'
        asked = self.headers.get("Range")
        is_unchanged = self.headers.get("If-Range", tag) == tag
        if asked and is_unchanged and fault != "no-range":
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                return self._status(416, {"Content-Range": f"bytes */{len(content)}"})
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        kind, value = fault if isinstance(fault, tuple) else (fault, None)
        if kind in ("chunked", "endless"):
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header(
                "Content-Length", value if kind == "length" else str(len(content) - start)
            )
        self.send_header("ETag", tag)
        self.end_headers()
        self._body(content[start:], fault)

    def _body(self, content, fault):
        kind, count = fault if isinstance(fault, tuple) else ("", 0)
        if kind in ("drop", "stall"):
            self.wfile.write(content[:count])
            self.wfile.flush()
            if kind == "stall":
                time.sleep(1.0)
            self.close_connection = True
        elif kind == "chunked":
            self.wfile.write(b"%x\r\n%s\r\n" % (count, content[:count]))
            self.close_connection = True
        elif fault == "endless":
            while True:
                self.wfile.write(b"10000\r\n%s\r\n" % bytes(0x10000))
        else:
            self.wfile.write(content)
            self.close_connection = kind == "length"

    def handle(self):
        try:
            super().handle()
        except ConnectionError:  # the client has left
            self.close_connection = True


@pytest.fixture
def zenodo():
    server = ZenodoServer()
    # A short poll, or every test waits half a second for the server to end.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def patience():
    return RetryPolicy(timeout_s=0.2, retries=3, backoff_s=0.001, longest_wait_s=5.0)


@pytest.fixture
def pack():
    """Make a zip file's bytes from {path inside: content}."""

    def make(entries):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in entries.items():
                packed.writestr(name, content)
        return stream.getvalue()

    return make
