"""The copy of Vehicle's cars: how soon it is made, follows and is compared, and what its answers ask of Vehicle."""

import http.client
import json
import re
import time
from statistics import median

from kit import machine
from kit.data import WRITER, Requests, person, profile
from kit.load import Bench
from kit.stack import FOLDER, Services

VEHICLES, PERSONS = 1_000_000, 224_000
# Of sixteen, those with eight vehicles and those with eight policies of other things: so many are asked for again and
# again, and all of them in turn, whose vehicles are more than a process keeps.
FEW = 16_000
# Vehicles of a bulk update.
MANY = 100_000
# Changes a second.
RATE = 300
LOOKUPS = 500
TIMES = 5
# What no part may take longer than.
LONGEST = 600
POSITION = "select position from vehicle_events.head"
# The copy and its consumer as before the first start.
AFRESH = """truncate insurance_replica.vehicles, insurance_replica.replays, insurance_replica.dead_letters,
    insurance_replica.changes, insurance_replica.consumers;
insert into insurance_replica.consumers (consumer) values ('vehicle_replica')"""
DIFFERENCES = """select count(*) from vehicle.vehicles as source full join (
        select * from insurance_replica.vehicles
        where deleted_at is null and generation = (select generation from insurance_replica.consumers)
    ) as copy using (registration_number)
    where (source.make, source.model, source.model_year, source.version)
        is distinct from (copy.make, copy.model, copy.model_year, copy.version)"""
# Each vehicle once. Between two changes the session looks how far everybody sees the copy.
SIGHTS = "create table sights (position bigint, seen_at timestamptz)"
CHANGES = """do $$
declare
    due timestamptz := clock_timestamp();
    seen bigint;
    last bigint := (select position from insurance_replica.consumers);
begin
    for number in 1..:changes loop
        update vehicle.vehicles set model_year = 1990 + (coalesce(model_year, 1990) - 1989) % 36
        where registration_number = plate(number);
        commit;
        due := due + interval '1 second' / :rate;
        loop
            select position into seen from insurance_replica.consumers;
            if seen > last then
                insert into sights values (seen, clock_timestamp());
                last := seen;
            end if;
            exit when clock_timestamp() >= due
                and (number < :changes or seen >= :until or clock_timestamp() > due + interval '30 seconds');
            commit;
            perform pg_sleep(0.001);
        end loop;
    end loop;
end
$$"""
LAGS = """select (percentile_cont(array[0.5, 0.99]) within group (order by lag))::text || ' ' || count(lag) from (
        select extract(epoch from (select min(seen_at) from sights where sights.position >= log.position) - occurred_at)
            * 1000 as lag
        from vehicle_events.log join vehicle_events.events using (event_id) where log.position > {}
    ) as lags"""


def plates():
    """The function `plate`, which names the vehicles of the data."""
    return """create or replace function plate(vehicle bigint) returns text language sql immutable as $$
        select chr(65 + (code / 676000)::integer) || chr(65 + (code / 26000 % 26)::integer)
            || chr(65 + (code / 1000 % 26)::integer) || lpad((code % 1000)::text, 3, '0')
        from (select vehicle * 7654321 % 17576000 as code) as numbered $$"""


class Operator:
    """Asks a service as one who may do everything."""

    CONSUMER = "/api/v1/operations/consumers/vehicle_replica"
    REPLAYS = "/api/v1/operations/replays"

    def __init__(self, port):
        self.port = port

    def ask(self, method, path, body=None, **headers):
        """Status and answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            headers = {"x-api-key": WRITER, "content-type": "application/json", **headers}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, text
        finally:
            connection.close()

    def done(self, method, path, body=None):
        status, text = self.ask(method, path, body)
        if status not in (200, 202):
            raise SystemExit(f"{method} {path}: {status} {text}")
        return json.loads(text)

    def order(self, mode):
        return self.done("PUT", self.CONSUMER, {"mode": mode, "reason": "benchmark", "owner": "benchmark"})

    def replay(self, mode, **members):
        """Starts one: where it is."""
        body = {"consumer": "vehicle_replica", "mode": mode, "reason": "benchmark", **members}
        return f"{self.REPLAYS}/{self.done('POST', self.REPLAYS, body)['replayId']}"

    def until(self, path, is_so, pause=0.02):
        """The state as soon as it is so, and after how many seconds."""
        begun = time.monotonic()
        while time.monotonic() < begun + LONGEST:
            found = self.done("GET", path)
            if is_so(found):
                return found, time.monotonic() - begun
            time.sleep(pause)
        raise SystemExit(f"{path} stays as it is: {found}")


def following(**settings):
    """Settings of an Insurance that keeps a copy."""
    return {"REPLICA__ENABLED": "true", "VEHICLE_CLIENT__API_KEY": WRITER, **settings}


class Replica:
    """Vehicle with a million vehicles, and an Insurance that answers from its copy alone."""

    def __init__(self, stack, database, full):
        self.stack, self.database, self.full = stack, database, full
        self.name = database.filled("benchmark_replica", VEHICLES, PERSONS)
        database.execute(self.name, f"{AFRESH}; {plates()}")
        self.services = Services(stack, database, self.name)
        self.facts = {}

    def run(self):
        self.vehicle = self.services.ready("vehicle")
        before = sum(map(machine.cpu_seconds, [self.vehicle.process.pid, machine.postgres_pid(self.database.port)]))
        begun = time.monotonic()
        self.insurance = self.services.ours("insurance", upstream=self.vehicle, **following(ENRICHMENT__STRATEGY="replica"))
        self.operator = Operator(self.insurance.port)
        self.operator.until(Operator.CONSUMER, lambda it: it["generation"] > 0)
        self.told("first_copy_s", time.monotonic() - begun, f"{VEHICLES:,} vehicles are copied")
        processes = [self.vehicle.process.pid, self.insurance.process.pid, machine.postgres_pid(self.database.port)]
        self.told("first_copy_cpu_s", sum(map(machine.cpu_seconds, processes)) - before, "the same, seconds of CPU of all three")
        self.compare()
        self.lookups()
        self.cost()
        self.catch_up()
        self.dry_run()
        self.cancel()
        self.lag()
        self.compare()
        for candidate in (self.insurance, self.vehicle):
            self.stack.stop(candidate.process)
        return self.facts

    def told(self, name, figure, words):
        self.facts[name] = figure
        print(f"{words}: {figure:,.2f} ({name})", flush=True)

    def value(self, query):
        return self.database.value(self.name, query)

    def compare(self):
        differences = int(self.value(DIFFERENCES))
        if differences:
            raise SystemExit(f"{differences} differences between Vehicle and its copy")

    def lookups(self):
        """A person with eight vehicles is looked up: what reaches Vehicle."""
        expected = json.loads(profile(7, VEHICLES).replace("\x01", "0"))["insurances"]
        before = self.lookup_calls()
        for _ in range(LOOKUPS):
            body = {"personalIdentityNumber": person(7)}
            found = self.operator.done("POST", "/api/v1/insurances/lookup", body)["insurances"]
            vehicles = [(it["vehicle"], it["enrichment"]["source"]) for it in found]
            if vehicles != [(it["vehicle"], "replica") for it in expected]:
                raise SystemExit(f"not from the copy: {found}")
        self.facts["lookups"] = LOOKUPS * len(expected)
        self.told("lookup_calls", self.lookup_calls() - before, f"for {self.facts['lookups']:,} lookups Vehicle was called")

    def cost(self):
        """An answer with eight vehicles beside one with eight policies of other things, round by round."""
        # Else PostgreSQL does it meanwhile by itself.
        self.database.execute(self.name, "vacuum analyze insurance_replica.vehicles")
        for name, persons, words in (("cars_to_none", FEW, "from memory"), ("read_cars_to_none", PERSONS, "read")):
            requests = Requests(FOLDER, VEHICLES, persons)
            bench = Bench(self.stack, machine.postgres_pid(self.database.port), 5 if self.full else 2)
            lookups = lambda remainder: [requests.lookup(number) for number in range(remainder, persons, 16)]
            files = {it: requests.write(f"copy_{rest}", lookups(rest)) for it, rest in (("8 cars, copy", 7), ("8 policies, no car", 15))}
            bench.rounds([(it, file, [self.insurance], {}) for it, file in files.items()], 5 if self.full else 3)
            if not all(record["valid"] for record in bench.records):
                raise SystemExit("answers from the copy are not what they have to be")
            cars, none = ([its["cpu_us"]["all"] for its in bench.records if its["scenario"] == it] for it in files)
            ratio = median(its / other for its, other in zip(cars, none, strict=True))
            self.told(name, ratio, f"an answer with 8 cars, {words}, costs so many times one with none")

    def lookup_calls(self):
        """Requests to the lookups, as Vehicle counts them."""
        text = self.operator_of_vehicle().ask("GET", "/metrics")[1].decode()
        counted = re.findall(r'^http_server_request_duration_seconds_count\{(.*)\} (\d+)$', text, re.M)
        if not any('http_route="/api/v1/vehicles"' in labels for labels, _ in counted):
            raise SystemExit("Vehicle does not count its requests")
        return sum(int(count) for labels, count in counted if 'http_route="/api/v1/vehicles/' in labels)

    def operator_of_vehicle(self):
        return Operator(self.vehicle.port)

    def change_many(self):
        """A bulk update, whose events have got their places."""
        last = int(self.value(POSITION)) + MANY
        update = "update vehicle.vehicles set model_year = 1990 + (model_year - 1989) % 36"
        self.database.execute(self.name, f"{update} where registration_number in (select plate(it) from generate_series(1, {MANY}) as it)")
        self.wait(f"select position = {last} from vehicle_events.head")

    def wait(self, condition):
        give_up = time.monotonic() + LONGEST
        while self.value(condition) != "true":
            if time.monotonic() > give_up:
                raise SystemExit(f"it never was so: {condition}")
            time.sleep(0.02)

    def catch_up(self):
        """What came while the consumer was paused."""
        self.operator.order("paused")
        before = int(self.value(POSITION))
        for _ in range(4 if self.full else 2):
            self.change_many()
        self.window = (before + 1, int(self.value(POSITION)))
        self.operator.order("follow")
        _, seconds = self.operator.until(Operator.CONSUMER, lambda it: it["position"] == self.window[1])
        self.told("caught_up_per_s", (self.window[1] - before) / seconds, f"{self.window[1] - before:,} events are caught up with")
        self.compare()

    def compare_again(self):
        first, last = self.window
        return self.operator.replay("dry_run", fromPosition=first, untilPosition=last)

    def dry_run(self):
        first, last = self.window
        replay = self.compare_again()
        found, seconds = self.operator.until(replay, lambda it: it["endedAt"])
        outcomes = {it["outcome"] for it in found["outcomes"]}
        if (found["status"], found["seen"], found["failed"]) != ("completed", last - first + 1, 0) or outcomes - {"equal", "replica_ahead"}:
            raise SystemExit(f"the dry run has not found what there is: {found}")
        self.told("compared_per_s", found["seen"] / seconds, "events are compared by a dry run")

    def cancel(self):
        """Dry runs and rebuilds are ended in their midst."""
        slowest = 0
        for number in range(TIMES):
            replay = self.operator.replay("rebuild") if number % 2 else self.compare_again()
            self.operator.until(replay, lambda it: it["status"] == "running" and (it["seen"] or it["mode"] == "rebuild"), 0.001)
            if number % 2:
                self.operator.until(Operator.CONSUMER, lambda it: (it["snapshot"] or {}).get("copied"), 0.001)
            begun = time.monotonic()
            self.operator.done("DELETE", replay)
            ended, _ = self.operator.until(replay, lambda it: it["endedAt"], 0.001)
            consumer, _ = self.operator.until(Operator.CONSUMER, lambda it: it["snapshot"] is None, 0.001)
            slowest = max(slowest, time.monotonic() - begun)
            if (ended["status"], consumer["mode"]) != ("cancelled", "follow"):
                raise SystemExit(f"not cancelled: {ended} {consumer}")
        self.told("cancelled_s", slowest, f"the slowest of {TIMES} cancellations")

    def lag(self):
        changes = (30 if self.full else 8) * RATE
        before = int(self.value(POSITION))
        words = {":changes": changes, ":rate": RATE, ":until": before + changes}
        text = CHANGES
        for word, value in words.items():
            text = text.replace(word, str(value))
        self.database.execute(self.name, SIGHTS)
        begun = time.monotonic()
        self.database.execute(self.name, text)
        rate = changes / (time.monotonic() - begun)
        middle, high, count = re.match(r"\{(.*),(.*)\} (.*)", self.value(LAGS.format(before))).groups()
        if int(count) != changes:
            raise SystemExit(f"{changes} vehicles were changed and {count} of them seen in the copy")
        self.facts["lag_events_per_s"] = rate
        self.told("lag_p50_ms", float(middle), f"the copy has a change, at {rate:.0f}/s, p50")
        self.told("lag_p99_ms", float(high), "the same, p99")
