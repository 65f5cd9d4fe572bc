"""A stand-in for the Hugging Face hub on this machine: as much of its API as a push needs, and what it was sent."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_not_a_real_token"


class Hub(ThreadingHTTPServer):
    """Repositories by name, each with whether it is private, its files and the commits that brought them.

    `fails` gives the status and words that a path, named by how it begins, is answered with. What is larger than `large`
    bytes goes the way of large files.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.private: dict[str, bool] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.commits: list[dict] = []
        self.parents: list[str | None] = []
        self.asked: list[str] = []
        self.stored: dict[str, bytes] = {}
        self.fails: dict[str, tuple[int, str]] = {}
        self.large = 10**9

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_) -> None: ...

    def _say(self, status: int, data) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _handle(self) -> None:
        hub, path = self.server, self.path.split("?")[0]
        body = self._body()
        hub.asked.append(f"{self.command} {path}")
        for start, (status, words) in hub.fails.items():
            if path.startswith(start):
                return self._say(status, {"error": words})
        if path.startswith("/large/"):  # where the hub sends large files to: a signed address, no token
            hub.stored[path.removeprefix("/large/")] = body
            return self._say(200, {})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._say(401, {"error": "Invalid username or password."})
        return self._say(*self._answer(path, body))

    do_GET = do_POST = do_PUT = _handle  # noqa: N815

    def _answer(self, path: str, body: bytes) -> tuple[int, object]:
        hub = self.server
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if asked["organization"] != "me":
                return 403, {"error": f'You don\'t have the rights to create a model under the namespace "{name}"'}
            there = name in hub.private
            hub.private.setdefault(name, asked.get("visibility") == "private")
            hub.files.setdefault(name, {".gitattributes": b""})
            return (409 if there else 200), {"url": f"{hub.address}/{name}"}
        if path == "/api/validate-yaml":
            return 200, {"warnings": [], "errors": []}
        if path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            return 200, {
                "transfer": "basic",
                "objects": [
                    {**entry, "actions": {"upload": {"href": f"{hub.address}/large/{entry['oid']}"}}}
                    for entry in objects
                ],
            }
        name, _, rest = path.removeprefix("/api/models/").partition("/preupload/")
        if rest:
            files = json.loads(body)["files"]
            modes = {file["path"]: "lfs" if file["size"] > hub.large else "regular" for file in files}
            return 200, {
                "files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]
            }
        name, _, rest = path.removeprefix("/api/models/").partition("/commit/")
        if rest:
            return 200, self._commit(name, [json.loads(line) for line in body.splitlines()])
        if name in hub.private:
            siblings = [{"rfilename": path} for path in hub.files[name]]
            return 200, {"id": name, "sha": "0" * 40, "private": hub.private[name], "siblings": siblings}
        return 404, {"error": "Repository not found"}

    def _commit(self, name: str, lines: list[dict]) -> dict:
        hub = self.server
        brought = {}
        for line in lines[1:]:
            file = line["value"]
            if line["key"] == "file":
                brought[file["path"]] = base64.b64decode(file["content"])
            else:
                assert line["key"] == "lfsFile"
                brought[file["path"]] = hub.stored[file["oid"]]
                assert hashlib.sha256(brought[file["path"]]).hexdigest() == file["oid"]
        hub.parents.append(lines[0]["value"].get("parentCommit"))
        hub.commits.append({"repository": name, "message": lines[0]["value"]["summary"], "files": brought})
        hub.files[name] |= brought
        return {"commitUrl": f"{hub.address}/{name}/commit/{'1' * 40}", "commitOid": "1" * 40, "success": True}


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Answer from another thread, until the end of the block."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
