"""A long event log: its size, the questions that it answers, its proofs and its verification."""

import http.client
import json
import random
import re
import time
from statistics import quantiles
from urllib.parse import urlencode

from kit.data import WRITER
from kit.stack import FOLDER, Services

# Appended at once.
CHUNK = 250_000
# One policy has as many events as a question about one thing may have, spread over the whole log. All
# of them are of one request.
MOST_OF_ONE = 9_990
# Ten events for each other policy, two for each request; few actors are frequent, some are rare.
EVENTS = f"""insert into insurance_events.events
    (event_id, aggregate_type, aggregate_id, version, event_type, actor, correlation_id, causation_id, traceparent, data)
select
    (lpad(to_hex(1790000000000 + number), 12, '0') || '7' || left(hash, 3) || 'a' || substr(hash, 4, 15))::uuid,
    'policy',
    case when is_large then '1' else (2000000 + number / 10)::text end,
    case when is_large then number / :every else number % 10 + 1 end,
    (array['policy.drafted.v1', 'policy.activated.v1', 'policy.suspended.v1', 'policy.resumed.v1', 'policy.changed.v1',
           'policy.suspended.v1', 'policy.resumed.v1', 'policy.changed.v1', 'policy.cancelled.v1', 'policy.ended.v1'])
        [1 + number % 10],
    case when number % 100000 = 7 then 'worker/expiry' when number % 5 < 3 then 'key/desk' else 'key/clerk_' || number % 23 end,
    case when is_large then 'a-large-request-of-one-job-at-night-1' else 'req-' || md5((number / 2)::text) end,
    case when number % 2 = 1 then
        (lpad(to_hex(1790000000000 + number - 1), 12, '0') || '7' || left(md5((number - 1)::text), 3) || 'a'
            || substr(md5((number - 1)::text), 4, 15))::uuid end,
    '00-' || hash || '-' || left(hash, 16) || '-01',
    format('{{"insuranceId":%s,"from":"active","to":"suspended","reason":"requested_by_customer","effectiveOn":"2026-12-01"}}',
        2000000 + number / 10)::json
from (
    select number, md5(number::text) as hash, number % :every = 0 as is_large
    from generate_series(:first, :last) as number
) as numbered"""
# What each filter means.
FILTERS = {
    "aggregateType": "aggregate_type =",
    "aggregateId": "aggregate_id =",
    "correlationId": "correlation_id =",
    "type": "log.event_type =",
    "actor": "log.actor =",
    "from": "placed_at >=",
    "until": "placed_at <",
}
# Of each kind of question, so that a p99 is more than the slowest one; and pages of each question at most.
ANSWERS, PAGES = 200, 5


class Log:
    """Insurance with so many events in its log, placed by its own sequencer."""

    def __init__(self, stack, database, events):
        self.stack, self.database, self.events = stack, database, events
        self.name, self.is_loaded = database.kept(f"benchmark_log_{events}", EVENTS)
        self.services = Services(stack, database, self.name)
        self.chance = random.Random(2021)
        self.facts = {"events": events}

    def run(self):
        if not self.is_loaded:
            self.append()
        self.insurance = self.services.ready("insurance")
        self.place()
        self.execute("vacuum analyze")
        if not self.is_loaded:
            self.database.keep(self.name)
        self.facts["bytes"] = self.bytes()
        print(f"{self.events} events of {self.facts['bytes']:.0f} bytes", flush=True)
        self.facts["questions"] = {name: self.ask(name, make) for name, make in self.questions().items()}
        self.facts["proof"] = self.prove()
        self.stack.stop(self.insurance.process)
        self.verify()
        return self.facts

    def value(self, query):
        return self.database.value(self.name, query)

    def execute(self, statement):
        file = FOLDER / "log.sql"
        file.write_text(statement, encoding="utf-8")
        self.database.run(self.name, file)

    def append(self):
        every = -(-self.events // MOST_OF_ONE)
        for first in range(1, self.events + 1, CHUNK):
            last = min(first + CHUNK - 1, self.events)
            values = {":first": first, ":last": last, ":every": every}
            self.execute(re.sub(":(first|last|every)", lambda it: str(values[it.group()]), EVENTS))

    def place(self):
        """Waits until the events that were just appended have their places."""
        begun, before = time.monotonic(), self.position()
        while int(self.value("select count(*) from (select from insurance_events.unplaced limit 1) waiting")):
            time.sleep(0.5)
        placed = self.position() - before
        if placed:
            print(f"placed at {placed / (time.monotonic() - begun):.0f}/s", flush=True)

    def position(self):
        return int(self.value("select position from insurance_events.head"))

    def bytes(self):
        """Of an event with its place, its share of tiles, and all indexes."""
        tables = "'events', 'log', 'event_tiles', 'checkpoints', 'hours'"
        size = f"""select sum(pg_total_relation_size(oid)) from pg_class
            where relnamespace = 'insurance_events'::regnamespace and relname in ({tables})"""
        return int(self.value(size)) / self.events

    def some(self, what):
        """A value of some event."""
        position = self.chance.randrange(MOST_OF_ONE + 1, self.events)
        return self.value(f"select {what} from insurance_events.log join insurance_events.events using (event_id) where position = {position}")

    def window(self, share):
        """A part of the time in which the events were placed."""
        bound = """to_char({} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
        length = int(self.events * share)
        first = self.chance.randrange(1, self.events - length)
        at = lambda position: self.value(
            f"select {bound.format('placed_at')} from insurance_events.log where position = {position}"
        )
        return {"from": at(first), "until": at(first + length)}

    def questions(self):
        """Every filter that is allowed, alone and with others."""
        frequent, rare = {"type": "policy.suspended.v1"}, {"type": "policy.imported.v1"}
        desk, expiry = {"actor": "key/desk"}, {"actor": "worker/expiry"}
        large = {"aggregateType": "policy", "aggregateId": "1"}
        job = {"correlationId": "a-large-request-of-one-job-at-night-1"}
        return {
            "one policy": lambda: {"aggregateType": "policy", "aggregateId": self.some("aggregate_id")},
            "one request": lambda: {"correlationId": self.some("correlation_id")},
            "the largest policy": lambda: large,
            "the largest request": lambda: job,
            "the largest policy, by type and actor": lambda: {**large, **job, **frequent, **desk},
            "a type": lambda: frequent,
            "a rare type": lambda: rare,
            "an actor": lambda: desk,
            "a rare actor": lambda: expiry,
            "a type and an actor": lambda: {**frequent, **desk},
            "a type and a rare actor": lambda: {**frequent, **expiry},
            "a window": lambda: self.window(0.1),
            "a window, by type and a rare actor": lambda: {**self.window(0.1), **frequent, **expiry},
            "500 events of a page": lambda: {**frequent, "limit": "500"},
        }

    def get(self, path):
        """The answer and the milliseconds that it took."""
        # The one before may have been idle for too long.
        connection = http.client.HTTPConnection("127.0.0.1", self.insurance.port, timeout=60)
        connection.connect()
        asked = time.monotonic()
        connection.request("GET", path, headers={"x-api-key": WRITER})
        answer = connection.getresponse()
        text = answer.read()
        took = 1e3 * (time.monotonic() - asked)
        connection.close()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {text}")
        return json.loads(text), took

    def ask(self, name, make):
        times, found = [], 0
        while len(times) < ANSWERS:
            question, after, positions = make(), None, []
            for _ in range(PAGES):
                page = {**question, "after": after} if after else question
                answer, took = self.get(f"/api/v1/audit/events?{urlencode(page)}")
                times.append(took)
                positions += [int(event["sequence"]) for event in answer["events"]]
                after = answer["next"]
                if not after:
                    break
            self.compare(question, positions, after)
            found += len(positions)
        return self.told(name, times, found)

    def compare(self, question, positions, end):
        """Fails unless these are all that SQL finds, down to where the last page ended."""
        key = "version" if "aggregateId" in question else "sequence" if "correlationId" in question else "position"
        rules = [f"{FILTERS[name]} '{value}'" for name, value in question.items() if name in FILTERS]
        expected = self.value(
            f"""select count(*) || ' ' || coalesce(sum(position * position), 0)
            from insurance_events.log join insurance_events.events using (event_id)
            where {' and '.join([f'{key} >= {end or 1}', *rules])}"""
        )
        told = f"{len(positions)} {sum(position * position for position in positions)}"
        if told != expected or positions != sorted(positions, reverse=True):
            raise SystemExit(f"{question}: not what SQL finds, {told} in place of {expected}")

    def prove(self):
        while int(self.value("select coalesce(max(position), 0) from insurance_events.checkpoints")) < self.events:
            time.sleep(0.5)
        times = []
        for _ in range(ANSWERS):
            proof, took = self.get(f"/api/v1/audit/events/{self.some('event_id')}/proof")
            times.append(took)
        return self.told("an inclusion proof", times, len(proof["hashes"]))

    def told(self, name, times, found):
        hundredths = quantiles(times, n=100)
        fact = {"p50_ms": hundredths[49], "p99_ms": hundredths[98], "found": found}
        print(f"{name:40} p50 {fact['p50_ms']:6.1f} p99 {fact['p99_ms']:6.1f} ms  ({len(times)} answers, {found} found)", flush=True)
        return fact

    def verify(self):
        begun = time.monotonic()
        wrong = self.services.verify("insurance")
        seconds = time.monotonic() - begun
        if wrong:
            raise SystemExit(f"verify-log: {wrong}")
        self.facts["verified_per_second"] = self.events / seconds
        print(f"verify-log: {self.facts['verified_per_second']:.0f} events/s", flush=True)
