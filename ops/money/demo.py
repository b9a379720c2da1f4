#!/usr/bin/env python3
"""Money in and out of an installation, step by step: `make demo-money`.

Two SETs and a gateway on this machine, without calls of development: no one can make money
out of nothing here. The payment provider is the sandbox, a process of its own. At the end its
bill is compared with the books, and the books are audited. Needs the binaries `hongbao` and
`hongbao-testbed` in the folder that --bin names, and MariaDB, memcached and Redis.
"""

import argparse
import base64
import hashlib
import hmac
import json
import pathlib
import secrets
import subprocess
import sys
import tempfile
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "examples"))
from client import Client  # noqa: E402


def settings(token_secret, provider_secret, provider):
    """What of the settings is not as in other installations on one machine."""
    return f"""
dev_calls = false
[auth]
hs256_secret = "{token_secret}"
[provider]
kind = "http"
url = "http://{provider}"
secret = "{provider_secret}"
"""


def token(user, secret):
    """Whoever runs an installation issues its tokens: a JWT, signed with HS256."""

    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    claims = {"sub": user, "exp": int(time.time()) + 3600, "groups": ["family"]}
    text = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (text + b"." + part(hmac.digest(secret.encode(), text, hashlib.sha256))).decode()


def finished(client, path):
    """Asks until the outcome of a charge or a payout is known."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        order = client.call("GET", path)
        if order["state"] != "pending":
            return order
        time.sleep(0.1)
    sys.exit(f"{path} has no outcome")


def wait_for(what, holds):
    deadline = time.monotonic() + 30
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(f"waited in vain for {what}")
        time.sleep(0.1)


def yuan(fen):
    return f"¥{fen // 100}.{fen % 100:02}"


def start_sandbox(hongbao, work, provider, gateway, more=()):
    """The payment provider; its books are in `work`, and outlive it."""
    return subprocess.Popen(
        [hongbao, "sandbox", "--listen", provider, "--data", work / "sandbox"]
        + ["--secret-file", work / "provider-secret"]
        + ["--notify-url", f"http://{gateway}/v1/provider/notifications", *more],
        stdout=subprocess.DEVNULL,
        stderr=(work / "sandbox.log").open("a"),
    )


def story(client_of):
    li, wang, zhao = client_of("li"), client_of("wang"), client_of("zhao")

    print("\n1. li charges ¥100.00: the provider is asked for it, and says where li would pay.")
    charge = li.call("POST", "/v1/charges", {"amount_fen": 10_000}, key=str(uuid.uuid4()))
    print(f"   charge {charge['id']}: {charge['state']}, {charge.get('action', {}).get('url', 'paid at once')}")
    charge = finished(li, f"/v1/charges/{charge['id']}")
    print(f"   {charge['state']}: li has {yuan(li.balance_fen())}")

    print("\n2. li sends ¥88.88 to the family, wang and zhao open.")
    envelope = li.send(kind="lucky", total_fen=8_888, shares=2, audience={"type": "group", "id": "family"})
    for name, user in (("wang", wang), ("zhao", zhao)):
        print(f"   {name} gets {yuan(user.open(envelope['id'])['amount_fen'])}")
    wait_for("the shares to arrive", lambda: wang.balance_fen() + zhao.balance_fen() == 8_888)

    print("\n3. zhao, who has less, sends ¥200.00 and pays at the provider, not from the balance.")
    terms = {"kind": "equal", "total_fen": 20_000, "shares": 1}
    envelope = zhao.call("POST", "/v1/envelopes", terms, key=str(uuid.uuid4()))
    zhao.call("POST", f"/v1/envelopes/{envelope['id']}/pay", {"from": "provider"})
    wait_for("the envelope", lambda: zhao.call("GET", f"/v1/envelopes/{envelope['id']}")["envelope"]["state"] == "active")
    before = wang.balance_fen()
    print(f"   it is active, and wang gets {yuan(wang.open(envelope['id'])['amount_fen'])}")
    wait_for("the share to arrive", lambda: wang.balance_fen() == before + 20_000)

    print("\n4. wang pays all of it out.")
    payout = wang.call("POST", "/v1/payouts", {"amount_fen": wang.balance_fen()}, key=str(uuid.uuid4()))
    payout = finished(wang, f"/v1/payouts/{payout['id']}")
    print(f"   payout of {yuan(payout['amount_fen'])}: {payout['state']}; wang has {yuan(wang.balance_fen())}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--bin", type=pathlib.Path, default=ROOT / "target/release")
    arguments.add_argument("--port", type=int, default=18_700, help="the first of some 30 ports in a row")
    arguments = arguments.parse_args()
    hongbao, testbed = arguments.bin / "hongbao", arguments.bin / "hongbao-testbed"
    provider, gateway = f"127.0.0.1:{arguments.port + 98}", f"127.0.0.1:{arguments.port + 99}"
    token_secret, provider_secret = secrets.token_hex(32), secrets.token_hex(32)

    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        (work / "provider-secret").write_text(provider_secret)
        (work / "settings.toml").write_text(settings(token_secret, provider_secret, provider))
        sandbox = start_sandbox(hongbao, work, provider, gateway)
        cluster = [testbed, "--data", work / "cluster"]
        config = work / "cluster" / "hongbao.toml"
        try:
            start = [*cluster, "start", "--settings", work / "settings.toml", "--binary", hongbao.resolve()]
            subprocess.run([*start, "--port", str(arguments.port), "--gateway", gateway], check=True)
            story(lambda user: Client(f"http://{gateway}", token(user, token_secret)))

            print("\n5. The provider's bill against the books, by order number and in both directions.", flush=True)
            today = time.strftime("%Y%m%d", time.gmtime(time.time() + 8 * 3600))
            reconciled = subprocess.run([hongbao, "reconcile", "--config", config, "--date", today])

            print("\n6. The audit: every balance from the stored rows, the provider's accounts among them.", flush=True)
            audited = subprocess.run([*cluster, "audit"])
            return reconciled.returncode or audited.returncode
        finally:
            subprocess.run([*cluster, "stop"], stdout=subprocess.DEVNULL)
            sandbox.terminate()
            sandbox.wait()


if __name__ == "__main__":
    sys.exit(main())
