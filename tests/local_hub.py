"""A hub on 127.0.0.1: what huggingface_hub 2.4 asks for to publish and to read a model, and what a hostile one does.

Large files go by the LFS protocol, as `backbone.hub.client` asks for; Xet storage is not played.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_localsecret0123456789"
LARGE = 10_000  # bytes from which a file is stored by LFS
Files = dict[str, bytes]
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Repository:
    """Its commits, and the commit of every branch."""

    private: bool
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: Files) -> str:
        content = json.dumps({name: hashlib.sha1(data).hexdigest() for name, data in sorted(files.items())})
        sha = hashlib.sha1(f"{branch} {len(self.commits)} {content}".encode()).hexdigest()
        self.commits[sha], self.branches[branch] = files, sha
        return sha

    def resolve(self, revision: str) -> str | None:
        sha = self.branches.get(revision, revision)
        return sha if sha in self.commits else None


@dataclass
class LocalHub:
    """The state of the hub, what it has received, and how it misbehaves.

    Attributes:
        received: every body and every head of a request.
        requests: `METHOD path` of every request.
        faults: status to answer once each, by a part of `METHOD path`.
        listed: entries that a listing has besides the files: path and size.
        served: content sent in place of a file's own, by path.
        headers: sent in place of the right ones with every file.
        endless: paths whose content does not end; also of the interface.
        meanwhile: what somebody else does before the next commit arrives.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    received: list[bytes] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    faults: list[tuple[str, int]] = field(default_factory=list)
    listed: list[tuple[str, int]] = field(default_factory=list)
    served: Files = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    endless: set[str] = field(default_factory=set)
    meanwhile: Callable[[], object] = field(default=lambda: None)
    address: str = ""

    def files(self, repository: str, branch: str = "main") -> Files:
        found = self.repositories[repository]
        return found.commits[found.branches[branch]]

    def fault(self, request: str) -> int | None:
        found = next((one for one in self.faults if one[0] in request), None)
        if found:
            self.faults.remove(found)
        return found[1] if found else None


def _json(value: Any, status: int = 200, **headers: str) -> Answer:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(value).encode()


def _tag(data: bytes) -> str:
    """What names a file's content: of large ones SHA-256, of others the sum of git."""
    if len(data) >= LARGE:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Requests(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_GET

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = self._chunks()
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        self.hub.received += [self.requestline.encode(), str(self.headers).encode(), body]
        status = self.hub.fault(self.hub.requests[-1])
        if status == 0:
            self.close_connection = True
            return
        if status is not None:  # it quotes the token, as a careless server may
            answer = _json({"error": f"fault {status} for {self.headers.get('Authorization')}"}, status)
        else:
            answer = self._answer(path, body)
        self._send(path, *answer)

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(self, path: str, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        endless = self.command == "GET" and any(path.endswith(name) for name in self.hub.endless)
        length = {} if endless else {"Content-Length": str(len(body))}
        for name, value in ({**length, **headers}).items():
            self.send_header(name, value)
        if endless:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        try:
            while endless:
                self.wfile.write(bytes(1 << 20))
        except OSError:
            self.close_connection = True

    def _answer(self, path: str, body: bytes) -> Answer:
        for pattern, action in _ROUTES:
            if match := re.fullmatch(pattern, f"{self.command} {path}"):
                groups = match.groupdict()
                repository = self.hub.repositories.get(groups.get("repo", ""))
                writes = self.command in ("POST", "PUT")
                allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}" or action is _put
                if not allowed and (writes or repository is None or repository.private):
                    return _json({"error": "Invalid username or password."}, 401)
                if "repo" in groups and repository is None:
                    return _json({"error": "Repository not found"}, 404, **{"X-Error-Code": "RepoNotFound"})
                return action(self.hub, groups, body)
        return _json({"error": f"no {path}"}, 404)


def _create(hub: LocalHub, groups: dict[str, str], body: bytes) -> Answer:
    asked = json.loads(body)
    name = f"{asked['organization']}/{asked['name']}"
    url = {"url": f"{hub.address}/{name}"}
    if name in hub.repositories:
        return _json({**url, "error": "You already created this model repo"}, 409)
    hub.repositories[name] = Repository(asked.get("visibility") == "private")
    hub.repositories[name].commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"})
    return _json(url)


def _info(hub: LocalHub, groups: dict[str, str], body: bytes) -> Answer:
    repository = hub.repositories[groups["repo"]]
    sha = repository.resolve(groups.get("revision") or "main")
    if sha is None:
        return _json({"error": "Invalid rev id"}, 404, **{"X-Error-Code": "RevisionNotFound"})
    return _json({"id": groups["repo"], "sha": sha, "private": repository.private})


def _tree(hub: LocalHub, groups: dict[str, str], body: bytes) -> Answer:
    files = hub.repositories[groups["repo"]].commits[groups["revision"]]
    entries: list[dict[str, Any]] = []
    for name, data in files.items():
        entry = {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
        if len(data) >= LARGE:
            entry["lfs"] = {"oid": _tag(data), "size": len(data), "pointerSize": 130}
        entries.append(entry)
    sizes = dict(hub.listed)
    entries = [{**entry, "size": sizes.pop(entry["path"], entry["size"])} for entry in entries]
    entries += [{"type": "file", "path": name, "size": size, "oid": "0" * 40} for name, size in sizes.items()]
    return _json([*entries, {"type": "directory", "path": "classifier", "oid": "0" * 40}])


def _branch(hub: LocalHub, groups: dict[str, str], body: bytes) -> Answer:
    repository = hub.repositories[groups["repo"]]
    if groups["branch"] in repository.branches:
        return _json({"error": "Reference already exists"}, 409)
    repository.branches[groups["branch"]] = repository.branches["main"]
    return _json({})


def _validate(hub: LocalHub, groups: dict[str, str], body: bytes) -> Answer:
    assert json.loads(body)["content"].startswith("---\n")
    return _json({"errors": [], "warnings": []})


def _preupload(hub: LocalHub, groups: dict[str, str], body: bytes) -> Answer:
    repository = hub.repositories[groups["repo"]]
    files = repository.commits[repository.branches[groups["revision"]]]
    asked = json.loads(body)["files"]
    modes = {True: "lfs", False: "regular"}
    return _json(
        {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": modes[file["size"] >= LARGE],
                    "shouldIgnore": False,
                    "oid": _tag(files[file["path"]]) if file["path"] in files else None,
                }
                for file in asked
            ]
        }
    )


def _batch(hub: LocalHub, groups: dict[str, str], body: bytes) -> Answer:
    def action(oid: str) -> dict[str, Any]:
        return {} if oid in hub.objects else {"actions": {"upload": {"href": f"{hub.address}/lfs/{oid}"}}}

    objects = [{**one, **action(one["oid"])} for one in json.loads(body)["objects"]]
    return _json({"transfer": "basic", "objects": objects})


def _put(hub: LocalHub, groups: dict[str, str], body: bytes) -> Answer:
    assert hashlib.sha256(body).hexdigest() == groups["oid"]
    hub.objects[groups["oid"]] = body
    return 200, {}, b""


def _commit(hub: LocalHub, groups: dict[str, str], body: bytes) -> Answer:
    hub.meanwhile()
    repository = hub.repositories[groups["repo"]]
    head = repository.branches[groups["revision"]]
    files = dict(repository.commits[head])
    for line in map(json.loads, body.splitlines()):
        value = line["value"]
        if line["key"] == "header" and value.get("parentCommit", head) != head:
            return _json({"error": "A commit has happened since"}, 412)
        if line["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
            hub.received.append(files[value["path"]])
        elif line["key"] == "lfsFile":
            files[value["path"]] = hub.objects[value["oid"]]
        elif line["key"] == "deletedFile":
            del files[value["path"]]
    sha = repository.commit(groups["revision"], files)
    return _json({"commitUrl": f"{hub.address}/{groups['repo']}/commit/{sha}", "commitOid": sha})


def _file(hub: LocalHub, groups: dict[str, str], body: bytes) -> Answer:
    repository = hub.repositories[groups["repo"]]
    sha = repository.resolve(groups["revision"])
    files = repository.commits.get(sha or "", {})
    if groups["path"] not in files:
        return _json({"error": "Entry not found"}, 404, **{"X-Error-Code": "EntryNotFound"})
    data = files[groups["path"]]
    headers = {"ETag": f'"{_tag(data)}"', "X-Repo-Commit": sha or "", **hub.headers}
    return 200, headers, hub.served.get(groups["path"], data)


_REPO, _REST = r"(?P<repo>[^/]+/[^/]+)", r"(?P<revision>.+)"
_ROUTES: list[tuple[str, Callable[[LocalHub, dict[str, str], bytes], Answer]]] = [
    (r"POST /api/repos/create", _create),
    (r"POST /api/validate-yaml", _validate),
    (rf"GET /api/models/{_REPO}(/revision/{_REST})?", _info),
    (rf"GET /api/models/{_REPO}/tree/(?P<revision>[0-9a-f]+)", _tree),
    (rf"POST /api/models/{_REPO}/branch/(?P<branch>.+)", _branch),
    (rf"POST /api/models/{_REPO}/preupload/{_REST}", _preupload),
    (rf"POST /{_REPO}\.git/info/lfs/objects/batch", _batch),
    (r"PUT /lfs/(?P<oid>[0-9a-f]{64})", _put),
    (rf"POST /api/models/{_REPO}/commit/{_REST}", _commit),
    (rf"(GET|HEAD) /{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _file),
]


@contextmanager
def running_hub() -> Iterator[LocalHub]:
    """Run a hub until the block ends."""
    hub = LocalHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Requests", (_Requests,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
