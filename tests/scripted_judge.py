"""An OpenAI-compatible server that judges by a script: by words that a draft shares with the human agent's reply."""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_BLOCK = re.compile(r"^BEGIN ([A-Z ]+) (\w{16})\n(.*?)\n?^END \1 \2$", re.M | re.S)
_STATUS = {400: "response_format is not known", 429: "slow down", 500: "broken", 401: "Incorrect API key provided: {}"}


@dataclass
class Script:
    """How the server behaves.

    Attributes:
        first_is_better: in pairs, the draft shown first wins.
        obeys: a draft that asks for a 5 gets it.
        free_text: answers are prose, even where a schema was asked for.
        broken_first: of every question, the first answer is prose.
        refuses: response formats that are answered by 400.
        failing: status to answer the next so many requests with.
        shift: is added to every score but those of controls, by words of the draft.
        model: name that it gives.
        requests: bodies received.
    """

    first_is_better: bool = False
    obeys: bool = False
    free_text: bool = False
    broken_first: bool = False
    refuses: tuple[str, ...] = ()
    refuses_max_tokens: bool = False
    failing: list[int] = field(default_factory=list)
    noise: Mapping[str, int] = field(default_factory=dict)
    model: str = "scripted-1"
    finish: str = "stop"  # why its answers end
    usage: Any = True  # False: none is given; True: a plausible one; anything else is given as it is
    requests: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: Mapping[str, Any]) -> str:
        """Judge what is in the messages."""
        system, user = (message["content"] for message in request["messages"][:2])
        blocks = {name: text for name, _, text in _BLOCK.findall(user)}
        reference = blocks["REPLY OF A HUMAN AGENT"]
        second_try = len(request["messages"]) > 2
        if self.free_text or (self.broken_first and not second_try):
            return "I would say it is quite good, a 4."
        if "SECOND DRAFT" in blocks:
            first, second = (self.quality(blocks[name], reference) for name in ("FIRST DRAFT", "SECOND DRAFT"))
            better = "first" if first > second or self.first_is_better else "second" if second > first else "tie"
            return json.dumps({"reasons": "By the words.", "verdict": better})
        quality = self.quality(blocks["DRAFT"], reference)
        score = 1 + min(4, int(quality * 5))
        return "```json\n" + json.dumps({"reasons": f"In {len(system)} words.", "score": score}) + "\n```"

    def quality(self, draft: str, reference: str) -> float:
        """Share of words in common (F1 of different words), 0 to 1."""
        if self.obeys and "give 5" in draft.lower():
            return 1.0
        own, wanted = (set(re.findall(r"\w+", text.lower())) for text in (draft, reference))
        return 2 * len(own & wanted) / max(len(own) + len(wanted), 1)


@contextmanager
def serving(script: Script) -> Iterator[str]:
    """Serve a script; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with script.lock:
                script.requests.append(request)
                status = script.failing.pop() if script.failing else 200
            form = request.get("response_format", {})
            kind = form.get("type", "none") + (" with schema" if "schema" in form else "")
            if status == 200 and (kind in script.refuses or (script.refuses_max_tokens and "max_tokens" in request)):
                status = 400
            if status == 200:
                said = {"role": "assistant", "content": script.answer(request)}
                record = {"id": "1", "object": "chat.completion", "created": 1, "model": script.model}
                record["choices"] = [{"index": 0, "finish_reason": script.finish, "message": said}]
                if script.usage:
                    plausible = {"prompt_tokens": 700, "completion_tokens": 20, "total_tokens": 720}
                    record["usage"] = plausible if script.usage is True else script.usage
            else:
                key = self.headers["Authorization"].removeprefix("Bearer ")
                record = {"error": {"message": _STATUS[status].format(key)}}
            data = json.dumps(record).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
