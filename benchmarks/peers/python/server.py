"""Both services as a tuned Python service answers: FastAPI, asyncpg and uvloop in two workers.

    server.py '{"service": "vehicle", "port": 1, "database": "postgres://…", "key": "…", "duties": true}'

`duties` are a log line and a request metric; the key is checked with and without them. Insurance also
takes `vehicle` (URL) and `batch`.
"""

import asyncio
import hmac
import json
import logging
import os
import re
import secrets
import socket
import sys
import time
import unicodedata
import uuid
from contextlib import asynccontextmanager

import aiohttp
import asyncpg
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from prometheus_client import Histogram
from pydantic import BaseModel, ConfigDict, Field

WORKERS = 2
CONNECTIONS_TO_DATABASE = 8 // WORKERS
CALLS_TO_VEHICLE = 64 // WORKERS
SETTINGS = json.loads(sys.argv[1])
KEY = SETTINGS["key"].encode()
NUMBER = re.compile("[A-ZÅÄÖ0-9]{2,7}")
DURATIONS = Histogram("http_server_request_duration_seconds", "Duration of requests", ["method", "route", "status"])


@asynccontextmanager
async def life(app):
    size = {"min_size": CONNECTIONS_TO_DATABASE, "max_size": CONNECTIONS_TO_DATABASE}
    app.state.database = await asyncpg.create_pool(SETTINGS["database"], **size)
    connector = aiohttp.TCPConnector(limit=CALLS_TO_VEHICLE)
    async with aiohttp.ClientSession(connector=connector, headers={"x-api-key": SETTINGS["key"]}) as session:
        app.state.session = session
        yield


app = FastAPI(lifespan=life, openapi_url=None)


class Duties:
    """Checks the key and, if asked to, writes the log line and the metric. Plain ASGI: the cheapest layer."""

    def __init__(self, inner):
        self.inner = inner
        self.children = {}
        self.log = logging.getLogger("requests")

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.inner(scope, receive, send)
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id")
        scope["ids"] = {"requestId": given.decode() if given else str(uuid.uuid4()), "traceId": secrets.token_hex(16)}
        allowed = hmac.compare_digest(headers.get(b"x-api-key", b""), KEY) or scope["path"] == "/healthz"
        inner = self.inner if allowed else unauthorized
        if not SETTINGS["duties"]:
            return await inner(scope, receive, send)
        started, status = time.perf_counter(), 0

        async def watched(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        await inner(scope, receive, watched)
        duration = time.perf_counter() - started
        route = getattr(scope.get("route"), "path", "")
        labels = (scope["method"], route, status)
        if labels not in self.children:
            self.children[labels] = DURATIONS.labels(*labels)
        self.children[labels].observe(duration)
        line = {"level": "INFO", "message": "request ended", "method": scope["method"], "route": route, "status": status}
        line |= {"duration_ms": duration * 1e3, "key_id": "benchmark" if allowed else "", **scope["ids"]}
        self.log.info(orjson.dumps(line).decode())


def problem(scope, status, code, title, detail, **headers):
    whole = {"type": f"/problems/{code}", "title": title, "status": status, "detail": detail, "code": code}
    body = orjson.dumps({**whole, **scope["ids"], "errors": []})
    return Response(body, status, headers, "application/problem+json")


async def unauthorized(scope, receive, send):
    detail = "Send a valid key in the X-Api-Key header."
    answer = problem(scope, 401, "unauthorized", "Unauthorized", detail, **{"www-authenticate": "ApiKey"})
    await answer(scope, receive, send)


@app.get("/healthz")
async def healthz():
    return {"status": "ok"}


def canonical(spelling):
    letters = unicodedata.normalize("NFC", spelling).upper().replace(" ", "").replace("-", "")
    return letters if NUMBER.fullmatch(letters) else None


def to_wire(row):
    names = {"registrationNumber": "registration_number", "make": "make", "model": "model", "modelYear": "model_year"}
    return {name: row[column] for name, column in names.items()}


def in_json(value):
    return Response(orjson.dumps(value), media_type="application/json")


class Batch(BaseModel):
    model_config = ConfigDict(extra="forbid")
    registrationNumbers: list[str] = Field(min_length=1, max_length=500)


class Lookup(BaseModel):
    model_config = ConfigDict(extra="forbid")
    personalIdentityNumber: str = Field(pattern="^[0-9]{8}-?[0-9]{4}$")


if SETTINGS["service"] == "vehicle":

    @app.get("/api/v1/vehicles/{number}")
    async def find_vehicle(number: str, request: Request):
        number = canonical(number)
        if number is None:
            detail = "a registration number has 2 to 7 characters"
            return problem(request.scope, 400, "invalid_registration_number", "Invalid request", detail)
        row = await app.state.database.fetchrow(
            "select registration_number, make, model, model_year, version from vehicle.vehicles where registration_number = $1",
            number,
        )
        if row is None:
            detail = "There is no vehicle with this registration number."
            return problem(request.scope, 404, "vehicle_not_found", "Vehicle not found", detail)
        answer = in_json(to_wire(row))
        answer.headers["etag"] = f'"1.{row["version"]}"'
        answer.headers["cache-control"] = "private, max-age=60"
        return answer

    @app.post("/api/v1/vehicles/batch")
    async def find_vehicles(batch: Batch):
        numbers = dict.fromkeys(map(canonical, batch.registrationNumbers))
        invalid = [
            {"registrationNumber": spelling, "reason": "a registration number has 2 to 7 characters"}
            for spelling in batch.registrationNumbers
            if canonical(spelling) is None
        ]
        numbers.pop(None, None)
        rows = await app.state.database.fetch(
            "select registration_number, make, model, model_year from vehicle.vehicles where registration_number = any($1)",
            list(numbers),
        )
        found = {row["registration_number"]: to_wire(row) for row in rows}
        vehicles = [found[number] for number in numbers if number in found]
        return in_json({"vehicles": vehicles, "notFound": [number for number in numbers if number not in found], "invalid": invalid})


async def ask_for_one(number, headers):
    async with app.state.session.get(f"{SETTINGS['vehicle']}/api/v1/vehicles/{number}", headers=headers) as answer:
        if answer.status not in (200, 404):
            raise RuntimeError(f"Vehicle answered {answer.status}")
        return number, orjson.loads(await answer.read()) if answer.status == 200 else None


async def look_up(cars, headers):
    if not SETTINGS["batch"]:
        return dict(await asyncio.gather(*(ask_for_one(number, headers) for number in cars)))
    asked = {"registrationNumbers": cars}
    async with app.state.session.post(f"{SETTINGS['vehicle']}/api/v1/vehicles/batch", json=asked, headers=headers) as answer:
        if answer.status != 200:
            raise RuntimeError(f"Vehicle answered {answer.status}")
        found = orjson.loads(await answer.read())["vehicles"]
        return {vehicle["registrationNumber"]: vehicle for vehicle in found}



def write(row, vehicles):
    number, vehicle, outcome = row["car_registration_number"], None, ("not_applicable", None, None)
    if number:
        source = "batch" if SETTINGS["batch"] else "live"
        vehicle = vehicles.get(number)
        outcome = ("enriched", source, 0) if vehicle else ("not_found", source, None)
    return {
        "insuranceId": row["insurance_id"],
        "product": row["product"],
        "status": row["status"],
        "validFrom": row["valid_from"],
        "validUntil": row["valid_until"],
        "monthlyCost": orjson.Fragment(f"{row['monthly_cost']:.2f}"),
        "currency": "SEK",
        "carRegistrationNumber": number,
        "vehicle": vehicle,
        "enrichment": {
            "status": outcome[0],
            "cause": None,
            "source": outcome[1],
            "ageSeconds": outcome[2],
            "retryAfterSeconds": None,
        },
    }


if SETTINGS["service"] == "insurance":

    @app.post("/api/v1/insurances/lookup")
    async def look_up_insurances(lookup: Lookup, request: Request):
        person = lookup.personalIdentityNumber.replace("-", "")
        rows = await app.state.database.fetch(
            "select insurance_id, product, status, valid_from::text, valid_until::text, monthly_cost, car_registration_number"
            " from insurance.insurances where personal_identity_number = $1 order by insurance_id",
            person,
        )
        if not rows:
            detail = "Nobody has insurances under this personal identity number."
            return problem(request.scope, 404, "insurances_not_found", "Insurances not found", detail)
        cars = list(dict.fromkeys(row["car_registration_number"] for row in rows if row["car_registration_number"]))
        headers = {"x-request-id": request.scope["ids"]["requestId"]}
        vehicles = await look_up(cars, headers) if cars else {}
        total = sum(row["monthly_cost"] for row in rows)
        answer = in_json(
            {
                "personalIdentityNumber": person,
                "insurances": [write(row, vehicles) for row in rows],
                "totalMonthlyCost": orjson.Fragment(f"{total:.2f}"),
                "currency": "SEK",
                "enrichment": "complete" if cars else "not_applicable",
            }
        )
        answer.headers["cache-control"] = "no-store"
        return answer


def main():
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", SETTINGS["port"]))
    sock.listen(4096)
    for _ in range(WORKERS - 1):
        if os.fork() == 0:
            break
    config = uvicorn.Config(Duties(app), loop="uvloop", http="httptools", access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[sock])


main()
