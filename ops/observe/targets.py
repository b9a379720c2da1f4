#!/usr/bin/env python3
"""Prints what Prometheus scrapes of an installation, made of its topology: targets.py TOPOLOGY > targets.json

Each process gets its name as `instance`, its `role`, and the `set` that it is of. Run it again when the topology
changes; Prometheus reads the file again by itself. Where gateways or servers speak TLS, say so: `--tls gateway`,
`--tls server`, or both.
"""

import argparse
import json
import sys
import tomllib


def targets(topology, with_tls=()):
    """The groups of targets of a topology; roles `with_tls` are scraped by HTTPS."""
    found = []

    def add(role, process, **labels):
        labels = {"role": role, "instance": process["name"], **labels}
        if role in with_tls:
            labels["__scheme__"] = "https"
        found.append({"targets": [process["address"]], "labels": labels})

    for gateway in topology.get("gateways", []):
        add("gateway", gateway)
    for of_set in topology["sets"]:
        for role in ("server", "worker"):
            for process in of_set[f"{role}s"]:
                add(role, process, set=of_set["name"])
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topology", type=argparse.FileType("rb"))
    parser.add_argument("--tls", action="append", default=[], choices=["gateway", "server"])
    options = parser.parse_args()
    json.dump(targets(tomllib.load(options.topology), options.tls), sys.stdout, indent=2)
    print()
