"""Vehicles are changed while Vehicle, the consumer, NATS and PostgreSQL are killed. Then the copy is compared with the register."""

import random
import threading
import time
from typing import NamedTuple

from kit.changes import BROKEN, CHUNK, COUNTS, MANY, VEHICLES, Clerk, Session
from kit.journal import CHECKS, JOURNAL, LETTERS, QUIET
from kit.kills import say
from kit.nats import Nats, Stream
from kit.replica import AFRESH, LONGEST, Operator, following, plates
from kit.stack import Services, free_port

# Sessions that change vehicles at the same time.
SESSIONS = 2
# One of so many kills is made good by the clock alone; after the others the leases of the dead are ended, as if their
# time had passed.
BY_CLOCK = 20
# Seconds within which events come; a consumer that has found its stream of no use reads the feed for one minute.
SOON = 90
# Before a kill.
LONGEST_PAUSE = 0.3
END_LEASES = """update insurance.workers set leased_until = '-infinity' where worker = 'vehicle_replica';
    update vehicle_events.relays set leased_until = '-infinity'"""
FENCE = "select fence from insurance.workers where worker = 'vehicle_replica'"
POSITION = "select position from insurance_replica.consumers"


class Dose(NamedTuple):
    """What a run does."""

    # Of the consumer and of Vehicle each.
    kills: int
    # In the first ones of these NATS is killed as well.
    brokers: int
    stops: int
    # Random ones, a share of them after each kill.
    changes: int
    bulks: int


class ReplicaKills:
    """Vehicle with its relay, and one Insurance that keeps a copy: first by the stream, then by the feed."""

    def __init__(self, stack, database):
        self.stack, self.database = stack, database
        self.name = database.filled("benchmark_replica_kills", VEHICLES, 0)
        database.execute(self.name, f"{AFRESH}; {plates()}; {JOURNAL}")
        self.services = Services(stack, database, self.name)
        self.nats, self.reads_stream = Nats(stack), True
        self.ports = {service: free_port() for service in ("vehicle", "insurance")}
        self.processes, self.chance = {}, random.Random(2021)
        # As the consumer and the stream were when they were killed last.
        self.fence, self.position, self.messages = 0, 0, 0
        self.replaced, self.read, self.tries = [], 0, []
        self.faults = {"kills of a process that did not consume": 0, "kills without an event between them": 0}
        self.faults |= {"kills of NATS without an event that was read from it": 0}

    def start(self, service):
        settings = {"RELAY__NATS__URL": self.nats.url} if self.reads_stream else {}
        if service == "insurance":
            settings = {"REPLICA__NATS__URL": self.nats.url} if self.reads_stream else {}
            settings = following(VEHICLE_CLIENT__BASE_URL=f"http://127.0.0.1:{self.ports['vehicle']}", **settings)
        environment = self.services.environment(service, self.ports[service], **settings)
        self.processes[service] = self.stack.spawn(self.services.command(service), env=environment)

    def run(self, dose):
        for service in self.ports:
            self.start(service)
        over = threading.Event()
        clerk = Clerk(self.ports["vehicle"], over)
        begun = time.monotonic()
        if not self.wait("select generation > 0 from insurance_replica.consumers", LONGEST):
            raise SystemExit("there is no first copy")
        clerk.start()
        bulks = self.kill_all(dose)
        followed = int(self.value(POSITION))
        self.tries += [bulk.end() for bulk in bulks]
        over.set()
        clerk.join(120)
        is_quiet = self.wait(QUIET, LONGEST)
        seconds = time.monotonic() - begun
        random_events, bulk_events, events = map(int, self.value(COUNTS).split())
        # The server has left the reader before alone, who has answered no ping meanwhile.
        published, digest = Stream(self.nats.port).digest()
        facts = {
            "kills": {"the consumer": dose.kills, "Vehicle": dose.kills, "NATS": dose.brokers, "PostgreSQL": dose.stops},
            "events": events,
            "random_events": random_events,
            "followed_while_killed": followed,
            "published": published,
            "read_from_stream": self.read,
            "dead_letters": int(self.value(LETTERS)),
            "replaced_s": max(self.replaced),
            "seconds": seconds,
            "tries_again": sum(filter(None, self.tries)),
            "over_http": clerk.made,
            "faults": {
                **self.faults,
                "random changes that are missing": max(0, dose.changes - random_events),
                "changes of bulk updates that are missing": max(0, dose.bulks * MANY - bulk_events),
                "sessions that have failed": self.tries.count(None),
                "changes over HTTP": clerk.refusals or (0 if clerk.made else "none"),
                "not quiet": 0 if is_quiet else self.value("select to_json(consumers) from insurance_replica.consumers"),
                "another stream than the log": int(digest != self.log(published)),
                **{what: int(self.value(query)) for what, query in CHECKS.items()},
            },
        }
        for process in self.processes.values():
            self.stack.stop(process)
        self.nats.stop()
        words = f"{facts['events']:,} events, {followed:,} of them followed meanwhile, {self.read:,} of these read from NATS"
        words += f", {facts['dead_letters']} put aside; replaced after {facts['replaced_s']:.1f} s at most"
        say(facts, f"{words}, {seconds:.0f} s")
        return facts

    def kill_all(self, dose):
        """The bulk updates that were begun."""
        times = dose.changes // (CHUNK * SESSIONS * dose.kills)
        bulks = []
        for number in range(dose.kills):
            self.reads_stream = number < dose.brokers
            sessions = [self.session("random", times) for _ in range(SESSIONS)]
            if is_due(dose.bulks, number - dose.brokers, dose.kills - dose.brokers):
                bulks.append(self.session("bulk", 1))
            self.see_it_at_work()
            by_clock = number % BY_CLOCK == BY_CLOCK // 4
            killed_at = self.kill_each(by_clock, number < dose.brokers)
            if by_clock:
                self.see_it_replaced(killed_at)
            if is_due(dose.stops, number, dose.kills):
                time.sleep(self.chance.uniform(0, LONGEST_PAUSE))
                self.database.stop_at_once()
            if number == dose.kills // 2:
                self.begin_anew()
            self.tries += [session.end() for session in sessions]
        self.see_it_at_work()
        return bulks

    def see_it_consume(self):
        return self.wait(f"select fence > {self.fence} from insurance.workers where worker = 'vehicle_replica'", SOON)

    def see_it_replaced(self, killed_at):
        self.see_it_consume()
        self.replaced.append(time.monotonic() - killed_at)

    def see_it_at_work(self):
        """The one that is killed next is the one that consumes, and has gone on since the kill before."""
        self.faults["kills of a process that did not consume"] += not self.see_it_consume()
        self.fence = int(self.value(FENCE))
        has_gone_on = self.wait(f"select position > {self.position} from insurance_replica.consumers", SOON)
        self.faults["kills without an event between them"] += not has_gone_on

    def kill_each(self, by_clock, with_broker):
        """In any order: when the consumer was killed."""
        victims = ["insurance", "vehicle"]
        if with_broker:
            self.see_it_read()
            victims.append("nats")
        self.chance.shuffle(victims)
        for victim in victims:
            time.sleep(self.chance.uniform(0, LONGEST_PAUSE))
            if victim == "nats":
                self.messages = self.nats.stream.messages()
                self.nats.kill()
                continue
            self.stack.kill(self.processes[victim])
            if victim == "insurance":
                killed_at = time.monotonic()
            else:
                self.start(victim)
            if not by_clock:
                self.database.execute(self.name, END_LEASES)
        self.position = int(self.value(POSITION))
        # It takes a stream that is behind for one of no use.
        if self.reads_stream and not self.until(lambda: self.nats.stream.messages() >= self.position):
            self.faults["kills of NATS without an event that was read from it"] += 1
        self.start("insurance")
        return killed_at

    def see_it_read(self):
        """Since the kill before events came into the stream and were read from it."""
        stream = self.nats.stream
        if not self.until(lambda: stream.messages() > self.messages and stream.read() > 0):
            self.faults["kills of NATS without an event that was read from it"] += 1
        self.read += stream.read()

    def session(self, name, times):
        return Session(self.stack, self.database.administrator(self.name), name, times)

    def begin_anew(self):
        """In the midst of it a new copy is ordered."""
        operator = Operator(self.ports["insurance"])
        give_up = time.monotonic() + LONGEST
        while time.monotonic() < give_up:
            try:
                if operator.ask("PUT", Operator.CONSUMER, {"mode": "snapshot", "reason": "benchmark", "owner": "benchmark"})[0] == 200:
                    return
            except BROKEN:
                time.sleep(0.05)
        raise SystemExit("no new copy can be ordered")

    def log(self, positions):
        """A digest of the first events of the log, as of those of the stream."""
        text = "string_agg(position || ' ' || event_id, ',' order by position)"
        return self.value(f"select md5({text}) from vehicle_events.log where position <= {positions}")

    def value(self, query):
        return self.database.value(self.name, query)

    def wait(self, condition, longest):
        return self.until(lambda: self.value(condition) == "true", longest)

    def until(self, is_so, longest=SOON):
        give_up = time.monotonic() + longest
        while not is_so():
            if time.monotonic() > give_up:
                return False
            time.sleep(0.02)
        return True


def is_due(times, number, steps):
    """Whether one of so many things, spread evenly over the steps, comes after this step."""
    return number >= 0 and (number + 1) * times // steps > number * times // steps
