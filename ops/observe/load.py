"""A bounded load on the cluster of `try.py`: users who send, grab, open and look, some twenty openings a second."""

import http.client
import json
import queue
import threading
import time
import uuid
from collections import deque

SHARES = 40
OPENERS = 4
PAUSE_S = 0.15
# Tickets that an opener has before it opens with the oldest: who has one opens also when its SET is down.
TICKETS = 60


class Load:
    """Runs until it is stopped; what fails while parts of the cluster are down is counted, and others go on."""

    def __init__(self, gateway):
        self.gateway, self.stopping = gateway, threading.Event()
        self.answered, self.failed = 0, 0
        self.shares = queue.Queue(maxsize=2 * SHARES)
        self.threads = [threading.Thread(target=self.repeat, args=(self.send,), daemon=True)]
        for _ in range(OPENERS):
            opener = Opener(self)
            self.threads.append(threading.Thread(target=self.repeat, args=(opener.open_one,), daemon=True))
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(20)

    def repeat(self, step):
        caller = Caller(self.gateway)
        while not self.stopping.is_set():
            try:
                step(caller)
            except (OSError, http.client.HTTPException, Refused):
                self.failed += 1
                caller.hang_up()
                time.sleep(PAUSE_S)

    def send(self, caller):
        """One envelope: made, paid, put where openers find it, looked at."""
        sender = caller.token("sender")
        caller.call("POST", "/v1/dev/top-up", sender, {"amount_fen": 10_000, "id": str(uuid.uuid4())})
        envelope = {"kind": "lucky", "total_fen": 4_000, "shares": SHARES, "audience": {"type": "group", "id": "all"}}
        made = caller.call("POST", "/v1/envelopes", sender, envelope)["id"]
        caller.call("POST", f"/v1/envelopes/{made}/pay", sender)
        for number in range(SHARES):
            while not self.stopping.is_set():
                try:
                    self.shares.put((made, f"opener-{number}"), timeout=0.5)
                    break
                except queue.Full:
                    pass
        caller.call("GET", f"/v1/envelopes/{made}", sender)


class Opener:
    """Grabs, and opens later."""

    def __init__(self, load):
        self.load, self.tickets = load, deque()

    def open_one(self, caller):
        time.sleep(PAUSE_S)
        try:
            self.grab(caller)
        finally:
            if len(self.tickets) >= TICKETS or (self.tickets and self.load.shares.empty()):
                made, token, ticket = self.tickets.popleft()
                caller.call("POST", f"/v1/envelopes/{made}/open", token, {"ticket": ticket})
                self.load.answered += 1

    def grab(self, caller):
        try:
            made, user = self.load.shares.get(timeout=0.1)
        except queue.Empty:
            return
        token = caller.token(user)
        self.tickets.append((made, token, caller.call("POST", f"/v1/envelopes/{made}/grab", token)["ticket"]))


class Refused(Exception):
    """The answer was a problem document."""


class Caller:
    """One connection to the gateway."""

    def __init__(self, gateway):
        self.gateway, self.tokens, self.connection = gateway, {}, None

    def hang_up(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def token(self, user):
        if user not in self.tokens:
            asked = {"user_id": user, "groups": ["all"]}
            self.tokens[user] = self.call("POST", "/v1/dev/token", None, asked)["token"]
        return self.tokens[user]

    def call(self, method, path, token, body=None):
        """Sends one request; its answer."""
        self.connection = self.connection or http.client.HTTPConnection(self.gateway, timeout=5)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.connection.request(method, path, json.dumps(body) if body else None, headers)
        response = self.connection.getresponse()
        answer = json.loads(response.read())
        if response.status >= 400:
            raise Refused(f"{method} {path}: {response.status} {answer}")
        return answer
