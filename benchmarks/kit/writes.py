"""What a write costs beside a plain update, and how soon its event can be read."""

import datetime
import http.client
import json
import subprocess
import threading
import time
from statistics import quantiles

from kit.data import WRITER, plate
from kit.kills import TOMORROW
from kit.stack import FOLDER, MINIMUM_WAIT, RELEASE, Services

# They are changed in turn, among so many that PostgreSQL finds one by its index.
POLICIES = 100
ROWS = 10_000
# Events a second, and vehicles that they are about.
RATE = 500
VEHICLES = 1000
# One session: a row, its event by the trigger, a commit; then what is left of the 2 ms.
CHANGES = f"""do $$
declare
    due timestamptz := clock_timestamp();
begin
    for number in 1..:events loop
        update vehicle.vehicles set model_year = 1990 + (number / {VEHICLES}) % 30
        where registration_number = (:plates)[1 + number % {VEHICLES}];
        commit;
        due := due + interval '1 second' / {RATE};
        perform pg_sleep(extract(epoch from due - clock_timestamp()));
    end loop;
end
$$"""


def headers(**more):
    return {"x-api-key": WRITER, "content-type": "application/json", **more}


def cost(stack, database, full):
    """A policy is suspended and resumed; a row of the same columns and indexes is updated."""
    services = Services(stack, database, database.fresh("benchmark_writes"))
    ours, plain = services.ready("insurance"), services.limit("update")
    file = FOLDER / "rows.sql"
    # With the policies' columns, checks and indexes, and without their triggers.
    file.write_text(
        f"""insert into insurance.insurances (personal_identity_number, product, status, valid_from, monthly_cost)
            select '199001011234', 'pet', 'active', '{TOMORROW}', 10 from generate_series(1, {ROWS});
        create table benchmark_rows (like insurance.insurances including all);
        insert into benchmark_rows select * from insurance.insurances;
        grant select, update on benchmark_rows to insurance_service;
        analyze insurance.insurances, insurance.covers, benchmark_rows;""",
        encoding="utf-8",
    )
    database.run(services.name, file)
    while database.value(services.name, "select count(*) from insurance_events.unplaced") != "0":
        time.sleep(MINIMUM_WAIT)
    first = int(database.value(services.name, "select max(insurance_id) from insurance.insurances")) - POLICIES + 1
    connection = http.client.HTTPConnection("127.0.0.1", ours.port)
    connection.request("GET", f"/api/v1/policies/{first}", headers=headers())
    tag = connection.getresponse().getheader("etag")
    command = [RELEASE / "benchmarks", "writes", f"127.0.0.1:{ours.port}", f"127.0.0.1:{plain.port}"]
    command += [WRITER, str(first), tag, "--policies", str(POLICIES), "--pairs", str(5000 if full else 1000)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    for candidate in (ours, plain):
        stack.stop(candidate.process)
    facts = json.loads(run.stdout)
    facts["ratio"] = facts["ours_us"]["p50"] / facts["plain_us"]["p50"]
    print(
        f"a policy is changed in p50 {facts['ours_us']['p50']} p99 {facts['ours_us']['p99']} us, "
        f"a plain row in p50 {facts['plain_us']['p50']} p99 {facts['plain_us']['p99']} us: {facts['ratio']:.2f} times as long",
        flush=True,
    )
    return facts


def lag(stack, database, full):
    """Rows are changed by SQL, as the legacy system does; a reader waits at the feed of Vehicle."""
    services = Services(stack, database, database.fresh("benchmark_lag"))
    file = FOLDER / "changes.sql"
    vehicles = ", ".join(f"('{plate(number)}', 'Volvo', 'XC60', 2000)" for number in range(VEHICLES))
    file.write_text(
        f"insert into vehicle.vehicles (registration_number, make, model, model_year) values {vehicles} on conflict do nothing",
        encoding="utf-8",
    )
    database.run(services.name, file)
    ours = services.ready("vehicle")
    reader = Reader(ours.port)
    # Without those that the vehicles came with: they wait for the service's start.
    reader.catch_up(int(database.value(services.name, "select count(*) from vehicle_events.events")))
    seconds = 30 if full else 8
    plates = ", ".join(f"'{plate(number)}'" for number in range(VEHICLES))
    changes = CHANGES.replace(":events", str(seconds * RATE)).replace(":plates", f"array[{plates}]")
    file.write_text(changes, encoding="utf-8")
    writing = threading.Thread(target=database.run, args=(services.name, file))
    begun = time.monotonic()
    writing.start()
    lags = reader.follow(seconds * RATE)
    writing.join()
    seconds = time.monotonic() - begun
    stack.stop(ours.process)
    # The first second finds both sides cold.
    hundredths = quantiles(lags[RATE:], n=100)
    facts = {"events": len(lags), "per_second": len(lags) / seconds, "p50_ms": hundredths[49], "p99_ms": hundredths[98]}
    print(
        f"{facts['per_second']:.0f} events/s can be read p50 {facts['p50_ms']:.1f} p99 {facts['p99_ms']:.1f} ms after they were written",
        flush=True,
    )
    return facts


class Reader:
    """Follows a feed."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.last = None

    def page(self, timeout):
        """The events after the last one, and when they came."""
        after = f"&lastEventId={self.last}" if self.last else ""
        self.connection.request("GET", f"/api/v1/events?limit=1000&timeout={timeout}{after}", headers=headers())
        answer = self.connection.getresponse()
        text, came = answer.read(), time.time()
        if answer.status != 200:
            raise SystemExit(f"the feed has answered {answer.status}: {text}")
        self.last = answer.getheader("next-event-id") or self.last
        return json.loads(text), came

    def catch_up(self, count):
        while count > 0:
            count -= len(self.page(30_000)[0])

    def follow(self, count):
        """Milliseconds between the writing of each event and its arrival."""
        lags = []
        while len(lags) < count:
            events, came = self.page(30_000)
            lags += [1e3 * (came - datetime.datetime.fromisoformat(event["time"]).timestamp()) for event in events]
        return lags
