#!/usr/bin/env python3
"""Checks the container files as far as that is possible without a container engine.

    target/containers/bin/python ops/containers/check.py BINARY

hadolint reads the Dockerfile, the schema of the Compose specification compose.yaml, and the schemas of Kubernetes
each manifest. Then BINARY, a `hongbao`, is run with `--check` as each container would run it: with its arguments,
its two files, and an environment as secrets.sh makes it. Files and services that one file names in another are
there. It ends at the first thing that is wrong."""
import os, subprocess, sys, tempfile
from pathlib import Path

import yaml

binary = Path(sys.argv[1]).resolve()
ops = Path(__file__).resolve().parent.parent
tools = Path(sys.executable).parent
containers, kubernetes = ops / "containers", ops / "kubernetes"


def require(holds, what):
    if not holds:
        sys.exit(f"check.py: {what}")


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    require(done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout


folder = tempfile.TemporaryDirectory()
secrets = Path(folder.name) / "secrets"
run(containers / "secrets.sh", secrets)
environment = dict(line.split("=", 1) for line in (secrets / "hongbao.env").read_text().splitlines())
require(len(set(environment.values())) == 3, "three secrets that differ")


def check_role(arguments, config):
    """The role with its arguments, whose folder /etc/hongbao is `config`."""
    if arguments[0] in ("gateway", "server", "worker"):
        words = [word.replace("/etc/hongbao", str(config)) for word in arguments]
        run(binary, *words, "--check", env=environment)


run(tools / "hadolint", ops.parent / "Dockerfile")

run(tools / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", containers / "compose.yaml")
compose = yaml.safe_load((containers / "compose.yaml").read_text())
services = compose["services"]
roles = 0
for name, service in services.items():
    for other in service.get("depends_on", {}):
        require(other in services, f"{name} depends on {other}")
    if service["image"].startswith("hongbao"):
        check_role(service["command"], containers / "config")
        roles += service["command"][0] in ("gateway", "server", "worker")
    else:
        require("@sha256:" in service["image"] or service["image"].count(".") == 2, f"{name}: its image is pinned")
    require(service.get("read_only") or name == "mariadb", f"{name}: its root is read-only")
require(roles == 4, f"four processes of the installation, not {roles}")
topology = (containers / "config/topology.toml").read_text()
for name in ["mariadb:3306", "redis:6379", "memcached-a1:11211", "memcached-a2:11211", "a1:9000", "gateway:8080"]:
    require(name in topology and name.split(":")[0] in services, f"{name} in the topology and in compose.yaml")

manifests = [path for path in sorted(kubernetes.glob("*.yaml")) if path.name != "kustomization.yaml"]
run(tools / "kubernetes-validate", "--strict", "--quiet", *manifests)
listed = set(yaml.safe_load((kubernetes / "kustomization.yaml").read_text())["resources"])
there = {path.name for path in manifests if not path.name.endswith(".example.yaml")}
require(listed == there, f"kustomization.yaml lists {listed ^ there}")
objects = [found for path in manifests for found in yaml.safe_load_all(path.read_text())]
config = next(found for found in objects if found["kind"] == "ConfigMap" and found["metadata"]["name"] == "hongbao")
mounted = Path(folder.name) / "etc"
mounted.mkdir()
for name, text in config["data"].items():
    (mounted / name).write_text(text)
secret = next(found for found in objects if found["kind"] == "Secret" and found["metadata"]["name"] == "hongbao")
require(secret["stringData"].keys() == environment.keys(), "secret.example.yaml has the names that secrets.sh makes")
roles = 0
for found in objects:
    spec = found.get("spec", {})
    pods = spec.get("jobTemplate", {}).get("spec", spec).get("template", {}).get("spec")
    if pods is None:
        continue
    name = found["metadata"]["name"]
    require(pods["enableServiceLinks"] is False, f"{name}: no variables of services")
    require(pods["securityContext"]["runAsNonRoot"], f"{name}: not as root")
    for container in pods["containers"]:
        context = container["securityContext"]
        require(context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"], f"{name}: hardened")
        if not container["image"].startswith("hongbao"):
            continue
        # The names of a StatefulSet's pods.
        for number in range(spec.get("replicas", 1)):
            check_role([word.replace("$(POD_NAME)", f"{name}-{number}") for word in container["args"]], mounted)
            roles += container["args"][0] in ("gateway", "server", "worker")
require(roles == 6, f"six pods of the installation, not {roles}")
print(f"the Dockerfile, {len(services)} services and {len(objects)} manifests are as they should be")
