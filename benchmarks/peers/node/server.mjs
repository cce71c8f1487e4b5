// Both services as a tuned Node service answers: Fastify, postgres.js and undici in two workers.
//   node server.mjs '{"service": "vehicle", "port": 1, "database": "postgres://…", "key": "…", "duties": true}'
// `duties` are a log line and a request metric; the key is checked with and without them. Insurance
// also takes `vehicle` (URL) and `batch`.
import cluster from "node:cluster";
import { randomBytes, randomUUID, timingSafeEqual } from "node:crypto";
import fastJson from "fast-json-stringify";
import fastify, { LogController } from "fastify";
import pino from "pino";
import postgres from "postgres";
import prometheus from "prom-client";
import { Pool } from "undici";

const WORKERS = 2;
const CONNECTIONS_TO_DATABASE = 8 / WORKERS;
const CALLS_TO_VEHICLE = 64 / WORKERS;

const settings = JSON.parse(process.argv[2]);
function withDuties() {
    const stream = pino.destination({ dest: 1, sync: false, minLength: 4096 });
    const app = fastify({ logController: new LogController({ disableRequestLogging: true }), loggerInstance: pino(stream) });
    const durations = new prometheus.Histogram({
        name: "http_server_request_duration_seconds",
        help: "Duration of requests",
        labelNames: ["method", "route", "status"],
    });
    // Finding a child by its labels costs more than observing.
    const children = new Map();
    app.addHook("onResponse", (request, reply, done) => {
        const { method, routeOptions: { url: route } } = request;
        const status = reply.statusCode;
        const labels = `${method} ${route} ${status}`;
        let child = children.get(labels);
        if (!child) children.set(labels, (child = durations.labels(method, route, status)));
        child.observe(reply.elapsedTime / 1e3);
        const { requestId: request_id, traceId: trace_id } = idsOf(request);
        const key_id = request.keyId;
        app.log.info({ method, route, status, duration_ms: reply.elapsedTime, key_id, request_id, trace_id }, "request ended");
        done();
    });
    app.get("/metrics", () => prometheus.register.metrics());
    return app;
}

function idsOf(request) {
    return (request.ids ??= {
        requestId: request.headers["x-request-id"] ?? randomUUID(),
        traceId: randomBytes(16).toString("hex"),
    });
}

function requireKey(app) {
    const key = Buffer.from(settings.key);
    app.decorateRequest("ids", null);
    app.decorateRequest("keyId", "");
    app.addHook("onRequest", (request, reply, done) => {
        const given = Buffer.from(request.headers["x-api-key"] ?? "");
        if (given.length === key.length && timingSafeEqual(given, key)) request.keyId = "benchmark";
        else if (request.routeOptions.url !== "/healthz") {
            reply.header("www-authenticate", "ApiKey");
            return problem(request, reply, 401, "unauthorized", "Unauthorized", "Send a valid key in the X-Api-Key header.");
        }
        done();
    });
    app.get("/healthz", () => ({ status: "ok" }));
}

const text = { type: "string" };
const nullable = (type) => ({ type, nullable: true });
const writeProblem = fastJson({
    type: "object",
    properties: {
        type: text, title: text, status: { type: "integer" }, detail: text, code: text, requestId: text, traceId: text,
        errors: { type: "array", items: {} },
    },
});
function problem(request, reply, status, code, title, detail) {
    const document = { type: `/problems/${code}`, title, status, detail, code, ...idsOf(request), errors: [] };
    return reply.code(status).type("application/problem+json").send(writeProblem(document));
}

const VEHICLE = {
    type: "object",
    properties: {
        registrationNumber: text, make: nullable("string"), model: nullable("string"), modelYear: nullable("integer"),
    },
};

function canonical(spelling) {
    if (/^[A-Z0-9]{2,7}$/.test(spelling)) return spelling;
    const number = spelling.normalize("NFC").replace(/[a-zåäö]/g, (letter) => letter.toUpperCase()).replace(/[\s-]/g, "");
    return /^[A-ZÅÄÖ0-9]{2,7}$/.test(number) ? number : null;
}

function vehicle(app, sql) {
    app.get("/api/v1/vehicles/:number", { schema: { response: { 200: VEHICLE } } }, async (request, reply) => {
        const number = canonical(request.params.number);
        if (!number) {
            return problem(request, reply, 400, "invalid_registration_number", "Invalid request", "a registration number has 2 to 7 characters");
        }
        const [row] = await sql`
            select registration_number as "registrationNumber", make, model, model_year as "modelYear", version
            from vehicle.vehicles where registration_number = ${number}`;
        if (!row) {
            return problem(request, reply, 404, "vehicle_not_found", "Vehicle not found", "There is no vehicle with this registration number.");
        }
        reply.header("etag", `"1.${row.version}"`).header("cache-control", "private, max-age=60");
        return row;
    });
    const schema = {
        body: {
            type: "object", required: ["registrationNumbers"], additionalProperties: false,
            properties: { registrationNumbers: { type: "array", items: text, minItems: 1, maxItems: 500 } },
        },
        response: {
            200: {
                type: "object",
                properties: {
                    vehicles: { type: "array", items: VEHICLE }, notFound: { type: "array", items: text }, invalid: { type: "array", items: {} },
                },
            },
        },
    };
    app.post("/api/v1/vehicles/batch", { schema }, async (request) => {
        const [numbers, invalid] = [new Set(), []];
        for (const registrationNumber of request.body.registrationNumbers) {
            const number = canonical(registrationNumber);
            if (number) numbers.add(number);
            else invalid.push({ registrationNumber, reason: "a registration number has 2 to 7 characters" });
        }
        const rows = await sql`
            select registration_number as "registrationNumber", make, model, model_year as "modelYear"
            from vehicle.vehicles where registration_number = any(${[...numbers]})`;
        const found = new Map(rows.map((row) => [row.registrationNumber, row]));
        const vehicles = [];
        const notFound = [];
        for (const number of numbers) {
            const row = found.get(number);
            if (row) vehicles.push(row);
            else notFound.push(number);
        }
        return { vehicles, notFound, invalid };
    });
}

const writeVehicle = fastJson(VEHICLE);

function insurance(app, sql) {
    const pool = new Pool(settings.vehicle, { connections: CALLS_TO_VEHICLE, headersTimeout: 2000, bodyTimeout: 2000 });
    const call = async (request, options) => {
        const headers = { "x-api-key": settings.key, "x-request-id": idsOf(request).requestId, ...options.headers };
        const { statusCode, body } = await pool.request({ ...options, headers });
        return [statusCode, await body.json()];
    };
    const single = async (request, number) => {
        const [status, answer] = await call(request, { method: "GET", path: `/api/v1/vehicles/${encodeURIComponent(number)}` });
        if (status !== 200 && status !== 404) throw new Error(`Vehicle answered ${status}`);
        return [number, status === 200 ? answer : null];
    };
    const lookUp = async (request, cars) => {
        if (!settings.batch) return Promise.all(cars.map((number) => single(request, number)));
        const [status, answer] = await call(request, {
            method: "POST", path: "/api/v1/vehicles/batch", headers: { "content-type": "application/json" },
            body: JSON.stringify({ registrationNumbers: cars }),
        });
        if (status !== 200) throw new Error(`Vehicle answered ${status}`);
        return [...answer.vehicles.map((found) => [found.registrationNumber, found]), ...answer.notFound.map((number) => [number, null])];
    };
    const source = settings.batch ? "batch" : "live";
    const write = ({ insurance_id, product, status: stored, valid_from, valid_until, monthly_cost, car }, vehicles) => {
        let [vehicle, status, from, age] = ["null", "not_applicable", "null", "null"];
        if (car) {
            const found = vehicles.get(car);
            [vehicle, status, from, age] = found ? [writeVehicle(found), "enriched", `"${source}"`, "0"] : ["null", "not_found", `"${source}"`, "null"];
        }
        const number = car ? `"${car}"` : "null";
        const until = valid_until ? `"${valid_until}"` : "null";
        return `{"insuranceId":${insurance_id},"product":"${product}","status":"${stored}",` +
            `"validFrom":"${valid_from}","validUntil":${until},"monthlyCost":${monthly_cost},"currency":"SEK",` +
            `"carRegistrationNumber":${number},"vehicle":${vehicle},"enrichment":{"status":"${status}","cause":null,` +
            `"source":${from},"ageSeconds":${age},"retryAfterSeconds":null}}`;
    };
    const schema = {
        body: {
            type: "object", required: ["personalIdentityNumber"], additionalProperties: false,
            properties: { personalIdentityNumber: { type: "string", pattern: "^[0-9]{8}-?[0-9]{4}$" } },
        },
    };
    app.post("/api/v1/insurances/lookup", { schema }, async (request, reply) => {
        const person = request.body.personalIdentityNumber.replace("-", "");
        const rows = await sql`
            select insurance_id, product, status, valid_from::text, valid_until::text,
                round(monthly_cost, 2) as monthly_cost, car_registration_number as car
            from insurance.insurances where personal_identity_number = ${person} order by insurance_id`;
        if (rows.length === 0) {
            return problem(request, reply, 404, "insurances_not_found", "Insurances not found", "Nobody has insurances under this personal identity number.");
        }
        const cars = [...new Set(rows.map((row) => row.car).filter(Boolean))];
        const vehicles = new Map(cars.length > 0 ? await lookUp(request, cars) : []);
        const total = rows.reduce((sum, row) => sum + Math.round(row.monthly_cost * 100), 0) / 100;
        reply.type("application/json").header("cache-control", "no-store");
        return `{"personalIdentityNumber":"${person}","insurances":[${rows.map((row) => write(row, vehicles)).join(",")}],` +
            `"totalMonthlyCost":${total.toFixed(2)},"currency":"SEK","enrichment":"${cars.length > 0 ? "complete" : "not_applicable"}"}`;
    });
}

if (cluster.isPrimary) {
    for (let worker = 0; worker < WORKERS; worker++) cluster.fork();
    cluster.on("exit", () => process.exit(1));
} else {
    const app = settings.duties ? withDuties() : fastify({ logger: false });
    requireKey(app);
    const sql = postgres(settings.database, { max: CONNECTIONS_TO_DATABASE, max_lifetime: null });
    await (settings.service === "vehicle" ? vehicle(app, sql) : insurance(app, sql));
    await app.listen({ host: "127.0.0.1", port: settings.port, backlog: 4096 });
}
