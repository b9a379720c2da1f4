#!/usr/bin/env python3
"""Recomputes the amounts of a closed envelope from its detail: what `hongbao verify-draw`
does, in another language. The formula and its proof are in services/core/src/split.rs.

    curl -s http://127.0.0.1:8080/v1/envelopes/$ENVELOPE -H "$WANG" | python3 examples/verify_draw.py
"""

import hashlib
import json
import sys


def lucky_share(seed, seq, remaining, shares_left, share_max):
    """The share number `seq`: 1 fen, and of the excess an amount around its mean."""
    if shares_left == 1:
        return remaining
    block = hashlib.sha256(seed + seq.to_bytes(4, "big")).digest()
    a, b = int.from_bytes(block[:8], "big"), int.from_bytes(block[8:16], "big")
    excess = remaining - shares_left
    width = min(excess, shares_left * (share_max - 1) - excess)
    offset = a * (2 * width + 1) >> 64
    quotient, rest = divmod(excess - width + offset, shares_left)
    return 1 + quotient + (1 if b * shares_left >> 64 < rest else 0)


def verify(detail):
    """The number of openings; stops with a reason at the first that is wrong."""
    envelope = detail["envelope"]
    if detail["draw_seed"] is None:
        sys.exit("the envelope is not closed yet: its seed is still secret")
    if detail["next_seq"] is not None:
        sys.exit("there are more pages")
    seed = bytes.fromhex(detail["draw_seed"])
    if hashlib.sha256(seed).hexdigest() != envelope["draw_commitment"]:
        sys.exit("the seed is not the one that was committed to")
    remaining = envelope["total_fen"]
    for seq, opening in enumerate(detail["opens"], start=1):
        shares_left = envelope["shares"] - seq + 1
        if envelope["kind"] == "equal":
            due = envelope["total_fen"] // envelope["shares"]
        else:
            due = lucky_share(seed, seq, remaining, shares_left, envelope["share_fen_max"])
        if (opening["seq"], opening["amount_fen"]) != (seq, due):
            sys.exit(f"opening {seq}: {opening['user_id']} got {opening['amount_fen']} fen, but {due} were drawn")
        remaining -= due
    return len(detail["opens"])


if __name__ == "__main__":
    print(f"{verify(json.load(sys.stdin))} openings: every amount is what the committed seed draws")
