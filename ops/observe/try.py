#!/usr/bin/env python3
"""Shows that alerts and dashboard work: try.py [--calm SECONDS] [--only WORDS] [--binaries DIR] [--page FILE]

Starts a cluster on this machine (hongbao-testbed), Debian's Prometheus beside it with the files of this folder, and
a bounded load. Then each query of dashboard.json must give data, no alert may fire for as long as it is calm (120 s),
and after that each fault (faults.py) must raise its alerts, which must be silent again when it is undone. While it is
calm the rules are those of rules.yml; for the faults each `for` is a second and each window 20 s, so that it takes
minutes and not hours. Everything is on loopback and stopped at the end; the data of every panel are drawn into FILE
(target/observe.html). Exit 0: all was so, 1: something was not.

--only WORDS makes the faults alone whose names hold them, --binaries is where hongbao and hongbao-testbed are
(target/release, or target/debug).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The tree stays as it is.
sys.dont_write_bytecode = True

import page
from cluster import Cluster, wait_until
from faults import FAULTS
from load import Load
from prometheus import HERE, Prometheus

ROOT = HERE.parents[1]
FIRES_WITHIN_S, SILENT_WITHIN_S = 100, 150
# Seconds that Prometheus scrapes before the calm begins: what was unknown at the start is over.
SETTLE_S = 20
WINDOW = "15s"


def main():
    options = arguments()
    subprocess.run([HERE / "install.sh"], check=True)
    dashboard = json.loads((HERE / "dashboard.json").read_text())
    with tempfile.TemporaryDirectory(prefix="hongbao-observe-") as folder:
        folder = Path(folder)
        it = Cluster(options.binaries.resolve(), folder / "cluster")
        try:
            (it.folder / "dev").mkdir()
            it.start_hongbao(["dev", "--listen", it.dev, "--data", it.folder / "dev" / "data"])
            prometheus = Prometheus(folder, it)
            load = Load(it.gateway)
            results = calm(prometheus, load, dashboard, options.calm)
            fired = set()
            prometheus.hurry()
            for fault in (fault for fault in FAULTS if options.only in fault.name):
                result = try_fault(it, prometheus, fault)
                fired |= result.raised
                results.append(result)
            load.stop()
            silent = sorted(set(prometheus.alerts()) - fired)
            options.page.write_text(page.render(dashboard, prometheus, results, silent, WINDOW))
        finally:
            it.stop()
    print(f"\n{load.answered} openings were answered, {load.failed} rounds of the load failed (faults do that)")
    print(f"{len(fired)} alerts of {len(prometheus.alerts())} were raised by faults; rules_test.yml shows the others:")
    print("  " + ", ".join(silent))
    print(f"the panels' data: {options.page}")
    failed = [result.name for result in results if not result.good]
    print(f"NOT AS IT SHOULD BE: {'; '.join(failed)}" if failed else "all was as it should be")
    return 1 if failed else 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    binaries = [ROOT / "target" / profile for profile in ("release", "debug")]
    there = next((folder for folder in binaries if (folder / "hongbao-testbed").exists()), binaries[0])
    parser.add_argument("--calm", type=int, default=120, metavar="SECONDS")
    parser.add_argument("--only", default="", metavar="WORDS")
    parser.add_argument("--binaries", type=Path, default=there, metavar="DIR")
    parser.add_argument("--page", type=Path, default=ROOT / "target" / "observe.html", metavar="FILE")
    return parser.parse_args()


class Result:
    """One line of the table."""

    def __init__(self, name, good, words, raised=(), began=None, ended=None):
        self.name, self.good, self.words, self.raised = name, good, words, set(raised)
        self.began, self.ended = began or time.time(), ended or time.time()
        print(f"{'ok  ' if good else 'FAIL'} {name:<42} {words}", flush=True)


def calm(prometheus, load, dashboard, seconds):
    """Every query gives data, and no alert fires."""
    time.sleep(SETTLE_S)
    began = time.time()
    time.sleep(seconds)
    fired = prometheus.fired_since(began)
    words = f"no alert in {seconds} s, {load.answered} openings" if not fired else f"fired: {', '.join(sorted(fired))}"
    results = [Result("all is well", not fired and load.answered > 0, words, began=began)]
    empty, asked = [], 0
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            asked += 1
            expression = target["expr"].replace("$__rate_interval", WINDOW)
            series = prometheus.query_range(expression, time.time() - 30, time.time(), 5)
            if not any(value != "NaN" for one in series for _, value in one["values"]):
                empty.append(f"{panel['title']}: {target['expr']}")
    words = f"all {asked} give data" if not empty else "no data: " + "; ".join(empty)
    down = [one["metric"]["instance"] for one in prometheus.query('up{job="hongbao"} == 0')]
    results.append(Result("queries of the dashboard", not empty, words))
    results.append(Result("targets", not down, f"not scraped: {', '.join(down)}" if down else "all are scraped"))
    return results


def try_fault(it, prometheus, fault):
    """Its alerts fire, and are silent again when it is undone."""
    began, seen = time.time(), {}

    def all_fire():
        for alert in prometheus.firing():
            seen.setdefault(alert, time.time() - began)
        return fault.alerts <= set(seen)

    made = fault.make(it)
    try:
        good = wait_until(all_fire, FIRES_WITHIN_S)
    finally:
        fault.undo(it, made)
    undone = time.time()
    is_silent = wait_until(lambda: not prometheus.firing(), SILENT_WITHIN_S)
    words = ", ".join(f"{alert[7:]} {seen[alert]:.0f} s" for alert in sorted(fault.alerts & set(seen), key=seen.get))
    others = sorted(set(seen) - fault.alerts)
    if others:
        words += f"; also {', '.join(alert[7:] for alert in others)}"
    if not good:
        words += f"; NOT: {', '.join(sorted(fault.alerts - set(seen)))}"
    words += f"; silent {time.time() - undone:.0f} s after" if is_silent else \
        f"; STILL: {', '.join(sorted(prometheus.firing()))}"
    return Result(fault.name, good and is_silent, words, seen, began, undone)


if __name__ == "__main__":
    sys.exit(main())
