"""How soon an event is in a stream of NATS that syncs each message to the disk."""

import threading
import time
from statistics import quantiles

from kit import writes
from kit.data import plate
from kit.nats import Nats
from kit.stack import FOLDER, Services

# Events a second.
RATE = 300


def lag(stack, database, full):
    """Rows are changed by SQL; a reader waits at the stream."""
    nats = Nats(stack)
    services = Services(stack, database, database.fresh("benchmark_relay"))
    file, seconds = FOLDER / "changes.sql", 30 if full else 8
    rows = ", ".join(f"('{plate(number)}', 'Volvo', 'XC60', 2000)" for number in range(writes.VEHICLES))
    insert = "insert into vehicle.vehicles (registration_number, make, model, model_year) values"
    file.write_text(f"{insert} {rows} on conflict do nothing", encoding="utf-8")
    database.run(services.name, file)
    ours = services.ours("vehicle", RELAY__NATS__URL=nats.url)
    nats.stream.follow(int(database.value(services.name, "select count(*) from vehicle_events.events")))
    plates = ", ".join(f"'{plate(number)}'" for number in range(writes.VEHICLES))
    changes = writes.CHANGES.replace(f"/ {writes.RATE};", f"/ {RATE};").replace(":events", str(seconds * RATE))
    file.write_text(changes.replace(":plates", f"array[{plates}]"), encoding="utf-8")
    writing = threading.Thread(target=database.run, args=(services.name, file))
    begun = time.monotonic()
    writing.start()
    lags = nats.stream.lags(seconds * RATE)
    writing.join()
    seconds = time.monotonic() - begun
    stack.stop(ours.process)
    nats.stop()
    hundredths = quantiles(lags[RATE:], n=100)
    facts = {"events": len(lags), "per_second": len(lags) / seconds, "p50_ms": hundredths[49], "p99_ms": hundredths[98]}
    print(
        f"{facts['per_second']:.0f} events/s are in NATS p50 {facts['p50_ms']:.1f} p99 {facts['p99_ms']:.1f} ms after they were written",
        flush=True,
    )
    return facts
