"""The rows of `benchmarks/data/*.sql` and the answers to them, computed apart from every candidate."""

import json
import random

# Stands in an answer for what differs each time.
ANYTHING = "\x01"
KEY = "benchmark-key-0123456789"
# Opens what the write side has.
WRITER = "benchmark-writer-0123456789"
CODES = 26**3 * 1000
MAKES = ["Volvo", "Toyota", "Ford", "Kia", "Saab", "Polestar", "Volkswagen"]
STATIC = '{"registrationNumber":"ABC123","make":"Volvo","model":"XC60","modelYear":2021}'


def dumps(value):
    return json.dumps(value, separators=(",", ":"))


def plate(vehicle):
    code = vehicle * 7654321 % CODES
    letters = (code // 676000, code // 26000 % 26, code // 1000 % 26)
    return "".join(chr(65 + letter) for letter in letters) + f"{code % 1000:03}"


def vehicle(number):
    return {
        "registrationNumber": plate(number),
        "make": MAKES[number % 7],
        "model": f"Model {number % 97}",
        "modelYear": 1990 + number % 36,
    }


def person(number):
    return f"19{number * 7919 % 10**10:010}"


def profile(number, vehicles):
    """A person's policies, as JSON with the amounts as they have to be written."""
    is_car = number % 16 < 8
    total, insurances = 0, []
    for policy in range(number % 8 + 1):
        place = number * 8 + policy
        cents = (10 + place % 90) * 100 + 50
        total += cents
        insured, outcome = "null", ("not_applicable", "null", "null")
        product = "car" if is_car else "personal_health" if policy % 2 else "pet"
        car = "null"
        if is_car:
            found = vehicle(place * 31337 % vehicles)
            car, insured = f'"{found["registrationNumber"]}"', dumps(found)
            outcome = ("enriched", f'"{ANYTHING}"', ANYTHING)
        insurances.append(
            f'{{"insuranceId":{1000000 + place},"product":"{product}","status":"active",'
            f'"validFrom":"2020-01-01","validUntil":null,"monthlyCost":{money(cents)},"currency":"SEK",'
            f'"carRegistrationNumber":{car},"vehicle":{insured},"enrichment":{{"status":"{outcome[0]}","cause":null,'
            f'"source":{outcome[1]},"ageSeconds":{outcome[2]},"retryAfterSeconds":null}}}}'
        )
    whole = "complete" if is_car else "not_applicable"
    return (
        f'{{"personalIdentityNumber":"{person(number)}","insurances":[{",".join(insurances)}],'
        f'"totalMonthlyCost":{money(total)},"currency":"SEK","enrichment":"{whole}"}}'
    )


def money(cents):
    return f"{cents // 100}.{cents % 100:02}"


def problem(status, code, title, detail):
    ids = {"requestId": "@", "traceId": "@"}
    whole = {"type": f"/problems/{code}", "title": title, "status": status, "detail": detail, "code": code, **ids}
    return dumps({**whole, "errors": []}).replace("@", ANYTHING)


NO_VEHICLE = problem(404, "vehicle_not_found", "Vehicle not found", "There is no vehicle with this registration number.")
NO_KEY = problem(401, "unauthorized", "Unauthorized", "Send a valid key in the X-Api-Key header.")


class Requests:
    """Files of requests with their answers, the same ones in every run."""

    def __init__(self, folder, vehicles, persons):
        self.folder, self.vehicles, self.persons = folder, vehicles, persons
        self.chance = random.Random(2021)

    def write(self, name, lines):
        file = self.folder / f"{name}.tsv"
        text = "\n".join("\t".join(str(field) for field in line) for line in lines)
        file.write_text(text + "\n", encoding="utf-8")
        return file

    def some_vehicles(self, count):
        return [self.chance.randrange(self.vehicles) for _ in range(count)]

    def hit(self, number, key=KEY, answer=None):
        path = f"/api/v1/vehicles/{plate(number)}"
        return ("GET", path, key, "", *(answer or (200, dumps(vehicle(number)))))

    def batch(self):
        found = self.some_vehicles(47)
        missing = [self.vehicles + number for number in self.some_vehicles(3)]
        asked = list(dict.fromkeys(found + missing))
        answer = {
            "vehicles": [vehicle(number) for number in asked if number < self.vehicles],
            "notFound": [plate(number) for number in asked if number >= self.vehicles],
            "invalid": [],
        }
        body = dumps({"registrationNumbers": [plate(number) for number in asked]})
        return ("POST", "/api/v1/vehicles/batch", KEY, body, 200, dumps(answer))

    def lookup(self, number):
        body = dumps({"personalIdentityNumber": person(number)})
        return ("POST", "/api/v1/insurances/lookup", KEY, body, 200, profile(number, self.vehicles))

    def all(self):
        """Every file, by name: `warm` ones name few enough persons for a cache."""
        persons = lambda remainder: range(remainder, self.persons, 16)
        missing = [self.vehicles + number for number in self.some_vehicles(20000)]
        files = {
            "hit": [self.hit(number) for number in self.some_vehicles(50000)],
            "miss": [self.hit(number, answer=(404, NO_VEHICLE)) for number in missing],
            "batch": [self.batch() for _ in range(2000)],
            "401": [self.hit(number, "wrong-key-0123456789", (401, NO_KEY)) for number in self.some_vehicles(1000)],
            "static": [("GET", "/static", KEY, "", 200, STATIC)],
            "1 car": [self.lookup(number) for number in self.chance.sample(persons(0), k=min(5000, len(persons(0))))],
            "8 cars": [self.lookup(number) for number in self.chance.sample(persons(7), k=min(5000, len(persons(7))))],
        }
        files["1 car warm"], files["8 cars warm"] = files["1 car"][:500], files["8 cars"][:500]
        return {name: self.write(name.replace(" ", "_"), lines) for name, lines in files.items()}
