#!/usr/bin/env python3
"""A client of Hongbao, with the standard library alone.

    make run                 # in another terminal: the service, with development calls
    python3 examples/client.py [http://127.0.0.1:8080]
"""

import http.client
import json
import random
import sys
import time
import urllib.parse
import uuid


class Problem(Exception):
    """An answer that is no success, as application/problem+json."""

    def __init__(self, status, body, retry_after):
        super().__init__(f"{status} {body.get('code')}: {body.get('detail')}")
        self.code = body.get("code")
        self.retryable = body.get("retryable", False)
        self.retry_after_s = float(retry_after) if retry_after else None


class Client:
    """Calls of one user."""

    def __init__(self, url, token=None, give_up_after_s=30.0):
        self.address = urllib.parse.urlsplit(url).netloc
        self.token = token
        self.give_up_after_s = give_up_after_s

    def call(self, method, path, body=None, key=None):
        """Every call may be repeated: so one without an answer, or with a problem that is
        `retryable`, is repeated until it is answered or the time is over."""
        deadline = time.monotonic() + self.give_up_after_s
        pause = 0.1
        while True:
            try:
                return self.once(method, path, body, key)
            except Problem as problem:
                if not problem.retryable:
                    raise
                failure, wait = problem, problem.retry_after_s
            except (OSError, http.client.HTTPException) as error:
                # The request may have arrived, as with `outcome_unknown`: the repeat tells.
                failure, wait = error, None
            if wait is None:
                # Half of it at random, so that clients which failed together come back apart.
                wait = pause * random.uniform(0.5, 1.0)
                pause = min(2 * pause, 4.0)
            if time.monotonic() + wait > deadline:
                raise failure
            time.sleep(wait)

    def once(self, method, path, body, key=None):
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
            if key:
                headers["Idempotency-Key"] = key
            connection.request(method, path, body and json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            if 200 <= answer.status < 300:
                return json.loads(text)
            raise Problem(answer.status, json.loads(text), answer.getheader("Retry-After"))
        finally:
            connection.close()

    def send(self, **terms):
        """Creates and pays. A `create` that is repeated under its key makes one envelope."""
        envelope = self.call("POST", "/v1/envelopes", terms, key=str(uuid.uuid4()))
        return self.call("POST", f"/v1/envelopes/{envelope['id']}/pay")

    def open(self, envelope_id):
        """Grabs and opens: `opened` with the amount, `empty` or `expired`."""
        while True:
            grabbed = self.call("POST", f"/v1/envelopes/{envelope_id}/grab")
            if grabbed["outcome"] != "ready":
                # `opened` again, if an opening had happened whose answer was lost.
                return grabbed
            try:
                return self.call("POST", f"/v1/envelopes/{envelope_id}/open", {"ticket": grabbed["ticket"]})
            except Problem as problem:
                # A ticket lives for a minute, and repeats may have taken longer.
                if problem.code != "ticket_invalid":
                    raise

    def balance_fen(self):
        return self.call("GET", "/v1/wallet")["balance_fen"]


def main(url):
    def log_in(user):
        # Development services alone give tokens away.
        token = Client(url).call("POST", "/v1/dev/token", {"user_id": user, "groups": ["family"]})["token"]
        return Client(url, token)

    li, wang = log_in("li"), log_in("wang")
    # The id makes a repeat the same top-up.
    li.call("POST", "/v1/dev/top-up", {"amount_fen": 10_000, "id": str(uuid.uuid4())})
    envelope = li.send(kind="lucky", total_fen=8_888, shares=3, audience={"type": "group", "id": "family"})
    before = wang.balance_fen()
    opened = wang.open(envelope["id"])
    print(f"wang opened {envelope['id']} and got {opened['amount_fen']} fen")
    # The share arrives in the balance within a second.
    deadline = time.monotonic() + 10
    while wang.balance_fen() < before + opened["amount_fen"] and time.monotonic() < deadline:
        time.sleep(0.1)
    print(f"wang has {wang.balance_fen()} fen")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080")
