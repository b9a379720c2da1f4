"""Prometheus beside the cluster of `try.py`, with the files of this folder, and questions to it."""

import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import cluster
import targets
import tomllib

HERE = Path(__file__).parent
PROGRAM = HERE.parents[1] / "target" / "prometheus" / "prometheus"
# Instead of the seconds and minutes of the rules, while faults are made: a person waits for them.
FAULT_FOR, FAULT_WINDOW = "1s", "20s"


class Prometheus:
    """It scrapes and judges each second."""

    def __init__(self, folder, of_cluster):
        self.folder, self.address = folder / "prometheus", of_cluster.prometheus
        self.folder.mkdir()
        scrape = (HERE / "prometheus.yml").read_text()
        scrape = re.sub(r"(scrape_interval|scrape_timeout|evaluation_interval): \S+", r"\1: 1s", scrape)
        (self.folder / "prometheus.yml").write_text(scrape)
        with (of_cluster.folder / "topology.toml").open("rb") as file:
            self.targets = targets.targets(tomllib.load(file))
        self.targets.append({"targets": [of_cluster.dev], "labels": {"role": "dev", "instance": "dev"}})
        self.scrape(self.targets)
        self.rules = (HERE / "rules.yml").read_text()
        (self.folder / "rules.yml").write_text(self.rules)
        log = (self.folder / "log").open("w")
        options = [f"--config.file={self.folder / 'prometheus.yml'}", f"--storage.tsdb.path={self.folder / 'data'}",
                   f"--web.listen-address={self.address}", "--web.enable-lifecycle", "--log.level=warn"]
        self.process = subprocess.Popen([*cluster.BOUND, PROGRAM, *options], stdout=log, stderr=log)
        of_cluster.beside.append(self.process)
        self.started = time.time()
        if not cluster.wait_until(self.is_ready, 30):
            raise SystemExit(f"Prometheus does not start: see {self.folder / 'log'}")

    def scrape(self, groups):
        """Prometheus looks at that file by itself."""
        new = self.folder / "targets.new"
        new.write_text(json.dumps(groups))
        new.rename(self.folder / "targets.json")

    def hurry(self):
        """From now on no alert waits, and none looks far back."""
        rules = re.sub(r"for: \S+", f"for: {FAULT_FOR}", self.rules)
        rules = re.sub(r"\[(1|5|10|15)m\]", f"[{FAULT_WINDOW}]", rules)
        (self.folder / "rules.yml").write_text(rules)
        self.ask("/-/reload", b"")

    def ask(self, path, body=None):
        with urllib.request.urlopen(urllib.request.Request(f"http://{self.address}{path}", body), timeout=30) as answer:
            return answer.read()

    def is_ready(self):
        try:
            self.ask("/-/ready")
            return True
        except (OSError, urllib.error.URLError):
            return False

    def query(self, expression):
        """What an expression gives now."""
        return self.result("query", query=expression)

    def query_range(self, expression, start, end, step):
        return self.result("query_range", query=expression, start=start, end=end, step=step)

    def result(self, what, **parameters):
        answer = json.loads(self.ask(f"/api/v1/{what}?{urllib.parse.urlencode(parameters)}"))
        return answer["data"]["result"]

    def firing(self):
        """The alerts that fire now."""
        return {series["metric"]["alertname"] for series in self.query('ALERTS{alertstate="firing"}')}

    def fired_since(self, start):
        seconds = int(time.time() - start) + 1
        series = self.query(f'count_over_time(ALERTS{{alertstate="firing"}}[{seconds}s])')
        return {one["metric"]["alertname"] for one in series}

    def alerts(self):
        """All alerts of the rules."""
        return re.findall(r"- alert: (\w+)", self.rules)
