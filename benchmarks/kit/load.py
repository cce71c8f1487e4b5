"""One measurement: load on a candidate, and what it costs the processes behind it."""

import json
import subprocess

from kit import machine
from kit.stack import RELEASE

# Above this share of answers that are not what they have to be, a figure does not count.
MOST_WRONG = 0.001
BAD = ["refused", "wrong", "broken", "unanswered"]


class Bench:
    """Measures, and keeps every measurement."""

    def __init__(self, stack, postgres, seconds):
        self.stack, self.postgres, self.seconds = stack, postgres, seconds
        self.records = []

    def groups(self, candidate):
        roots = {"service": candidate.process.pid, "postgres": self.postgres}
        if candidate.upstream:
            roots["upstream"] = candidate.upstream.process.pid
        return roots

    def measure(self, scenario, candidate, requests, connections=64, rate=None, seconds=None, warm_up=0.5, **about):
        """One run; the measurement also says the microseconds of CPU for each answer."""
        seconds = seconds or self.seconds
        command = [RELEASE / "benchmarks", "load", f"127.0.0.1:{candidate.port}", requests]
        command += ["--connections", connections, "--seconds", seconds, "--warm-up", warm_up]
        command += ["--rate", rate] if rate else []
        generator = self.stack.spawn([str(word) for word in command], stdout=subprocess.PIPE, text=True)
        roots = self.groups(candidate)
        used = {name: 0 for name in [*roots, "generator"]}
        for word, sign in (("begin", -1), ("end", 1)):
            if generator.stdout.readline().strip() != word:
                raise SystemExit("the load generator has failed")
            for name, root in [*roots.items(), ("generator", generator.pid)]:
                used[name] += sign * machine.cpu_seconds(root)
        memory = machine.memory_mb(candidate.process.pid)
        measured = json.loads(generator.stdout.read())
        generator.wait()
        self.stack.processes.remove(generator)
        bad = sum(measured[kind] for kind in BAD)
        answers = measured["good"] + measured["refused"] + measured["wrong"]
        record = {
            "scenario": scenario,
            "candidate": candidate.name,
            "connections": connections,
            "rate": rate,
            **about,
            **measured,
            "per_second": measured["good"] / seconds,
            "valid": measured["good"] > 0 and bad <= MOST_WRONG * answers,
            "cpu_seconds": used,
            "cpu_us": {name: 1e6 * its / max(answers, 1) for name, its in used.items()},
            "memory_mb": memory,
        }
        record["cpu_us"]["all"] = sum(its for name, its in record["cpu_us"].items() if name != "generator")
        self.records.append(record)
        return record

    def rounds(self, scenarios, rounds, warm=False):
        """Interleaves: in each round every candidate of every scenario, in changing order.

        Before them all are warmed, unless they are, by few callers: compilers have work to do, and caches are empty.
        """
        for _, requests, candidates, _ in scenarios:
            for candidate in [] if warm else candidates:
                self.measure("warming", candidate, requests, connections=4, warm_up=0)
        for number in range(rounds):
            for scenario, requests, candidates, options in scenarios:
                turn = number % len(candidates)
                for candidate in candidates[turn:] + candidates[:turn]:
                    say(self.measure(scenario, candidate, requests, round=number, **options))


def say(record):
    latency = record["latency_us"]
    print(
        f"{record['scenario']:28} {record['candidate']:12} {record['connections']:5} "
        f"{record['per_second']:8.0f}/s {record['cpu_us']['all']:7.1f} us  p50 {latency['p50']} p99 {latency['p99']} us"
        + "".join(f"  {record[kind]} {kind}" for kind in BAD if record[kind]),
        flush=True,
    )

