#!/usr/bin/env python3
"""Takes the events that an installation sends to its webhook.

    ./webhook_consumer.py PORT SECRET

and in the settings of the installation:

    [webhook]
    url = "http://127.0.0.1:PORT"
    secret = "SECRET"

Each request is checked before anything in it is believed: the signature, and that it is of now. Events come at least
once; those of an envelope come in order. So what was seen is remembered by its id. A real consumer stores both in one
transaction of its database before it answers: what it has answered is not sent again.
"""

import hashlib
import hmac
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

SECONDS_OLD_MAX = 300
BYTES_MAX = 16 * 1024 * 1024

seen = set()


def is_genuine(header: str, body: bytes, secret: bytes) -> bool:
    """Whether the header `t=<seconds>,v1=<signature>` is of this body, and of now."""
    parts = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    seconds = parts.get("t", "")
    if not seconds.isdigit() or abs(time.time() - int(seconds)) > SECONDS_OLD_MAX:
        return False
    signed = b"events\n" + seconds.encode() + b"\n" + body
    wanted = hmac.new(secret, signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted, parts.get("v1", ""))


class Consumer(BaseHTTPRequestHandler):
    secret = b""

    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        if length > BYTES_MAX:
            return self.answer(413)
        body = self.rfile.read(length)
        if not is_genuine(self.headers.get("hongbao-signature", ""), body, self.secret):
            return self.answer(401)
        for event in json.loads(body)["events"]:
            if event["id"] not in seen:
                seen.add(event["id"])
                print(json.dumps(event), flush=True)
        self.answer(204)

    def answer(self, status: int):
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    Consumer.secret = sys.argv[2].encode()
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Consumer).serve_forever()
