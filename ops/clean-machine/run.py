#!/usr/bin/env python3
"""Performs docs/from-an-empty-debian.md in an empty Debian, which ends with an audit.

    ops/clean-machine/run.py FOLDER

FOLDER has the package that `make deb` has written. debootstrap makes the Debian, boot.sh boots its systemd, and
each block of the page that is marked as shell runs inside, as it stands. The Debian has no network but its
loopback and a link to a second network namespace, from which the firewall is tried at the end; blocks that begin
with apt-get, and no daemon, run with the network of this machine. Nothing here listens outside of the namespaces.
Root is needed. It ends at the first command that fails."""
import os, re, shutil, signal, subprocess, sys, time
from pathlib import Path

here = Path(__file__).resolve().parent
ops = here.parent
page = ops.parent / "docs/from-an-empty-debian.md"
work = ops.parent / "target/clean-machine"
base, root = work / "base", work / "root"
MIRROR = "http://deb.debian.org/debian"
INSIDE, OUTSIDE = "192.0.2.1", "192.0.2.2"


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, **options)


def make_debian():
    """An empty Debian with what every host has: systemd, and a way to look at its network."""
    if not (base / "etc/hongbao-clean-machine").exists():
        shutil.rmtree(base, ignore_errors=True)
        work.mkdir(parents=True, exist_ok=True)
        print("making an empty Debian", flush=True)
        extra = "systemd,systemd-sysv,dbus,iproute2,netbase"
        run("debootstrap", "--variant=minbase", f"--include={extra}", "bookworm", base, MIRROR, stdout=subprocess.DEVNULL)
        # No terminal to log in at, and names as on this machine while packages are fetched.
        (base / "etc/systemd/system/console-getty.service").symlink_to("/dev/null")
        (base / "etc/hongbao-clean-machine").touch()
    shutil.rmtree(root, ignore_errors=True)
    run("cp", "-a", base, root)
    shutil.copyfile("/etc/resolv.conf", root / "etc/resolv.conf")
    for name in Path("/etc/apt").glob("apt.conf.d/*proxy*"):
        shutil.copyfile(name, root / "etc/apt/apt.conf.d" / name.name)


def put_packages(folder):
    """The package, and the same as a later version to upgrade to."""
    packages = sorted(Path(folder).glob("hongbao_*.deb"))
    if len(packages) != 1:
        sys.exit(f"{folder} has {len(packages)} packages of hongbao: `make deb` writes one")
    first = packages[0].name
    shutil.copyfile(packages[0], root / "root" / first)
    later, unpacked = first.replace("-1_", "-2_"), work / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    run("dpkg-deb", "--raw-extract", packages[0], unpacked)
    control = unpacked / "DEBIAN/control"
    control.write_text(re.sub(r"^(Version: .*-)1$", r"\g<1>2", control.read_text(), flags=re.MULTILINE))
    run("dpkg-deb", "-Zgzip", "-z1", "--build", unpacked, root / "root" / later, stdout=subprocess.DEVNULL)
    shutil.rmtree(unpacked)


class Machine:
    """The Debian while it runs."""

    def __init__(self):
        self.boot = subprocess.Popen([here / "boot.sh", root], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.neighbour = None
        deadline = time.monotonic() + 60
        while not self.answers():
            if time.monotonic() > deadline or self.boot.poll() is not None:
                sys.exit("the Debian does not boot")
            time.sleep(0.5)

    def answers(self):
        children = Path(f"/proc/{self.boot.pid}/task/{self.boot.pid}/children").read_text().split()
        self.first = children[0] if children else None
        if self.first is None or Path(f"/proc/{self.first}/comm").read_text() != "systemd\n":
            return False
        state = self.inside("systemctl is-system-running", capture_output=True, text=True).stdout.strip()
        return state in ("running", "degraded")

    def inside(self, script, network=True, **options):
        namespaces = ["-m", "-p", "-u", "-i", "-C"] + ["-n"] * network
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
        command = ["nsenter", "-t", self.first, *namespaces, "-r", "-w", "bash", "-euo", "pipefail", "-c"]
        return subprocess.run(command + ["cd /root; " + script], env=environment, **options)

    def outside(self, *command):
        """Runs a command of this machine in the namespace beyond the firewall; whether it succeeds."""
        if self.neighbour is None:
            self.neighbour = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
            time.sleep(0.5)
            enter = ["nsenter", "-n", "-t", self.neighbour.pid]
            run("nsenter", "-n", "-t", self.first, "ip", "link", "add", "outside", "type", "veth", "peer", "name", "inside",
                "netns", self.neighbour.pid)
            run("nsenter", "-n", "-t", self.first, "ip", "address", "add", f"{INSIDE}/24", "dev", "outside")
            run("nsenter", "-n", "-t", self.first, "ip", "link", "set", "outside", "up")
            run(*enter, "ip", "address", "add", f"{OUTSIDE}/24", "dev", "inside")
            run(*enter, "ip", "link", "set", "inside", "up")
        enter = ["nsenter", "-n", "-t", str(self.neighbour.pid)]
        return subprocess.run(enter + [str(word) for word in command], capture_output=True).returncode == 0

    def end(self):
        for process in filter(None, [self.first, self.neighbour and self.neighbour.pid]):
            os.kill(int(process), signal.SIGKILL)
        self.boot.wait()
        for groups in Path("/sys/fs/cgroup").glob(f"**/clean-machine-{self.boot.pid}"):
            for folder, _, _ in list(os.walk(groups, topdown=False)):
                os.rmdir(folder)


def main():
    if os.geteuid() != 0:
        sys.exit("root is needed: for debootstrap and for the namespaces")
    make_debian()
    put_packages(sys.argv[1])
    blocks = re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    machine = Machine()
    try:
        for number, block in enumerate(blocks, 1):
            first = block.splitlines()[0]
            print(f"\n=== {number} of {len(blocks)}: {first}", flush=True)
            fetches = first.startswith("apt-get")
            options = {"timeout": 900, "stdout": subprocess.DEVNULL if fetches else None}
            if machine.inside(block, network=not fetches, **options).returncode != 0:
                machine.inside("systemctl --failed --no-pager; journalctl --no-pager --lines 40 --output cat")
                sys.exit(f"block {number} of {page.name} failed")
        print("\n=== from outside", flush=True)
        certificate = root / "etc/haproxy/pay.example.crt"
        reached = ["curl", "--silent", "--fail", "--max-time", 5, "--cacert", certificate,
                   "--resolve", f"pay.example:443:{INSIDE}"]
        for path, expected in [("/healthz", True), ("/metrics", False), ("/readyz", False)]:
            if machine.outside(*reached, f"https://pay.example{path}") != expected:
                sys.exit(f"{path} is{' not' * expected} reached from outside")
        for port in [3306, 6379, 8080, 9000, 9100, 11211]:
            if machine.outside("bash", "-c", f"timeout 2 bash -c '</dev/tcp/{INSIDE}/{port}'"):
                sys.exit(f"port {port} is reached from outside")
        print("HTTPS is reached, metrics and all other ports are not")
    finally:
        machine.end()
    print(f"\n{len(blocks)} blocks of {page.name} did what it says")


main()
