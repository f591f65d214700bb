"""A web server over a folder that knows ranges, and speaks as much of Google's storage interface as is needed."""

import base64
import hashlib
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import google_crc32c

BUCKET = "gqn-dataset"


class StoreServer(ThreadingHTTPServer):
    """Serves `root`; `requests` are the ranges that were asked of each file; `budget` bytes it sends before it breaks.

    `corrupt` names files of which one byte arrives changed, `stalls` those of which only the half arrives, and
    `endless` files and folders that never end; `lists` is whether it lists its folders.
    """

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.requests: list[tuple[str, int]] = []
        self.budget = 10**12
        self.corrupt: set[str] = set()
        self.stalls: set[str] = set()
        self.endless: set[str] = set()
        self.stalled = threading.Event()
        self.lists = True
        self.address = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is no news."""


class Handler(BaseHTTPRequestHandler):
    server: StoreServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(address.path)
        if path == f"/storage/v1/b/{BUCKET}/o":
            query = dict(urllib.parse.parse_qsl(address.query))
            self.send(200, json.dumps(self.listing(query.get("prefix", ""))).encode(), "application/json")
            return
        for prefix in (f"/download/storage/v1/b/{BUCKET}/o/", f"/storage/v1/b/{BUCKET}/o/", "/"):
            if path.startswith(prefix):
                self.send_file(self.server.root / path.removeprefix(prefix))
                return

    def listing(self, prefix: str) -> dict[str, object]:
        files = [file for file in sorted(self.server.root.rglob("*")) if file.is_file()]
        names = [(str(file.relative_to(self.server.root)), file.read_bytes()) for file in files]
        items = [
            {
                "kind": "storage#object",
                "bucket": BUCKET,
                "name": name,
                "size": str(len(data)),
                "crc32c": base64.b64encode(google_crc32c.Checksum(data).digest()).decode(),
                "md5Hash": base64.b64encode(hashlib.md5(data).digest()).decode(),
            }
            for name, data in names
            if name.startswith(prefix)
        ]
        return {"kind": "storage#objects", "items": items}

    def send_file(self, path: Path) -> None:
        if path.name in self.server.endless:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.close_connection = True
            while self.command == "GET":
                self.wfile.write(2**20 * b" ")
        if path.is_dir() and self.server.lists:
            links = "".join(f'<a href="{file.name}">{file.name}</a>' for file in path.iterdir())
            self.send(200, links.encode(), "text/html")
            return
        if not path.is_file():
            self.send(404, b"", "text/plain")
            return
        data = bytearray(path.read_bytes())
        if path.name in self.server.corrupt:
            data[len(data) // 2] ^= 1
        md5 = base64.b64encode(hashlib.md5(path.read_bytes()).digest()).decode()
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            self.server.requests.append((path.name, int(first)))
            part = bytes(data[int(first) : int(last) + 1 if last else None])
            self.send(206, part, "application/octet-stream", md5, f"bytes {first}-{last}/{len(data)}")
        else:
            self.send(200, bytes(data), "application/octet-stream", md5)

    def send(self, status: int, data: bytes, kind: str, md5: str = "", content_range: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if md5:
            self.send_header("Content-MD5", md5)
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        if self.command == "HEAD":
            return
        sent = data[: self.server.budget] if md5 else data
        if Path(urllib.parse.urlsplit(self.path).path).name in self.server.stalls:
            self.wfile.write(sent[: len(sent) // 2])
            self.wfile.flush()
            self.server.stalled.set()
            threading.Event().wait()
        self.wfile.write(sent)
        if md5:
            self.server.budget -= len(sent)
        if len(sent) < len(data):
            self.wfile.flush()
            self.close_connection = True
