"""The processes of a run: PostgreSQL, the services and their peers. All end with the run."""

import ctypes
import hashlib
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from kit import machine
from kit.data import KEY, WRITER, plate

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
FOLDER = TARGET / "benchmarks"
RELEASE = TARGET / "release"
MINIMUM_WAIT = 0.001


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def end_with_us():
    """Has Linux end a child when this process ends, however it does."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Candidate:
    """A running server under test, with the processes behind it."""

    def __init__(self, name, process, port, upstream=None):
        self.name, self.process, self.port, self.upstream = name, process, port, upstream


class Stack:
    """Starts processes and ends all of them."""

    def __init__(self):
        self.processes = []

    def spawn(self, command, **more):
        given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **more}
        process = subprocess.Popen(command, preexec_fn=end_with_us, start_new_session=True, **given)
        self.processes.append(process)
        return process

    def stop(self, process):
        """Ends a process with its group."""
        if process.stdin:
            process.stdin.close()
        else:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.processes.remove(process)

    def kill(self, process):
        """As a machine that is lost: nothing is ended or given back."""
        process.kill()
        process.wait()
        self.processes.remove(process)

    def stop_all(self):
        for process in reversed(list(self.processes)):
            try:
                self.stop(process)
            except ProcessLookupError:
                self.processes.remove(process)

    def serve(self, name, command, port, upstream=None, environment=None):
        """Starts a server and waits for its first 200 of /healthz."""
        process = self.spawn(command, env={**os.environ, **(environment or {})})
        for _ in range(30000):
            if process.poll() is not None:
                raise SystemExit(f"{name} has ended with {process.returncode}")
            if answers(port, "/healthz"):
                return Candidate(name, process, port, upstream)
            time.sleep(MINIMUM_WAIT)
        raise SystemExit(f"{name} does not answer")


def answers(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


class Database:
    """The private PostgreSQL with one database for each size."""

    def __init__(self, stack):
        self.password, self.signing_key = secrets.token_hex(16), secrets.token_hex(32)
        pipe = subprocess.PIPE
        command = [RELEASE / "benchmarks", "database", TARGET, self.password]
        self.process = stack.spawn(command, stdin=pipe, stdout=pipe, text=True)
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            raise SystemExit("PostgreSQL did not start")
        self.port = int(self.url.rpartition("@")[2].split("/")[0].split(":")[1])

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise SystemExit(f"PostgreSQL refused {line}")
        return answer

    def stop_at_once(self):
        """An immediate stop of PostgreSQL, which writes nothing any more, and its start."""
        pid = machine.postgres_pid(self.port)
        os.kill(pid, signal.SIGQUIT)
        while os.path.exists(f"/proc/{pid}"):
            time.sleep(0.02)
        self.ask("again")

    def load(self, vehicles, persons):
        """A database with the data, named by everything that it is made of."""
        files = sorted([*(ROOT / "migrations").rglob("*.sql"), *(BENCHMARKS / "data").glob("*.sql")])
        made_of = hashlib.sha256(b"".join(file.read_bytes() for file in files))
        made_of.update(f"{vehicles} {persons}".encode())
        name = f"benchmark_{made_of.hexdigest()[:12]}"
        if self.ask(f"prepare {name}") == "loaded":
            return name
        self.filled(name, vehicles, persons)
        self.keep(name)
        return name

    def filled(self, name, vehicles, persons):
        """The same, made anew for one run."""
        self.ask(f"prepare {name}")
        self.make(name, "migrate")
        values = {":vehicles": str(vehicles), ":persons": str(persons)}
        for file in ("vehicles", "insurances"):
            text = (BENCHMARKS / "data" / f"{file}.sql").read_text(encoding="utf-8")
            for word, value in values.items():
                text = text.replace(word, value)
            self.execute(name, text)
        self.execute(name, "vacuum analyze")
        return name

    def fresh(self, name):
        """A database with the sample data of the services."""
        return self.kept(name, "")[0]

    def kept(self, name, made_of):
        """The same, or the one of a run before that was made of this; whether it is."""
        name = f"{name}_{hashlib.sha256(made_of.encode()).hexdigest()[:12]}" if made_of else name
        is_loaded = self.ask(f"prepare {name}") == "loaded"
        self.make(name, "migrate")
        if not is_loaded:
            self.make(name, "seed")
        return name, is_loaded

    def keep(self, name):
        """Has a database stay for the next run."""
        self.execute(name, "create table benchmark_data ()")

    def make(self, name, command):
        for service in ("vehicle", "insurance"):
            run = [RELEASE / f"{service}-service", command]
            subprocess.run(run, env=self.environment(service, name), stdout=subprocess.DEVNULL, check=True)

    def run(self, name, file):
        self.ask(f"run {name} {file}")

    def execute(self, name, statements):
        file = FOLDER / "statements.sql"
        file.write_text(statements, encoding="utf-8")
        self.run(name, file)

    def value(self, name, query):
        return self.ask(f"value {name} {' '.join(query.split())}")

    def pgbench(self, name, postgres):
        """Microseconds of PostgreSQL for each one-row select; nothing where there is no pgbench."""
        if not shutil.which("pgbench"):
            return None
        script = FOLDER / "select.sql"
        select = "select registration_number, make, model, model_year, version from vehicle.vehicles"
        script.write_text(f"{select} where registration_number = '{plate(4711)}';\n", encoding="utf-8")
        command = ["pgbench", "--no-vacuum", "--protocol=prepared", "--client=8", "--time=3", f"--file={script}"]
        before = machine.cpu_seconds(postgres)
        run = subprocess.run([*command, self.of("vehicle", name)], capture_output=True, text=True, check=True)
        count = int(re.search(r"actually processed: (\d+)", run.stdout).group(1))
        return 1e6 * (machine.cpu_seconds(postgres) - before) / count

    def of(self, service, name):
        """URL of a service's role."""
        return f"postgres://{service}_service:{self.password}@127.0.0.1:{self.port}/{name}"

    def administrator(self, name):
        """URL of whoever may do everything."""
        return f"{self.url.rpartition('/')[0]}/{name}"

    def environment(self, service, name):
        """The variables of one of our services."""
        values = {
            "DATABASE__URL": f"postgres://127.0.0.1:{self.port}/{name}",
            "DATABASE__PASSWORD": self.password,
            "DATABASE__MIGRATION_PASSWORD": self.password,
            "API_KEYS__BENCHMARK__KEY": KEY,
            "API_KEYS__WRITER__KEY": WRITER,
            "API_KEYS__WRITER__SCOPES": "read,write,feed,audit,admin",
            "EVENT_LOG__SIGNING_KEY": self.signing_key,
        }
        if service == "insurance":
            values["VEHICLE_CLIENT__API_KEY"] = KEY
        return {**os.environ, **{f"{service.upper()}__{key}": value for key, value in values.items()}}


class Services:
    """Starts candidates on one database."""

    def __init__(self, stack, database, name):
        self.stack, self.database, self.name = stack, database, name

    def ours(self, service, name="ours", upstream=None, **settings):
        port = free_port()
        if upstream:
            settings["VEHICLE_CLIENT__BASE_URL"] = f"http://127.0.0.1:{upstream.port}"
        environment = self.environment(service, port, **settings)
        return self.stack.serve(name, self.command(service), port, upstream, environment)

    def ready(self, service, **more):
        """One of ours that has all that it needs."""
        candidate = self.ours(service, **more)
        while not answers(candidate.port, "/readyz"):
            if candidate.process.poll() is not None:
                raise SystemExit(f"{service} has ended with {candidate.process.returncode}")
            time.sleep(MINIMUM_WAIT)
        return candidate

    def command(self, service, *words):
        return [RELEASE / f"{service}-service", *words]

    def environment(self, service, port, **settings):
        settings["SERVER__PORT"] = str(port)
        settings = {f"{service.upper()}__{key}": value for key, value in settings.items()}
        return {**self.database.environment(service, self.name), **settings}

    def verify(self, service, command="verify-log"):
        """What is wrong with a service's log, or with its state beside it; empty where nothing is."""
        environment = self.database.environment(service, self.name)
        run = subprocess.run(self.command(service, command), env=environment, capture_output=True, text=True, check=False)
        return run.returncode and run.stdout + run.stderr

    def node(self, service, name="node", duties=True, upstream=None, batch=False):
        return self.peer(["node", FOLDER / "node" / "server.mjs"], service, name, duties, upstream, batch)

    def python(self, service, name="python", duties=True, upstream=None, batch=False):
        command = [FOLDER / "python" / "bin" / "python", BENCHMARKS / "peers" / "python" / "server.py"]
        return self.peer(command, service, name, duties, upstream, batch)

    def peer(self, command, service, name, duties, upstream, batch):
        port = free_port()
        settings = {
            "service": service,
            "port": port,
            "database": self.database.of(service, self.name),
            "key": KEY,
            "duties": duties,
            "vehicle": f"http://127.0.0.1:{upstream.port}" if upstream else None,
            "batch": batch,
        }
        return self.stack.serve(name, [*command, json.dumps(settings)], port, upstream)

    def limit(self, kind):
        port = free_port()
        role = {"sqlx": "vehicle", "update": "insurance"}.get(kind)
        more = [self.database.of(role, self.name)] if role else []
        environment = {"EDGE__SERVER__PORT": str(port), "EDGE__API_KEYS__BENCHMARK__KEY": KEY}
        return self.stack.serve(kind, [RELEASE / "benchmarks", "limit", f"127.0.0.1:{port}", kind, *more], port, environment=environment)


def build():
    """Our binaries."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    packages = [f"--package={name}" for name in ("benchmarks", "vehicle-service", "insurance-service")]
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet", *packages], cwd=ROOT, check=True)


def build_peers():
    """What the peers are made of, pinned."""
    node, source = FOLDER / "node", BENCHMARKS / "peers" / "node"
    node.mkdir(exist_ok=True)
    for file in source.iterdir():
        shutil.copy(file, node)
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"]
    subprocess.run([*npm, "--prefix", node], check=True)
    python = FOLDER / "python"
    requirements = (BENCHMARKS / "peers" / "python" / "requirements.txt").read_text(encoding="utf-8").split()
    installed = python / "installed"
    if not installed.exists() or installed.read_text(encoding="utf-8").split() != requirements:
        subprocess.run(["python3", "-m", "venv", "--clear", python], check=True)
        subprocess.run([python / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *requirements], check=True)
        installed.write_text("\n".join(requirements), encoding="utf-8")
