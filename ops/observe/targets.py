#!/usr/bin/env python3
"""Prints what Prometheus scrapes of an installation, made of its topology: targets.py TOPOLOGY > targets.json

Each process gets its name as `instance`, its `role`, and the `set` that it is of. Run it again when the topology
changes; Prometheus reads the file again by itself.
"""

import json
import sys
import tomllib


def targets(topology):
    """The groups of targets of a topology."""
    found = []

    def add(role, process, **labels):
        labels = {"role": role, "instance": process["name"], **labels}
        found.append({"targets": [process["address"]], "labels": labels})

    for gateway in topology.get("gateways", []):
        add("gateway", gateway)
    for of_set in topology["sets"]:
        for role in ("server", "worker"):
            for process in of_set[f"{role}s"]:
                add(role, process, set=of_set["name"])
    return found


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    with open(sys.argv[1], "rb") as file:
        print(json.dumps(targets(tomllib.load(file)), indent=2))
