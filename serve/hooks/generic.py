"""Any other program: a signed JSON object comes in, and a signed one goes back where an address is configured."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from serve.hooks.helpdesk import (
    Delivery,
    Helpdesk,
    NotUnderstood,
    NotVerified,
    Refusal,
    Written,
    incoming,
    read_object,
    same_signature,
)

SIGNATURE, DELIVERY = "X-Duet-Signature", "X-Duet-Delivery"


class Generic(Helpdesk):
    """A program that sends `id`, `subject` and `body`, and can take labels and reply."""

    def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """Raise NotVerified where X-Duet-Signature is not `sha256=` and the HMAC-SHA256 of the body."""
        if not same_signature(self._sign(body), headers.get(SIGNATURE.lower(), "")):
            raise NotVerified(f"{SIGNATURE} does not fit; expected sha256= and the HMAC-SHA256 of the body")

    def read(self, headers: Mapping[str, str], body: bytes) -> Delivery:
        record = read_object(body)
        if not isinstance(record.get("id"), str | int):
            raise NotUnderstood("expected an object with `id`, `subject` and `body`")
        found = incoming(self.settings.name, record["id"], record.get("subject"), record.get("body"))
        return Delivery(headers.get(DELIVERY.lower(), "")[:200], found)

    def write_back(self, external_id: str, payload: Mapping[str, Any]) -> Written:
        """POST the answer to exactly the configured address, signed in the same way."""
        labels = {c: self.value_of(c, label) for c, label in payload["labels"].items()}
        record = {"id": external_id, "labels": labels, "reviewed": bool(payload.get("reviewed"))}
        if self.settings.draft:
            record |= {"reply": payload.get("reply"), "reply_cut": bool(payload.get("reply_cut"))}
        body = json.dumps(record, ensure_ascii=False).encode()
        headers = {SIGNATURE: self._sign(body), "Content-Type": "application/json"}
        try:
            response = self.call("POST", self.settings.url, content=body, headers=headers)
        except Refusal as refusal:  # its text is kept and shown, and the address may hold a key
            told = str(refusal).replace(self.settings.url, "its address")
            raise Refusal(told, refusal.final, refusal.after) from None
        if response.status_code == 404:
            raise Refusal(f"{self.settings.name}: status 404 at its address")
        return Written(payload["labels"])

    def _sign(self, body: bytes) -> str:
        return "sha256=" + hmac.new(self.settings.secret.encode(), body, hashlib.sha256).hexdigest()
