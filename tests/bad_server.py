"""A server that misbehaves as its address says: `http://127.0.0.1:PORT/MODE/v1`."""

import base64
import codecs
import gzip
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, ClassVar

TEXT = "Thanks for your message."
_BOMB = gzip.compress(b" " * (1 << 26), compresslevel=1)  # once: it takes a while


def completion(content: Any = TEXT, reason: Any = "stop") -> dict[str, Any]:
    """A whole answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": reason}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def event(content: Any = None, reason: Any = None) -> bytes:
    """One piece of a streamed answer."""
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": reason}
    record = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(record).encode() + b"\n\n"


class Handler(BaseHTTPRequestHandler):
    """Does what the first part of the path names."""

    protocol_version = "HTTP/1.1"
    hits: ClassVar[dict[str, int]] = {}
    lock = Lock()
    elsewhere = ""  # address of a second server, for redirects

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self.send(b"{}")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        request = json.loads(self.rfile.read(length) or b"{}")
        self.streams = bool(request.get("stream"))
        mode = self.path.split("/")[1]
        with self.lock:
            self.hits[mode] = self.hits.get(mode, 0) + 1
            self.hit = self.hits[mode]
        try:
            MODES[mode](self)
        except OSError:  # the client has gone, as it should
            self.close_connection = True

    def send(self, body: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        """Answer with a body."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def send_json(self, record: Any, **given: Any) -> None:
        """Answer with JSON."""
        self.send(json.dumps(record).encode(), **given)

    def begin(self, length: int | None = None) -> None:
        """The head of an answer whose body comes bit by bit."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if self.streams else "application/json")
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()

    def drip(self, pieces: Iterator[bytes], pause: float) -> None:
        """A body that comes bit by bit."""
        self.begin()
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()
            time.sleep(pause)

    def reply(self, content: Any, reason: Any = "stop") -> None:
        """A reply in the form that was asked for."""
        if not self.streams:
            self.send_json(completion(content, reason))
            return
        self.begin()
        self.wfile.write(event(content) + event(None, reason) + b"data: [DONE]\n\n")

    def break_off(self, sent: bytes) -> None:
        """Part of a body, then nothing."""
        self.begin(5000)
        self.wfile.write(sent)


def _forever(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


def _stream(*pieces: bytes) -> Callable[[Handler], None]:
    """The pieces to who streams, and a broken whole answer to who does not."""

    def act(handler: Handler) -> None:
        handler.begin()
        handler.wfile.write(b"".join(pieces))

    return act


def _raw(body: bytes, **given: Any) -> Callable[[Handler], None]:
    return lambda handler: handler.send(body, **given)


def _redirect(status: int, address: Callable[[Handler], str]) -> Callable[[Handler], None]:
    return lambda handler: handler.send(b"", status=status, Location=address(handler))


def _raw_head(head: bytes) -> Callable[[Handler], None]:
    def act(handler: Handler) -> None:
        handler.wfile.write(head)
        handler.close_connection = True

    return act


def _choice(**changed: Any) -> Callable[[Handler], None]:
    """A whole answer whose choice differs."""

    def act(handler: Handler) -> None:
        record = completion()
        record["choices"][0].update(changed)
        handler.send_json(record)

    return act


def _in_turn(*acts: Callable[[Handler], None]) -> Callable[[Handler], None]:
    return lambda handler: acts[min(handler.hit, len(acts)) - 1](handler)


def _marked(handler: Handler, *mark: bytes) -> None:
    """A body with a byte order mark, which may arrive in pieces."""
    whole = event(TEXT) + event(None, "stop") + b"data: [DONE]\n\n"
    handler.drip(iter((*mark, whole if handler.streams else json.dumps(completion(TEXT)).encode())), 0.02)


def _fine(handler: Handler) -> None:
    handler.reply(TEXT)


def _close(handler: Handler) -> None:
    handler.close_connection = True
    handler.connection.close()


# those that are answered all the same, and with which text
ANSWERED: dict[str, tuple[Callable[[Handler], Any], str]] = {
    "fine": (_fine, TEXT),
    "control-tokens": (lambda h: h.reply("A<|im_end|>\n<|im_start|>user B"), "A<|im_end|>\n<|im_start|>user B"),
    "escapes": (lambda h: h.reply("Hi \x1b[2J\x07"), "Hi \x1b[2J\x07"),
    "empty": (lambda h: h.reply(""), ""),
    "null-content": (lambda h: h.reply(None), ""),
    "cut-short": (lambda h: h.reply("Half an answer", "length"), "Half an answer"),
    "filtered": (lambda h: h.reply("Half", "content_filter"), "Half"),
    "tool-calls": (lambda h: h.reply("Half", "tool_calls"), "Half"),
    "unknown-reason": (lambda h: h.reply("Half", "abort"), "Half"),
    "busy-then-fine": (_in_turn(_raw(b"{}", status=503), _fine), TEXT),
    "closed-then-fine": (_in_turn(_close, _fine), TEXT),
    "wait-then-fine": (_in_turn(_raw(b"{}", status=429, Retry_After="0.2"), _fine), TEXT),
    "redirect-home": (_in_turn(_redirect(307, lambda h: h.path), _fine), TEXT),
    "mark": (lambda h: _marked(h, codecs.BOM_UTF8), TEXT),
    "mark-in-pieces": (lambda h: _marked(h, *(bytes([one]) for one in codecs.BOM_UTF8)), TEXT),
    "unknown-keys": (lambda h: h.send_json({**completion(), "x": {"y": [None]}}), TEXT),
}


def _quote(handler: Handler, text: str) -> None:
    handler.send_json({"error": {"message": text}}, status=400)


def _decoded(handler: Handler) -> str:
    """The key, or user and password, of a request."""
    kind, _, value = handler.headers["Authorization"].partition(" ")
    return base64.b64decode(value).decode() if kind == "Basic" else value


def _in_pieces(handler: Handler, text: str) -> None:
    if not handler.streams:
        handler.reply(text)
        return
    handler.begin()
    for letter in text:
        handler.wfile.write(event(letter))
    handler.wfile.write(event(None, "stop") + b"data: [DONE]\n\n")


def _lost(handler: Handler, text: str) -> None:
    """The beginning of a stream that waits until the deadline."""
    handler.begin()
    if handler.streams:
        handler.wfile.write(event(text))
    time.sleep(2)


# those that end in one line; part of that line
REFUSED: dict[str, tuple[Callable[[Handler], Any], str]] = {
    "hang": (lambda h: time.sleep(30), "no answer"),
    "drip": (lambda h: h.drip(_forever(b": \n\n" if h.streams else b" "), 0.1), "no answer"),
    "late-head": (lambda h: h.wfile.write(b"HTTP/1.1 200") and time.sleep(30), "no answer"),
    "closed": (_close, "no answer"),
    "huge": (lambda h: h.drip(_forever(b" " * (1 << 20)), 0), "more than"),
    "huge-line": (lambda h: h.drip(_forever(b"data: " + b"x" * (1 << 20)), 0), "more than"),
    "huge-error": (lambda h: h.send(b"x" * (1 << 24), status=400), "more than"),
    "ten-megabytes": (lambda h: h.send_json(completion("word " * 2_000_000)), "more than"),
    "zip-bomb": (lambda h: h.send(_BOMB, Content_Encoding="gzip"), "compresses"),
    "deflate": (lambda h: h.send(b"x", Content_Encoding="deflate"), "compresses"),
    "not-json": (_raw(b"{not json"), "no chat completion"),
    "no-body": (_raw(b""), "no chat completion"),
    "html": (_raw(b"<html>hello</html>", kind="text/html"), "no chat completion"),
    "picture": (_raw(b"\x89PNG", kind="image/png"), "no chat completion"),
    "not-utf-8": (_raw(b'{"choices": "\xff\xfe"}'), "no chat completion"),
    "deep": (_raw(b"[" * 50_000), "no chat completion"),
    "list": (_raw(b"[1, 2]"), "no chat completion"),
    "number": (_raw(b"5"), "no chat completion"),
    "long-number": (_raw(b"1" * 6000), "no chat completion"),
    "null": (_raw(b"null"), "no chat completion"),
    "text": (_raw(b'"hello"'), "no chat completion"),
    "other-object": (_raw(b'{"hello": 1}'), "no chat completion"),
    "error-in-200": (_raw(b'{"error": {"message": "no"}}'), "no chat completion"),
    "no-choices": (lambda h: h.send_json({**completion(), "choices": []}), "no chat completion"),
    "null-choices": (lambda h: h.send_json({**completion(), "choices": None}), "no chat completion"),
    "number-choices": (lambda h: h.send_json({**completion(), "choices": 3}), "no chat completion"),
    "text-choices": (lambda h: h.send_json({**completion(), "choices": "abc"}), "no chat completion"),
    "null-choice": (lambda h: h.send_json({**completion(), "choices": [None]}), "no chat completion"),
    "no-message": (_choice(message=None), "no chat completion"),
    "text-message": (_choice(message="hello"), "no chat completion"),
    "list-content": (_choice(message={"role": "assistant", "content": [{"type": "text"}]}), "no chat completion"),
    "number-content": (_choice(message={"role": "assistant", "content": 5}), "no chat completion"),
    "surrogate": (lambda h: h.reply("hello \ud800 world"), "no chat completion"),
    "number-reason": (_choice(finish_reason=7), "no chat completion"),
    "no-reason": (lambda h: h.reply("Hello", None), "broke off"),
    "half-body": (lambda h: h.break_off(json.dumps(completion()).encode()[:60]), "no answer"),
    "half-stream": (lambda h: (h.begin(), h.wfile.write(event("Half an"))), "no chat completion"),
    "status-400": (_raw(b'{"error": {"message": "boom \\u001b[2J"}}', status=400), "answered 400"),
    "status-401": (_raw(b"{}", status=401), "OPENAI_API_KEY"),
    "status-404": (_raw(b"", status=404), "--endpoint-model"),
    "status-500": (_raw(b"[" * 1000, status=500), "answered 500"),
    "status-999": (_raw(b"{}", status=999), "answered 999"),
    "later": (_raw(b"{}", status=429, Retry_After="3600"), "asks to wait 3,600 s"),
    "never": (_raw(b"{}", status=503, Retry_After="1e400"), "asks to wait"),
    "odd-later": (_raw(b"{}", status=429, Retry_After="soon"), "answered 429"),
    "elsewhere": (_redirect(307, lambda h: f"{h.elsewhere}{h.path}"), "another server"),
    "elsewhere-303": (_redirect(303, lambda h: f"{h.elsewhere}/secret?x=1"), "another server"),
    "to-file": (_redirect(307, lambda h: "file:///etc/passwd"), "another server"),
    "to-a-name": (_redirect(307, lambda h: "http://user:s3cret@example.invalid/v1"), "another server"),
    "circle": (_redirect(307, lambda h: h.path), "no answer"),
    "bad-address": (_redirect(307, lambda h: "http://[::1"), "no answer"),
    "no-http": (_raw_head(b"SSH-2.0-OpenSSH_9.6\r\n"), "no answer"),
    "bad-length": (_raw_head(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}"), "no answer"),
    "endless-head": (_raw_head(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200_000), "no answer"),
}
# those that matter to who streams alone
STREAMED: dict[str, tuple[Callable[[Handler], Any], str]] = {
    "stream-not-json": (_stream(event("A"), b"data: {no\n\n"), "no chat completion"),
    "stream-null": (_stream(b"data: null\n\n"), "no chat completion"),
    "stream-empty": (_stream(b"data: [DONE]\n\n"), "nothing in it"),
    "stream-nothing": (_stream(b""), "nothing in it"),
    "stream-error": (_stream(event("A"), b'data: {"error": {"message": "boom"}}\n\n'), "boom"),
    "stream-surrogate": (_stream(event("A"), event("\ud800")), "no chat completion"),
    "stream-number": (_stream(event(5)), "no chat completion"),
    "stream-broken-off": (_stream(event("Half an")), "broke off"),
    "stream-no-delta": (_stream(b'data: {"choices": [{"index": 0}]}\n\n'), "no chat completion"),
    "stream-not-utf-8": (_stream(event("A"), b"data: \xff\xfe\n\n"), "no chat completion"),
}
# those that quote what only we may know, in ways that a server may choose; behind a filler that moves it to the cut
QUOTED: dict[str, Callable[[Handler], Any]] = {
    "quotes-header": lambda h: _quote(h, h.headers["Authorization"]),
    "quotes-at-the-cut": lambda h: _quote(h, "x" * 140 + h.headers["Authorization"]),
    "quotes-password": lambda h: _quote(h, f"{_decoded(h)} is not known"),
    "quotes-escaped": lambda h: h.send(json.dumps(h.headers["Authorization"]).encode(), status=500),
    "quotes-in-200": lambda h: h.send_json({"error": {"message": h.headers["Authorization"]}}),
    "quotes-in-url": lambda h: _redirect(307, lambda _: f"http://{_decoded(h)}.example/v1")(h),
}

# those that repeat the key in a usual reply
REPEATED: dict[str, Callable[[Handler], Any]] = {
    "repeats": lambda h: h.reply(f"Your key is {_decoded(h)}, is it?"),
    "repeats-and-ends": lambda h: h.reply(f"Your key is {_decoded(h)}"),
    "repeats-in-pieces": lambda h: _in_pieces(h, f"Your key is {_decoded(h)}, is it?"),
    "repeats-a-part": lambda h: _in_pieces(h, f"Your key is {_decoded(h)[:9]}"),
    "repeats-after-a-loss": _in_turn(lambda h: _lost(h, _decoded(h)[:9]), lambda h: h.reply("Fine.")),
}
MODES = {name: act for name, (act, _) in (ANSWERED | REFUSED | STREAMED).items()}
MODES |= QUOTED | REPEATED
MODES["changed-reason"] = _stream(event("A", "length"), event("B", "stop"))
MODES["endless-words"] = lambda handler: handler.drip(_forever(event("x ")), 0.001)


@contextmanager
def bad_server() -> Iterator[str]:
    """Two servers; yields the address of the first, without a mode."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    Handler.hits = {}
    Handler.elsewhere = f"http://127.0.0.1:{servers[1].server_port}/fine"
    for server in servers:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{servers[0].server_port}"
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
