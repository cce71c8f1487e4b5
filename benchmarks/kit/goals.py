"""The figures of a run that have goals, for its end and for docs/performance.md."""

import operator
from typing import NamedTuple

RULES = {"≤": operator.le, "≥": operator.ge, "=": operator.eq}


class Figure(NamedTuple):
    """What was seen, and by which rule it is held to the goal; without a rule there is none."""

    words: str
    seen: float
    rule: str = ""
    goal: float = 0
    unit: str = ""
    digits: int = 0

    def is_missed(self):
        return bool(self.rule) and not RULES[self.rule](self.seen, self.goal)

    def row(self):
        """In words, as a table has it."""
        goal = f"{self.rule} {self.goal:,g}{self.unit}" if self.rule else ""
        return [self.words, f"{self.seen:,.{self.digits}f}{self.unit}", goal + (", missed" if self.is_missed() else "")]


def write(it):
    return [Figure("a change of a policy with its event and its key, to a plain update of a row, median", it["ratio"], "≤", 1.6, digits=2)]


def lag(it):
    words = f"from the commit to a reader of the feed, at {it['per_second']:.0f} events/s"
    return [
        Figure(f"{words}, p50", it["p50_ms"], "≤", 15, " ms", 1),
        Figure(f"{words}, p99", it["p99_ms"], "≤", 100, " ms", 1),
    ]


def race(it):
    activations = f"{sum(it['answers'].values()):,} activations of 1,000 cars"
    return [
        Figure(f"covers after {activations}", it["covers"], "=", 1000),
        Figure(f"the longest transaction of {activations}", it["longest_ms"], "≤", 250, " ms"),
    ]


def log(it):
    name, question = max(it["questions"].items(), key=lambda it: it[1]["p99_ms"])
    return [
        Figure(f"the slowest question to {it['events']:,} events, p99: {name}", question["p99_ms"], "≤", 50, " ms", 1),
        Figure(f"an inclusion proof out of {it['events']:,} events, p99", it["proof"]["p99_ms"], "≤", 10, " ms", 1),
        Figure("`verify-log`", it["verified_per_second"], "≥", 200_000, " events/s"),
        Figure("an event with its place, its share of tiles and all indexes", it["bytes"], "≤", 900, " bytes"),
    ]


def kills(it):
    words = f"writes acknowledged while processes were killed ({killed(it)})"
    return [
        Figure(words, it["per_second"], "≥", 300, "/s"),
        Figure("kinds of faults: writes lost, disordered or doubled, or of another state than their events", faults(it), "=", 0),
    ]


def replica(it):
    lag = f"from a change to the copy, at {it['lag_events_per_s']:.0f} changes/s"
    return [
        Figure("the first copy of 1,000,000 vehicles", it["first_copy_s"], "≤", 60, " s"),
        Figure("catching up, after a pause", it["caught_up_per_s"], "≥", 5_000, " events/s"),
        Figure("a dry run", it["compared_per_s"], "≥", 20_000, " events/s"),
        Figure("the slowest cancellation of dry runs and rebuilds", it["cancelled_s"], "≤", 1, " s", 2),
        Figure(f"{lag}, p50", it["lag_p50_ms"], unit=" ms"),
        Figure(f"{lag}, p99", it["lag_p99_ms"], "≤", 500, " ms"),
        Figure("CPU of an answer with 8 cars out of a process's memory ÷ one with none", it["cars_to_none"], "≤", 1.3, digits=2),
        Figure("the same, with cars that are not in memory", it["read_cars_to_none"], "≤", 1.3, digits=2),
        Figure(f"calls of Vehicle's look-ups for {it['lookups']:,} cars of answers", it["lookup_calls"], "=", 0),
    ]


def replica_kills(it):
    words = f"{it['events']:,} events, {it['read_from_stream']:,} of them read from NATS, while processes were killed ({killed(it)})"
    return [
        Figure("a consumer that was killed is replaced, the slowest time", it["replaced_s"], "≤", 20, " s"),
        Figure(f"kinds of faults after {words}", faults(it), "=", 0),
    ]


def relay(it):
    words = f"from the commit to the stream of NATS, at {it['per_second']:.0f} events/s"
    return [
        Figure(f"{words}, p50", it["p50_ms"], unit=" ms", digits=1),
        Figure(f"{words}, p99", it["p99_ms"], "≤", 250, " ms", 1),
    ]


def killed(it):
    return ", ".join(f"{count} of {what}" for what, count in it["kills"].items())


def faults(it):
    return sum(bool(found) for found in it["faults"].values())


# By the facts that they are of.
OF_CHANGES = {"write": write, "lag": lag, "race": race, "log": log, "kills": kills}
OF_COPY = {"replica": replica, "replica kills": replica_kills}
ALL = {**OF_CHANGES, **OF_COPY, "relay": relay}


def figures(facts, of=ALL):
    """Those of the parts that have run."""
    return [figure for name, make in of.items() if name in facts for figure in make(facts[name])]


def missed(facts):
    """Prints each figure beside its goal, and at last those that miss it: these."""
    found = figures(facts)
    for words, seen, goal in map(Figure.row, found):
        print(f"{words}: {seen}" + (f" ({goal})" if goal else ""), flush=True)
    found = [figure.words for figure in found if figure.is_missed()]
    print(f"missed goals: {'; '.join(found) or 'none'}", flush=True)
    return found
