"""Changes of vehicles by SQL, as the legacy system makes them, and over HTTP."""

import http.client
import random
import subprocess
import threading

from kit.data import plate
from kit.replica import Operator
from kit.stack import FOLDER, RELEASE

# Random changes are about the first ones, half of them about a few. The others are there for bulk updates.
VEHICLES, OFTEN, FEW = 120_000, 20_000, 50
MANY = 100_000
# Changes of one run of the statements, without those that find no vehicle or nothing to change.
CHUNK = 50
RANDOM = f"""do $$
declare
    chance float;
    one text;
    other text;
    year integer;
    made integer := 0;
begin
    while made < {CHUNK} loop
        chance := random();
        one := plate(floor(random() * case when random() < 0.5 then {FEW} else {OFTEN} end)::bigint);
        other := plate(floor(random() * {OFTEN})::bigint);
        if chance < 0.55 then
            year := 1990 + floor(random() * 36);
            update vehicle.vehicles
            set make = (array['Volvo', null, 'Saab'])[1 + floor(random() * 3)::integer], model_year = year
            where registration_number = one and model_year is distinct from year;
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
            update vehicle.vehicles set model_year = 2000 where registration_number = one and model_year is distinct from 2000;
        end if;
        made := made + found::integer;
        commit;
    end loop;
end
$$"""
BULK = """begin;
set local threadpilot.correlation_id = 'bulk';
update vehicle.vehicles set model_year = 1990 + (coalesce(model_year, 1990) - 1989) % 36;
commit"""
STATEMENTS = {"random": RANDOM, "bulk": BULK}
# Events of random changes and of bulk updates, and all. Those of changes over HTTP have the request's id.
COUNTS = """select count(*) filter (where correlation_id = 'none') || ' '
        || count(*) filter (where correlation_id = 'bulk') || ' ' || count(*)
    from vehicle_events.events"""
# Answers to a change over HTTP, made or not.
USUAL = (200, 201, 204, 404, 409, 412, 429, 503)
# What the death of a process does to its callers.
BROKEN = (OSError, http.client.HTTPException)


class Session:
    """A session of PostgreSQL in which statements succeed so often, whatever becomes of the server."""

    def __init__(self, stack, url, name, times):
        self.stack = stack
        file = FOLDER / f"changes_{name}.sql"
        file.write_text(STATEMENTS[name], encoding="utf-8")
        command = [RELEASE / "benchmarks", "changes", url, file, str(times)]
        self.process = stack.spawn(command, stdout=subprocess.PIPE, text=True)

    def end(self):
        """How often it had to try again; nothing where it gave up."""
        text = self.process.communicate()[0]
        self.stack.processes.remove(self.process)
        return None if self.process.returncode else int(text)


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
