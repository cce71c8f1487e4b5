"""Sixteen activations of each car at once: one cover each, and for how long a transaction is open."""

import http.client
import json
import threading
from collections import Counter
from queue import Empty, SimpleQueue

from kit.data import WRITER, plate
from kit.kills import TOMORROW, letters
from kit.stack import FOLDER, Services

CARS, TIMES, CALLERS = 1000, 16, 64
LONGEST = """select coalesce(max(extract(epoch from clock_timestamp() - xact_start)) * 1000, 0) from pg_stat_activity
    where datname = current_database() and usename = 'insurance_service'"""


class Caller(threading.Thread):
    """Activates policies, one after the other."""

    def __init__(self, port, policies, tag):
        super().__init__(daemon=True)
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.policies, self.tag, self.answers = policies, tag, Counter()

    def run(self):
        body = json.dumps({"to": "active", "reason": "other"})
        while True:
            try:
                policy = self.policies.get_nowait()
            except Empty:
                return
            headers = {"x-api-key": WRITER, "content-type": "application/json", "if-match": self.tag}
            headers["idempotency-key"] = f"race-of-{letters(policy)}"
            self.connection.request("POST", f"/api/v1/policies/{policy}/transitions", body, headers)
            answer = self.connection.getresponse()
            told = json.loads(answer.read())
            self.answers[f"{answer.status} {told.get('code', '')}".strip()] += 1


def run(stack, database):
    services = Services(stack, database, database.fresh("benchmark_race"))
    file = FOLDER / "race.sql"
    cars = ", ".join(f"('{plate(number)}')" for number in range(CARS))
    file.write_text(
        f"""create temporary table cars (plate) as values {cars};
        insert into vehicle.vehicles (registration_number, make, model, model_year)
            select plate, 'Volvo', 'XC60', 2000 from cars on conflict do nothing;
        insert into insurance.insurances
            (personal_identity_number, product, status, valid_from, monthly_cost, car_registration_number)
            select '199001011234', 'car', 'draft', '{TOMORROW}', 30, plate from cars, generate_series(1, {TIMES}) order by plate;""",
        encoding="utf-8",
    )
    database.run(services.name, file)
    vehicle = services.ready("vehicle")
    ours = services.ready("insurance", upstream=vehicle, DATABASE__MAX_CONNECTIONS="16")
    drafts = "select min(insurance_id) from insurance.insurances where status = 'draft'"
    first = int(database.value(services.name, drafts))
    connection = http.client.HTTPConnection("127.0.0.1", ours.port)
    connection.request("GET", f"/api/v1/policies/{first}", headers={"x-api-key": WRITER})
    # It names the version, the status and the day, which they share.
    tag = connection.getresponse().getheader("etag")
    policies = SimpleQueue()
    for policy in range(first, first + CARS * TIMES):
        policies.put(policy)
    callers = [Caller(ours.port, policies, tag) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    longest = 0
    while any(caller.is_alive() for caller in callers):
        longest = max(longest, float(database.value(services.name, LONGEST)))
    answers = sum((caller.answers for caller in callers), Counter())
    covers = f"select count(*) from insurance.covers where lower(cover) = '{TOMORROW}'"
    covers = int(database.value(services.name, covers))
    deadlocks = "select deadlocks from pg_stat_database where datname = current_database()"
    deadlocks = int(database.value(services.name, deadlocks))
    for candidate in (ours, vehicle):
        stack.stop(candidate.process)
    expected = {"200", "409 cover_overlaps", "409 busy"}
    faults = {
        "cars without a cover of their own": abs(covers - CARS) + abs(answers["200"] - CARS),
        "deadlocks": deadlocks,
        "other answers": {answer: count for answer, count in answers.items() if answer not in expected},
    }
    told = {what: found for what, found in faults.items() if found}
    print(
        f"{CARS * TIMES} activations of {CARS} cars: {covers} covers, {dict(answers)}, the longest transaction "
        f"{longest:.0f} ms; faults: {told or 'none'}",
        flush=True,
    )
    return {"covers": covers, "answers": answers, "longest_ms": longest, "faults": faults}
