"""Vehicles are changed while Vehicle, the consumer and PostgreSQL are killed. Then the copy is compared with the register."""

import http.client
import random
import subprocess
import threading
import time

from kit.data import plate
from kit.kills import say
from kit.replica import AFRESH, DIFFERENCES, LONGEST, Operator, following, plates
from kit.stack import FOLDER, RELEASE, Services, free_port

# Random changes are about the first ones, half of them about a few. The others are there for bulk updates.
VEHICLES, OFTEN, FEW = 120_000, 20_000, 50
MANY = 100_000
# Changes of one run of the statements. Some find no vehicle, or nothing to change.
CHUNK, SESSIONS = 50, 2
RANDOM = f"""do $$
declare
    chance float;
    one text;
    other text;
begin
    for number in 1..{CHUNK} loop
        chance := random();
        one := plate(floor(random() * case when random() < 0.5 then {FEW} else {OFTEN} end)::bigint);
        other := plate(floor(random() * {OFTEN})::bigint);
        if chance < 0.55 then
            update vehicle.vehicles
            set make = (array['Volvo', null, 'Saab'])[1 + floor(random() * 3)::integer], model_year = 1990 + floor(random() * 36)
            where registration_number = one;
        elsif chance < 0.7 then
            delete from vehicle.vehicles where registration_number = one;
        elsif chance < 0.85 then
            insert into vehicle.vehicles (registration_number, make, model) values (one, 'Kia', md5(random()::text))
            on conflict (registration_number) do update set model = excluded.model;
        elsif chance < 0.95 then
            update vehicle.vehicles set registration_number = other
            where registration_number = one and not exists (select from vehicle.vehicles where registration_number = other);
        else
            delete from vehicle.vehicles where registration_number = one;
            insert into vehicle.vehicles (registration_number, make) values (one, 'Ford') on conflict do nothing;
            update vehicle.vehicles set model_year = 2000 where registration_number = one;
        end if;
        commit;
    end loop;
end
$$"""
BULK = """begin;
set local threadpilot.correlation_id = 'bulk';
update vehicle.vehicles set model_year = 1990 + (coalesce(model_year, 1990) - 1989) % 36;
commit"""
# What the consumer does, kept in its own transactions.
JOURNAL = """create table effects (
    number bigint generated always as identity, generation bigint, registration_number text, version bigint
);
create table steps_back (position bigint);
create function note_effect() returns trigger language plpgsql security definer as $$
begin
    insert into public.effects (generation, registration_number, version)
    values (new.generation, new.registration_number, new.version);
    return null;
end
$$;
create trigger note_effect after insert or update on insurance_replica.vehicles
for each row execute function note_effect();
create function note_step_back() returns trigger language plpgsql security definer as $$
begin
    insert into public.steps_back values (new.position);
    return null;
end
$$;
create trigger note_step_back after update on insurance_replica.consumers
for each row when (new.log_id = old.log_id and new.position < old.position) execute function note_step_back()"""
QUIET = """select not exists (select from vehicle_events.unplaced)
        and position = (select position from vehicle_events.head) and filling is null and mode = 'follow'
        and not exists (select from insurance_replica.dead_letters where status in ('parked', 'retrying'))
    from insurance_replica.consumers"""
# Each is to find nothing.
CHECKS = {
    "differences between copy and source": DIFFERENCES,
    "effects applied twice": """select count(*) from (
        select from effects group by generation, registration_number, version having count(*) > 1) as twice""",
    "effects after a later one": """select count(*) from (
        select version < lag(version) over (partition by generation, registration_number order by number) as is_older
        from effects) as steps where is_older""",
    "steps back of the checkpoint": "select count(*) from steps_back",
    "open dead letters": "select count(*) from insurance_replica.dead_letters where status in ('parked', 'retrying')",
}
# Of a lease whose time has passed, since its holder is dead.
PASS = "update insurance.workers set leased_until = '-infinity' where worker = 'vehicle_replica'"
FENCE = "select fence from insurance.workers where worker = 'vehicle_replica'"
# Answers to a change over HTTP, made or not.
USUAL = (200, 201, 204, 404, 409, 412, 429, 503)

# What the death of a process does to its callers.
BROKEN = (OSError, http.client.HTTPException)


class Clerk(threading.Thread):
    """Changes vehicles over HTTP, one after the other, whatever becomes of it."""

    def __init__(self, port, over):
        super().__init__(daemon=True)
        self.vehicle, self.over, self.chance = Operator(port), over, random.Random(2021)
        self.made, self.refusals = 0, []

    def run(self):
        try:
            while not self.over.wait(0.01):
                self.change()
        except Exception as error:  # Anything that ends it early is a fault of the run.
            self.refusals.append(repr(error))

    def change(self):
        path = f"/api/v1/vehicles/{plate(self.chance.randrange(OFTEN))}"
        details = {"make": "Saab", "model": "900", "modelYear": self.chance.randrange(1980, 1994)}
        ways = [("PUT", details, {"if-match": "*"}), ("PUT", details, {"if-none-match": "*"}), ("DELETE", None, {"if-match": "*"})]
        method, body, headers = self.chance.choice(ways)
        try:
            status, text = self.vehicle.ask(method, path, body, **headers)
        except BROKEN:
            return
        self.made += status in (200, 201, 204)
        if status not in USUAL:
            self.refusals.append(f"{status} {text}")


class ReplicaKills:
    """Vehicle, and one Insurance that keeps a copy."""

    def __init__(self, stack, database):
        self.stack, self.database = stack, database
        self.name = database.filled("benchmark_replica_kills", VEHICLES, 0)
        database.execute(self.name, f"{AFRESH}; {plates()}; {JOURNAL}")
        self.services = Services(stack, database, self.name)
        self.ports = {service: free_port() for service in ("vehicle", "insurance")}
        self.processes = {}
        self.chance = random.Random(2021)

    def start(self, service):
        more = {}
        if service == "insurance":
            more = following(VEHICLE_CLIENT__BASE_URL=f"http://127.0.0.1:{self.ports['vehicle']}")
        environment = self.services.environment(service, self.ports[service], **more)
        self.processes[service] = self.stack.spawn(self.services.command(service), env=environment)

    def kill(self, service):
        time.sleep(self.chance.uniform(0, 0.3))
        self.stack.kill(self.processes[service])
        if service == "insurance":
            self.database.execute(self.name, PASS)
        self.start(service)

    def run(self, kills, stops, changes, bulks):
        """So many kills of each service while vehicles are changed, and stops of PostgreSQL."""
        for service in self.ports:
            self.start(service)
        over = threading.Event()
        clerk = Clerk(self.ports["vehicle"], over)
        begun = time.monotonic()
        clerk.start()
        sessions = [self.change(RANDOM, 2 * changes // CHUNK // SESSIONS) for _ in range(SESSIONS)]
        sessions.append(self.change(BULK, bulks))
        fence, idle = 0, 0
        for number in range(kills):
            # The one that is killed is the one that consumes.
            idle += not self.wait(f"select fence > {fence} from insurance.workers where worker = 'vehicle_replica'", 30)
            fence = int(self.database.value(self.name, FENCE))
            self.kill("insurance")
            self.kill("vehicle")
            if (number + 1) * stops // kills > number * stops // kills:
                time.sleep(self.chance.uniform(0, 0.3))
                self.database.stop_at_once()
            if number == kills // 2:
                self.begin_anew()
        followed = int(self.database.value(self.name, "select position from insurance_replica.consumers"))
        failed = [self.end(session) for session in sessions]
        over.set()
        clerk.join(120)
        is_quiet = self.wait(QUIET, LONGEST)
        counts = self.database.value(
            self.name,
            "select count(*) filter (where correlation_id <> 'bulk') || ' ' || count(*) filter (where correlation_id = 'bulk') from vehicle_events.events",
        )
        random_events, bulk_events = map(int, counts.split())
        facts = {
            "kills": {"the consumer": kills, "Vehicle": kills, "PostgreSQL": stops},
            "events": random_events + bulk_events,
            "followed_while_killed": followed,
            "seconds": time.monotonic() - begun,
            "tries_again": sum(filter(None, failed)),
            "over_http": clerk.made,
            "faults": {
                "kills of a process that did not consume": idle,
                "kills without an event followed between them": int(followed == 0),
                "random changes that are missing": max(0, changes - random_events),
                "changes of bulk updates that are missing": max(0, bulks * MANY - bulk_events),
                "sessions that have failed": failed.count(None),
                "changes over HTTP": clerk.refusals or (0 if clerk.made else "none"),
                "not quiet": 0 if is_quiet else self.database.value(self.name, "select to_json(consumers) from insurance_replica.consumers"),
                **{what: int(self.database.value(self.name, query)) for what, query in CHECKS.items()},
            },
        }
        for process in self.processes.values():
            self.stack.stop(process)
        words = f"{facts['events']:,} events, {facts['followed_while_killed']:,} of them followed meanwhile"
        say(facts, f"{words}, {facts['seconds']:.0f} s")
        return facts

    def change(self, statements, times):
        """A session of PostgreSQL in which the statements succeed so often."""
        file = FOLDER / f"changes_{len(self.stack.processes)}.sql"
        file.write_text(statements, encoding="utf-8")
        command = [RELEASE / "benchmarks", "changes", self.database.administrator(self.name), file, str(times)]
        return self.stack.spawn(command, stdout=subprocess.PIPE, text=True)

    def end(self, session):
        """How often it had to try again; nothing where it gave up."""
        text = session.communicate()[0]
        self.stack.processes.remove(session)
        return None if session.returncode else int(text)

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

    def wait(self, condition, longest):
        give_up = time.monotonic() + longest
        while time.monotonic() < give_up:
            if self.database.value(self.name, condition) == "true":
                return True
            time.sleep(0.02)
        return False
