"""Faults that `try.py` makes, each with the alerts that it must raise. All are undone."""

import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Callable

import cluster

TRIGGER = "wallet_00.transfer_refuses_delete"


@dataclass
class Fault:
    """What is done, and undone; `make` may give what `undo` needs."""

    name: str
    alerts: set
    make: Callable
    undo: Callable


def parts(name, alerts, *names):
    """Parts that are killed and started again."""
    return Fault(name, alerts, lambda it: it.kill(*names), lambda it, _: it.run(*names))


def paused(name, alerts, *names):
    return Fault(name, alerts, lambda it: it.pause(*names), lambda it, _: it.resume(*names))


def restart_thrice(it):
    for _ in range(3):
        it.kill("b-w2")
        it.run("b-w2")
        time.sleep(2)


def short_of_files(it):
    pid = it.pid("a1")
    limits = subprocess.run(["prlimit", "--nofile", "--noheadings", "--output=SOFT", f"--pid={pid}"],
                            check=True, capture_output=True, text=True).stdout.strip()
    in_use = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    subprocess.run(["prlimit", f"--nofile={in_use + 4}:", f"--pid={pid}"], check=True)
    return limits


def enough_files(it, limit):
    subprocess.run(["prlimit", f"--nofile={limit}:", f"--pid={it.pid('a1')}"], check=True)


def few_connections(it):
    settings = {"HONGBAO_HTTP__CONNECTIONS_MAX": "20", "HONGBAO_TOPOLOGY": str(it.folder / "topology-gateway.toml")}
    gateway = it.with_other_environment("gateway", settings)
    host, port = it.gateway.split(":")
    return gateway, [socket.create_connection((host, int(port))) for _ in range(60)]


def many_connections(it, made):
    gateway, connections = made
    for connection in connections:
        connection.close()
    cluster.end(gateway)
    it.run("gateway")


def clock_ahead(it):
    clock = {"LD_PRELOAD": "/usr/$LIB/faketime/libfaketime.so.1", "FAKETIME": "+10s",
             "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
    return it.with_other_environment("b1", clock)


def clock_right(it, server):
    cluster.end(server)
    it.run("b1")


def broken_topology(it):
    return it.change_topology(lambda text: text + "\nthis is no topology\n")


def canary(it):
    rule = 'canary = { window_s = 10, requests_min = 5, p99_ms_max = 1 }'
    return it.change_topology(lambda text: text.replace('name = "b"\n', f'name = "b"\n{rule}\n', 1))


def topology_of_before(it, text):
    """With a higher version than any that was in force."""
    path = it.folder / "topology-gateway.toml"
    if "this is no topology" in path.read_text():
        path.write_text(text)
    else:
        it.change_topology(lambda _: next_version(path.read_text(), text))


def next_version(current, text):
    lines = text.splitlines()
    version = next(int(line.split()[2]) for line in current.splitlines() if line.startswith("version = "))
    return "\n".join(f"version = {version + 1}" if line.startswith("version = ") else line for line in lines) + "\n"


def without_trigger(it):
    made = it.sql("wallet-mariadb", f"SHOW CREATE TRIGGER {TRIGGER}").split("\t")[2]
    it.sql("wallet-mariadb", f"DROP TRIGGER {TRIGGER}")
    return made


def with_trigger(it, made):
    it.sql("wallet-mariadb", f"USE wallet_00; {made}")


def wrong_entry(it):
    """An entry of the journal that was credited is changed and to be credited again: the wallet refuses it."""
    # Day tables are dated in the zone of the settings, UTC+8.
    day = (datetime.now(timezone.utc) + timedelta(hours=8)).strftime("%d")
    for database in it.sql("a-mariadb", r"SHOW DATABASES LIKE 'db\___'").split():
        envelope, entry = f"{database}.envelope_0_{day}", f"{database}.entry_0_{day}"
        settled = it.sql("a-mariadb", f"SELECT hex(id), stage, settled_seq FROM {envelope} WHERE settled_seq > 0 "
                                      "ORDER BY created_at_ms DESC LIMIT 1").split()
        if settled:
            break
    of_id, (_, stage, seq) = f"= unhex('{settled[0]}')", settled
    change_entry(it, f"UPDATE {envelope} SET settled_seq = 0, stage = 1 WHERE id {of_id}; "
                     f"UPDATE {entry} SET amount_fen = amount_fen + 1 WHERE envelope_id {of_id} AND seq = 1")
    return (f"UPDATE {entry} SET amount_fen = amount_fen - 1 WHERE envelope_id {of_id} AND seq = 1; "
            f"UPDATE {envelope} SET settled_seq = {seq}, stage = {stage} WHERE id {of_id}")


def change_entry(it, statements):
    """Workers that are started read the journal from its begin."""
    it.sql("a-mariadb", f"BEGIN; {statements}; COMMIT")
    it.kill("a-w1", "a-w2")
    it.run("a-w1", "a-w2")


def full_disk(it):
    """No file grows any more, and what was free inside them is taken."""
    it.sql("a-mariadb", "CREATE DATABASE IF NOT EXISTS filler; CREATE TABLE filler.rows_of_it (piece LONGBLOB)")
    it.testbed("fill", "a-mariadb")
    for size in (1_000_000, 100_000, 10_000, 1_000):
        try:
            while True:
                it.sql("a-mariadb", f"INSERT INTO filler.rows_of_it VALUES (REPEAT('x', {size}))")
        except subprocess.CalledProcessError:
            pass


def empty_disk(it, _):
    it.resume("a-mariadb")
    it.sql("a-mariadb", "DROP DATABASE filler")


def flush(database, value):
    return lambda it, *_: it.sql(database, f"SET GLOBAL innodb_flush_log_at_trx_commit = {value}")


def full_redis(it):
    it.redis("a-redis", "config", "set", "maxmemory-policy", "noeviction")
    it.redis("a-redis", "config", "set", "maxmemory", "1")


def room_in_redis(it, _):
    it.redis("a-redis", "config", "set", "maxmemory", "128mb")
    it.redis("a-redis", "config", "set", "maxmemory-policy", "allkeys-lru")


def move_data(it):
    data = it.folder / "dev" / "data"
    shutil.move(data, data.with_name("elsewhere"))


def move_data_back(it, _):
    data = it.folder / "dev" / "data"
    if data.exists():
        shutil.rmtree(data)
    shutil.move(data.with_name("elsewhere"), data)


FAULTS = [
    parts("a server is killed", {"HongbaoServerDown", "HongbaoServerNotUp"}, "a1"),
    paused("a server hangs", {"HongbaoServerDown", "HongbaoServerNotUp"}, "a1"),
    parts("both servers of a SET are killed",
          {"HongbaoSetWithoutServer", "HongbaoSetTakesNothingNew", "HongbaoRequestsUnavailable", "HongbaoServerDown"},
          "a1", "a2"),
    parts("a worker is killed", {"HongbaoWorkerDown"}, "a-w1"),
    parts("the gateway is killed", {"HongbaoGatewayDown"}, "gateway"),
    Fault("a worker is started again and again", {"HongbaoRestarting"}, restart_thrice, lambda it, _: None),
    paused("a SET's database hangs",
           {"HongbaoDatabaseDown", "HongbaoServerNotReady", "HongbaoSetTakesNothingNew", "HongbaoOpeningsFailing",
            "HongbaoOpeningsBusy", "HongbaoRequestsBusy", "HongbaoBatchesFailing", "HongbaoJobRunsNowhere",
            "HongbaoRotationFailing"},
           "a-mariadb"),
    parts("a SET's database is killed", {"HongbaoDatabaseDown", "HongbaoSetTakesNothingNew"}, "b-mariadb"),
    Fault("a SET's database has a full disk", {"HongbaoOpeningsFailing", "HongbaoBatchesFailing"},
          full_disk, empty_disk),
    Fault("a SET's database is slow", {"HongbaoOpeningsSlow"},
          lambda it: it.testbed("slow", "a-mariadb", "300"), lambda it, _: it.resume("a-mariadb")),
    paused("the wallet's database hangs",
           {"HongbaoCreditsStopped", "HongbaoJobFailing", "HongbaoWorkerSteppedAside"}, "wallet-mariadb"),
    Fault("durability is switched off", {"HongbaoNotDurable", "HongbaoPromisesBroken", "HongbaoServerNotReady"},
          flush("a-mariadb", 0), flush("a-mariadb", 1)),
    Fault("a trigger of the ledger is dropped", {"HongbaoLedgerUnguarded"}, without_trigger, with_trigger),
    Fault("an entry of the journal is changed after its credit", {"HongbaoCreditsStuck", "HongbaoCreditsRefused"},
          wrong_entry, change_entry),
    parts("memcached is killed", {"HongbaoMemcachedAway"}, "a1-memcached", "a2-memcached"),
    parts("Redis is killed", {"HongbaoRedisAway"}, "a-redis"),
    Fault("Redis is full", {"HongbaoRedisRefusesWrites"}, full_redis, room_in_redis),
    Fault("the topology file is broken", {"HongbaoTopologyRefused"}, broken_topology, topology_of_before),
    Fault("a canary is too slow", {"HongbaoCanaryWithdrawn"}, canary, topology_of_before),
    Fault("file descriptors run short", {"HongbaoFileDescriptorsShort"}, short_of_files, enough_files),
    Fault("too many connections", {"HongbaoConnectionsRefused"}, few_connections, many_connections),
    Fault("the clock of a server is 10 s ahead", {"HongbaoClockAhead"}, clock_ahead, clock_right),
    Fault("the folder of hongbao dev is moved away", {"HongbaoDataDamaged"}, move_data, move_data_back),
]
