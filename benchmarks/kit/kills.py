"""Policies are changed while processes are killed. Then the log is compared with what was acknowledged and with the state."""

import datetime
import http.client
import json
import threading
import time

from kit.data import WRITER
from kit.stack import FOLDER, Services, free_port

WRITERS = 24
# Writes a second that are offered; the goal is 300 that are acknowledged.
RATE = 360
# Between a kill and the next.
PAUSE = 0.1
# Before another try.
RETRY = 0.02
# What becomes of each policy after its draft. A pet has no car that Vehicle would be asked for.
STEPS = ["active", "suspended"] * 5
TOMORROW = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)).date().isoformat()
DRAFT = {
    "personalIdentityNumber": "199001011234",
    "product": "pet",
    "carRegistrationNumber": None,
    "validFrom": TOMORROW,
    "validUntil": None,
}
# Each is to find nothing.
CHECKS = {
    "acknowledged, and not in the log as told": """select count(*) from journal
        left join insurance_events.events using (event_id) left join insurance_events.log using (event_id)
        where position is null or (aggregate_id, events.version) is distinct from (insurance_id::text, journal.version)""",
    "in the log, and not acknowledged once": """select count(*) from insurance_events.log
        left join (select event_id, count(*) as times from journal group by event_id) told using (event_id)
        where actor = 'key/writer' and times is distinct from 1""",
    "events without a place, or with two": """select count(*) from (
            select count(position) as places from insurance_events.events
            left join insurance_events.log using (event_id) group by event_id) placed
        where places <> 1""",
    "positions that are missing": "select position - (select count(*) from insurance_events.log) from insurance_events.head",
    "out of order within a policy": """select count(*) from (
            select version - lag(version, 1, 0::bigint) over (partition by aggregate_type, aggregate_id order by position) as step
            from insurance_events.log join insurance_events.events using (event_id)) steps
        where step <> 1""",
    "policies in another status than acknowledged": """select count(*) from insurance.insurances policies
        join (select distinct on (insurance_id) insurance_id, status, version from journal
            order by insurance_id, version desc) told using (insurance_id)
        where (policies.status, policies.version) is distinct from (told.status, told.version)""",
}


def letters(number):
    """For a key, in which many digits might be a person's."""
    return "".join(chr(ord("a") + int(digit)) for digit in f"{number:08}")


class Writer(threading.Thread):
    """Takes one policy after the other through its steps. Each write is sent until it is acknowledged."""

    def __init__(self, number, ports, over):
        super().__init__(daemon=True)
        self.number, self.ports, self.over = number, ports, over
        self.connection, self.due = None, time.monotonic() + number / RATE
        self.writes, self.tries, self.replayed = 0, 0, 0
        self.journal, self.refusals = [], []

    def run(self):
        try:
            self.work()
        except Exception as error:  # Anything that ends a writer early is a fault of the run.
            self.refusals.append(repr(error))

    def work(self):
        while not self.over.is_set():
            told = self.write("/api/v1/policies", DRAFT, {})
            for status in STEPS:
                if not told or self.over.is_set():
                    return
                policy, tag = told
                body = {"to": status, "reason": "other"}
                told = self.write(f"/api/v1/policies/{policy}/transitions", body, {"if-match": tag})

    def write(self, path, body, headers):
        """The policy and its entity tag; nothing after a refusal."""
        self.due += WRITERS / RATE
        time.sleep(max(self.due - time.monotonic(), 0))
        self.writes += 1
        key = f"kill-{letters(self.number)}-{letters(self.writes)}"
        headers = {"x-api-key": WRITER, "content-type": "application/json", "idempotency-key": key, **headers}
        while True:
            self.tries += 1
            try:
                answer, text = self.ask(path, json.dumps(body), headers)
            except (OSError, http.client.HTTPException):
                self.connection = None
                time.sleep(RETRY)
                continue
            told = json.loads(text)
            if answer.status in (200, 201):
                self.replayed += answer.getheader("idempotency-replayed") == "true"
                self.journal.append((answer.getheader("event-id"), told["insuranceId"], told["version"], told["status"]))
                return told["insuranceId"], answer.getheader("etag")
            if answer.status not in (429, 503) and told["code"] != "busy":
                self.refusals.append(f"{answer.status} {told['code']}")
                return None
            time.sleep(RETRY)

    def ask(self, path, body, headers):
        """From one replica, and after a failure from the other one."""
        if not self.connection:
            port = self.ports[(self.number + self.tries) % len(self.ports)]
            self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.connection.request("POST", path, body, headers)
        answer = self.connection.getresponse()
        return answer, answer.read()


class Kills:
    """Two replicas of Insurance on a database of their own."""

    def __init__(self, stack, database):
        self.stack, self.database = stack, database
        self.name = database.fresh("benchmark_kills")
        self.services = Services(stack, database, self.name)
        self.ports = [free_port(), free_port()]
        self.replicas = [self.start(port) for port in self.ports]

    def start(self, port):
        return self.stack.spawn(self.services.command("insurance"), env=self.services.environment("insurance", port))

    def run(self, kills, stops):
        """So many kills of a replica and as many of the sequencer's connection, and stops of PostgreSQL."""
        over = threading.Event()
        writers = [Writer(number, self.ports, over) for number in range(WRITERS)]
        begun = time.monotonic()
        for writer in writers:
            writer.start()
        cut = 0
        for number in range(kills):
            time.sleep(PAUSE)
            self.kill_replica(number % 2)
            time.sleep(PAUSE)
            cut += self.cut_the_sequencer()
            if (number + 1) * stops // kills > number * stops // kills:
                time.sleep(PAUSE)
                self.database.stop_at_once()
        # Until all that was missed is made up for.
        time.sleep(2)
        over.set()
        for writer in writers:
            writer.join(60)
        seconds = time.monotonic() - begun
        journal = [line for writer in writers for line in writer.journal]
        facts = {
            "kills": {"service": kills, "sequencer": cut, "postgres": stops},
            "writes": len(journal),
            "per_second": len(journal) / seconds,
            "tries": sum(writer.tries for writer in writers),
            "replayed": sum(writer.replayed for writer in writers),
            "faults": {
                "connections of the sequencer that were not cut": kills - cut,
                "writers that have not ended": sum(writer.is_alive() for writer in writers),
                "refused": sum((writer.refusals for writer in writers), []),
                **self.compare(journal),
            },
        }
        for replica in self.replicas:
            self.stack.stop(replica)
        words = f"{facts['writes']} writes acknowledged, {facts['per_second']:.0f}/s, in {facts['tries']} tries"
        say(facts, f"{words}, {facts['replayed']} of them replayed")
        return facts

    def kill_replica(self, number):
        self.stack.kill(self.replicas[number])
        self.replicas[number] = self.start(self.ports[number])

    def cut_the_sequencer(self):
        """In the midst of a batch: nobody else locks the row of `head`."""
        cut = """select count(*) from (select pg_terminate_backend(pid) as cut from pg_locks
            where database = (select oid from pg_database where datname = current_database())
                and relation = 'insurance_events.head'::regclass and mode = 'RowShareLock' and granted limit 1) cut
            where cut"""
        give_up = time.monotonic() + 5
        while time.monotonic() < give_up:
            if self.database.value(self.name, cut) == "1":
                return 1
        return 0

    def compare(self, journal):
        """How often something is not as it has to be."""
        lines = ",\n".join(f"('{event}', {policy}, {version}, '{status}')" for event, policy, version, status in journal)
        file = FOLDER / "journal.sql"
        file.write_text(
            "create table journal (event_id uuid, insurance_id bigint, version bigint, status text);\n"
            + f"insert into journal values\n{lines};\nanalyze;\n",
            encoding="utf-8",
        )
        self.database.run(self.name, file)
        for _ in range(500):
            if self.database.value(self.name, "select count(*) from insurance_events.unplaced") == "0":
                break
            time.sleep(RETRY)
        found = {what: int(self.database.value(self.name, query)) for what, query in CHECKS.items()}
        return {**found, **{command: self.services.verify("insurance", command) for command in ("verify-log", "verify-state")}}


def say(facts, words):
    faults = {what: found for what, found in facts["faults"].items() if found}
    kills = ", ".join(f"{count} of {what}" for what, count in facts["kills"].items())
    print(f"killed {kills}: {words}; faults: {faults or 'none'}", flush=True)
