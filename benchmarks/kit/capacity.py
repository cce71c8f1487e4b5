"""What a candidate holds, and what is left of it beyond."""

import os

from kit.load import MOST_WRONG, say

# The highest rate with p99 within this and nothing but good answers.
LONGEST_P99_US = 50_000
OPEN_CONNECTIONS = 4000


class Overload:
    """Capacity, then multiples of it, closed loops of many connections, and the way back."""

    def __init__(self, bench, candidate, requests, seconds):
        self.bench, self.candidate, self.requests, self.seconds = bench, candidate, requests, seconds

    def load(self, scenario, **options):
        record = self.bench.measure(scenario, self.candidate, self.requests, **{"seconds": self.seconds, **options})
        say(record)
        return record

    def holds(self, record):
        return record["valid"] and record["unsent"] <= MOST_WRONG * record["good"] and record["latency_us"]["p99"] <= LONGEST_P99_US

    def capacity(self):
        """By halving between nothing and what a closed loop reaches."""
        low, high = 0, self.load("closed loop at rest")["per_second"]
        best = None
        for _ in range(6):
            rate = (low + high) / 2 if best else high * 0.9
            record = self.load("search", rate=round(rate), connections=256)
            if self.holds(record):
                low, best = rate, record
            else:
                high = rate
        return best

    def run(self):
        at_capacity = self.capacity()
        if not at_capacity:
            return {"capacity": None}
        capacity = at_capacity["per_second"]
        half = self.load("half of C", rate=round(capacity / 2), connections=256)
        facts = {"capacity": capacity, "half_p50_us": half["latency_us"]["p50"], "half_p99_us": half["latency_us"]["p99"]}
        facts["open"] = {
            times: self.beyond(at_capacity, self.load(f"{times} x C", rate=round(times * capacity), connections=OPEN_CONNECTIONS))
            for times in (2, 4, 10)
        }
        facts["closed"] = {
            connections: self.beyond(at_capacity, self.load("closed loop", connections=connections))
            for connections in (1500, 2500, 4000)
        }
        back = self.load("after it", seconds=6, warm_up=0)
        facts["back"] = [good / capacity for good in back["good_by_second"]]
        return facts

    def beyond(self, at_capacity, record):
        """Goodput against C on the cores that the generator leaves, and against what rejecting leaves."""
        share = left(record) / left(at_capacity)
        of_capacity = record["per_second"] / at_capacity["per_second"] / share
        per_good = served(at_capacity) / at_capacity["good"]
        refused = record["refused"]
        rejection = max(served(record) - record["good"] * per_good, 0) / refused / per_good if refused else 0
        offered = (record["good"] + refused) / record["seconds"] / at_capacity["per_second"] / share
        bound = (1 - offered * rejection) / (1 - rejection) if rejection < 1 else 0
        return {
            "good": record["per_second"],
            "of_capacity": of_capacity,
            "refused": refused / record["seconds"],
            "rejection": rejection,
            "rejection_us": 1e6 * rejection * per_good,
            "bound": min(max(bound, 0), 1),
            "p99_us": record["latency_us"]["p99"],
            "wrong": record["wrong"] + record["broken"],
        }


def served(record):
    """CPU seconds of everything but the generator."""
    return sum(its for name, its in record["cpu_seconds"].items() if name != "generator")


def left(record):
    """Cores that the generator leaves."""
    return os.cpu_count() - record["cpu_seconds"]["generator"] / record["seconds"]
