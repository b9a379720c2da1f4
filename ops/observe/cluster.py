"""The cluster of `try.py`: `hongbao-testbed start --faults` on free ports, and what can be done to its parts."""

import os
import re
import signal
import socket
import subprocess
import time


# Before a command: the kernel ends it when this process ends, however that ends.
BOUND = ["setpriv", "--pdeathsig", "KILL", "--"]


def free_ports(count):
    """The first of so many ports in a row that are free, below those that the kernel gives away."""
    first = 24_000 + os.getpid() % 60 * 100
    for start in range(first, first + 5_000, 100):
        try:
            for port in range(start, start + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return start
        except OSError:
            continue
    raise SystemExit(f"no {count} ports in a row are free from {first} on")


class Cluster:
    """It ends with this process, however that ends."""

    def __init__(self, binaries, folder):
        self.binaries, self.folder, self.beside = binaries, folder, []
        self.ports = free_ports(60)
        self.gateway, self.prometheus, self.dev = (f"127.0.0.1:{self.ports + number}" for number in range(3))
        self.testbed("start", "--faults", "--port", str(self.ports + 3), "--gateway", self.gateway,
                     "--until", str(os.getpid()))

    def testbed(self, *words):
        """Runs a command of hongbao-testbed, which must succeed."""
        command = [self.binaries / "hongbao-testbed", "--data", self.folder, *words]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"hongbao-testbed {' '.join(words)}: {done.stderr or done.stdout}")
        return done.stdout

    def kill(self, *parts):
        self.testbed("kill", *parts)

    def run(self, *parts):
        self.testbed("run", *parts)

    def pause(self, *parts):
        self.testbed("pause", *parts)

    def resume(self, *parts):
        self.testbed("resume", *parts)

    def pid(self, part):
        return int((self.folder / "run" / f"{part}.pid").read_text().split()[0])

    def sql(self, database, statement):
        """Runs SQL as root; what it printed, a row a line."""
        client = ["mariadb", "--no-defaults", "--user=root", "--batch", "--raw", "--skip-column-names"]
        client += [f"--socket={self.folder / database / 'mysqld.sock'}", f"--execute={statement}"]
        return subprocess.run(client, check=True, capture_output=True, text=True).stdout

    def redis(self, part, *words):
        port = next(line.split()[1].rsplit(":", 1)[1] for line in self.testbed("status").splitlines()
                    if line.split()[0] == part)
        subprocess.run(["redis-cli", "-p", port, *words], check=True, capture_output=True)

    def change_topology(self, change):
        """Replaces the file that the gateway reads by a changed one of a higher version."""
        path = self.folder / "topology-gateway.toml"
        text = path.read_text()
        version = int(re.search(r"^version = (\d+)", text, re.M)[1])
        changed = change(re.sub(r"^version = \d+", f"version = {version + 1}", text, count=1, flags=re.M))
        new = path.with_suffix(".new")
        new.write_text(changed)
        new.rename(path)
        return text

    def with_other_environment(self, part, environment):
        """Starts a gateway or a server anew with these variables, in the place of the testbed's process."""
        self.kill(part)
        role = "gateway" if part == "gateway" else "server"
        return self.start_hongbao([role, "--config", self.folder / "hongbao.toml", "--name", part], environment)

    def start_hongbao(self, words, environment=()):
        """A process of ours beside those of the testbed; it is there when it says where it listens."""
        own = {key: value for key, value in os.environ.items() if not key.startswith("HONGBAO_")} | dict(environment)
        with (self.folder / "beside.log").open("a") as log:
            command = [*BOUND, self.binaries / "hongbao", *words]
            process = subprocess.Popen(command, env=own, stdout=subprocess.PIPE, stderr=log, text=True)
        if not process.stdout.readline().startswith("listening on"):
            raise SystemExit(f"hongbao {words[0]} does not start: {(self.folder / 'beside.log').read_text()}")
        self.beside.append(process)
        return process

    def stop(self):
        """Ends everything."""
        for process in self.beside:
            end(process)
        self.testbed("stop")


def end(process):
    """Ends a process that this one has started, if it has not ended."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(holds, seconds, every=0.5):
    """Looks until it holds; whether it did in time."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(every)
    return True
