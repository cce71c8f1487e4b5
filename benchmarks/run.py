#!/usr/bin/env python3
"""Measures both services beside tuned peers on this machine, on 127.0.0.1 only.

    benchmarks/run.py            the short form, under ten minutes once everything is built
    benchmarks/run.py --full     longer and more rounds, FastAPI at each scenario
    benchmarks/run.py --write    writes docs/performance.md and its chart from this run
    benchmarks/run.py vehicle insurance    these parts only
"""

import argparse
import datetime
import json
import signal
import statistics
import subprocess
import sys
import time

from kit import kills, machine, race, relay, replica, replica_kills, writes
from kit.capacity import Overload
from kit.data import Requests
from kit.goals import missed
from kit.load import Bench
from kit.log import Log
from kit.page import write_page
from kit.stack import FOLDER, RELEASE, ROOT, Database, Services, Stack, build, build_peers

READS = ["process", "limits", "vehicle", "insurance", "overload"]
WRITES = ["writes", "log", "kills"]
# `kills` and `replica` end the PostgreSQL of the others again and again.
PARTS = [*READS, "relay", *WRITES, "replica"]
SMALL = 10_000
# Beside 64.
OTHER_CONNECTIONS = [1, 16, 1500, 2500, 4000]


class Run:
    """The parts of one run."""

    def __init__(self, options, stack):
        self.full, self.events, self.stack = options.full, options.events, stack
        self.rounds, self.seconds = (5, 5) if self.full else (3, 2)
        self.database = Database(stack)
        self.facts, self.records = {}, []

    def load(self):
        """The data of the parts that read."""
        tell("loading the data, once for each state of the schema")
        vehicles, persons = (1_000_000, 300_000) if self.full else (1_000_000, 100_000)
        name, small = self.database.load(vehicles, persons), self.database.load(SMALL, 16)
        self.services = Services(self.stack, self.database, name)
        self.small = Services(self.stack, self.database, small)
        self.requests = Requests(FOLDER, vehicles, persons).all()
        small_folder = FOLDER / "small"
        small_folder.mkdir(exist_ok=True)
        self.small_requests = Requests(small_folder, SMALL, 16).all()
        self.bench = Bench(self.stack, machine.postgres_pid(self.database.port), self.seconds)
        self.records = self.bench.records

    def end(self, candidates):
        for candidate in candidates:
            self.stack.stop(candidate.process)

    def process(self):
        """Start-up and memory at rest."""
        starts = {"ours": self.services.ours, "node": self.services.node}
        starts |= {"python": self.services.python} if self.full else {}
        for name, start in starts.items():
            times, memory = [], []
            for _ in range(5):
                begun = time.monotonic()
                candidate = start("vehicle")
                times.append(1e3 * (time.monotonic() - begun))
                time.sleep(1)
                memory.append(machine.memory_mb(candidate.process.pid))
                self.end([candidate])
            self.facts[f"start {name}"] = {"ms": statistics.median(times), "memory_mb": statistics.median(memory)}

    def limits(self):
        """A static answer with and without the edge, a token, and one row straight from PostgreSQL."""
        candidates = [self.services.limit(kind) for kind in ("hyper", "axum", "edge")]
        self.bench.rounds([("static", self.requests["static"], candidates, {})], self.rounds)
        self.bench.rounds([("401 at the edge", self.requests["401"], candidates[-1:], {})], self.rounds)
        run = subprocess.run([RELEASE / "benchmarks", "tokens", "20000"], stdout=subprocess.PIPE, text=True, check=True)
        self.facts["token_us"] = float(run.stdout)
        print(f"a token is verified in {self.facts['token_us']} us", flush=True)
        self.facts["pgbench"] = self.database.pgbench(self.services.name, self.bench.postgres)
        self.end(candidates)

    def vehicle(self):
        services, bench = self.services, self.bench
        ours, node, bare = services.ours("vehicle"), services.node("vehicle"), services.node("vehicle", "node, bare", duties=False)
        plain, python = services.limit("sqlx"), services.python("vehicle")
        small = self.small.ours("vehicle", "ours, 10,000")
        slowest = [python] if self.full else []
        scenarios = [
            ("hit", self.requests["hit"], [ours, node, bare, plain, python], {}),
            ("hit", self.small_requests["hit"], [small], {}),
            ("miss", self.requests["miss"], [ours, node, bare, plain, *slowest], {}),
            ("batch", self.requests["batch"], [ours, node, bare, plain, *slowest], {}),
            ("401", self.requests["401"], [ours, node, bare, *slowest], {}),
        ]
        bench.rounds(scenarios, self.rounds)
        for connections in OTHER_CONNECTIONS:
            sweep = ("hit", self.requests["hit"], [ours, node, plain], {"connections": connections})
            bench.rounds([sweep], self.rounds if self.full else 1, warm=True)
        self.end([ours, node, bare, plain, python, small])

    def insurance(self):
        services, bench = self.services, self.bench
        vehicle, node_vehicle = services.ours("vehicle"), services.node("vehicle")
        off = {"VEHICLE_CLIENT__CACHE__ENABLED": "false"}
        batch = {"FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL": "true"}
        # As many calls as the peers make.
        wide = {"VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_SINGLE": "64"}
        start = lambda **settings: services.ours("insurance", upstream=vehicle, **settings)
        default, single_off = start(), start(**off, **wide)
        batch_warm, batch_off = start(**batch), start(**off, **batch)
        node, node_batch = (services.node("insurance", upstream=node_vehicle, batch=batch) for batch in (False, True))
        started = [vehicle, node_vehicle, default, single_off, batch_warm, batch_off, node, node_batch]
        peers, batch_peers = [node], [node_batch]
        if self.full:
            python_vehicle = services.python("vehicle")
            python, python_batch = (services.python("insurance", upstream=python_vehicle, batch=batch) for batch in (False, True))
            started += [python_vehicle, python, python_batch]
            peers.append(python), batch_peers.append(python_batch)
        scenarios = [
            ("1 car, cache warm", "1 car warm", default, peers),
            ("1 car, cache off", "1 car", single_off, peers),
            ("8 cars single, cache warm", "8 cars warm", default, peers),
            ("8 cars single, cache off", "8 cars", single_off, peers),
            ("8 cars batch, cache warm", "8 cars warm", batch_warm, batch_peers),
            ("8 cars batch, cache off", "8 cars", batch_off, batch_peers),
        ]
        bench.rounds([(name, self.requests[file], [ours, *others], {}) for name, file, ours, others in scenarios], self.rounds)
        self.end(reversed(started))

    def overload(self):
        """Beyond capacity, one candidate at a time, because nothing else may run meanwhile."""
        for start in (self.services.ours, self.services.node):
            candidate = start("vehicle")
            overload = Overload(self.bench, candidate, self.requests["hit"], self.bench.seconds)
            self.facts[f"overload {candidate.name}"] = overload.run()
            self.end([candidate])

    def writes(self):
        """A change with its event and its key, the way of the event to a reader, and a race for covers."""
        self.facts["write"] = writes.cost(self.stack, self.database, self.full)
        self.facts["lag"] = writes.lag(self.stack, self.database, self.full)
        self.facts["race"] = race.run(self.stack, self.database)

    def log(self):
        """Questions to a long event log, proofs out of it, and its verification."""
        self.facts["log"] = Log(self.stack, self.database, self.events).run()

    def replica(self):
        """The copy of Vehicle's cars, and whether it is whole after processes were killed."""
        self.facts["replica"] = replica.Replica(self.stack, self.database, self.full).run()
        dose = replica_kills.Dose(200, 50, 20, 100_000, 5) if self.full else replica_kills.Dose(12, 6, 2, 6_000, 1)
        self.facts["replica kills"] = replica_kills.ReplicaKills(self.stack, self.database).run(dose)

    def relay(self):
        """The way of an event to a stream of NATS."""
        self.facts["relay"] = relay.lag(self.stack, self.database, self.full)

    def kills(self):
        """Writes while services, connections and PostgreSQL are killed."""
        self.facts["kills"] = kills.Kills(self.stack, self.database).run(*((200, 20) if self.full else (10, 2)))


def commit():
    run = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def tell(what):
    print(f"== {what}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--events", type=int, default=1_000_000, help="of the part `log`; 10,000,000 take 10 GB")
    options = parser.parse_args()
    parts = options.parts or PARTS
    if options.write and parts not in (PARTS, READS, WRITES, ["replica"]):
        parser.error(f"the page is written from all parts, from {' '.join(WRITES)}, or from replica")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    tell("building")
    build()
    reads = any(part in READS for part in parts)
    if reads:
        build_peers()
    begun = time.monotonic()
    stack = Stack()
    try:
        run = Run(options, stack)
        if reads:
            run.load()
        for part in parts:
            tell(f"{part} ({time.monotonic() - begun:.0f} s)")
            getattr(run, part)()
        results = {
            "commit": commit(),
            "machine": machine.describe(),
            "date": datetime.date.today().isoformat(),
            "full": options.full,
            "seconds": run.seconds,
            "rounds": run.rounds,
            "facts": run.facts,
            "records": run.records,
        }
    finally:
        stack.stop_all()
    (FOLDER / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    tell(f"done in {time.monotonic() - begun:.0f} s; {FOLDER / 'results.json'}")
    if options.write:
        write_page(results)
    tell("goals")
    has_missed = bool(missed(run.facts))
    return has_missed or any(any(fact.get("faults", {}).values()) for fact in run.facts.values() if isinstance(fact, dict))


if __name__ == "__main__":
    sys.exit(main())
