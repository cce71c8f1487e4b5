"""docs/performance.md and its chart, from the measurements of one run."""

from statistics import median

from kit.goals import OF_CHANGES, OF_COPY, Figure, figures
from kit.stack import ROOT

PAGE = ROOT / "docs" / "performance.md"
CHART = ROOT / "docs" / "performance.svg"
# The page's sections after the reads: what they begin with.
HEADS = {"writes": "## Changes and the event log\n", "replica": "## The copy of Vehicle's cars\n"}
# Scenario, its words, and by how much we have to be cheaper than Node with the same duties.
VEHICLE = [("hit", "hit", 3.5), ("miss", "miss", 4.5), ("batch", "batch of 50", 1.6), ("401", "wrong key", 2)]
INSURANCE = [
    ("1 car, cache warm", 4),
    ("1 car, cache off", 3.5),
    ("8 cars single, cache warm", 8),
    ("8 cars single, cache off", 2.2),
    ("8 cars batch, cache warm", 4.5),
    ("8 cars batch, cache off", 4.5),
]


class Results:
    """The records of a run, by what they measure."""

    def __init__(self, results):
        self.records, self.facts = results["records"], results["facts"]

    def of(self, scenario, candidate, connections=64):
        return [
            record
            for record in self.records
            if (record["scenario"], record["candidate"], record["connections"]) == (scenario, candidate, connections)
            and record["rate"] is None
        ]

    def cost(self, scenario, candidate):
        """CPU for each answer."""
        return spread([record["cpu_us"]["all"] for record in self.of(scenario, candidate)], self.invalid(scenario, candidate))

    def ratio(self, scenario, candidate, to):
        """How many times as much the other one costs, round by round."""
        pairs = zip(self.of(scenario, candidate), self.of(scenario, to))
        ratios = [other["cpu_us"]["all"] / own["cpu_us"]["all"] for own, other in pairs]
        return spread(ratios, self.invalid(scenario, candidate) or self.invalid(scenario, to), 2)

    def invalid(self, scenario, candidate):
        return any(not record["valid"] for record in self.of(scenario, candidate))

    def middle(self, scenario, candidate):
        return median(record["cpu_us"]["all"] for record in self.of(scenario, candidate))


def spread(figures, invalid=False, digits=0):
    if not figures:
        return "–"
    if invalid:
        return "INVALID"
    return f"{median(figures):.{digits}f} [{min(figures):.{digits}f}..{max(figures):.{digits}f}]"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def vehicle(results):
    rows = [
        [
            words,
            *(results.cost(name, candidate) for candidate in ("ours", "sqlx", "node", "node, bare", "python")),
            results.ratio(name, "ours", "node"),
            results.ratio(name, "ours", "node, bare"),
            goal,
        ]
        for name, words, goal in VEHICLE
    ]
    head = ["Vehicle", "ours", "plain axum + sqlx", "Node", "Node, bare", "FastAPI", "Node / ours", "bare / ours", "goal"]
    return table(head, rows)


def insurance(results):
    rows = [
        [name, *(results.cost(name, candidate) for candidate in ("ours", "node", "python")), results.ratio(name, "ours", "node"), goal]
        for name, goal in INSURANCE
    ]
    return table(["Insurance", "ours", "Node", "FastAPI", "Node / ours", "goal"], rows)


def connections(results):
    rows = []
    for count in sorted({record["connections"] for record in results.records if record["scenario"] == "hit"}):
        for candidate, words in (("ours", "ours"), ("node", "Node"), ("sqlx", "plain")):
            found = results.of("hit", candidate, count)
            if found:
                latency = [median(record["latency_us"][which] or 0 for record in found) / 1e3 for which in ("p50", "p99", "p99.9")]
                good = median(record["per_second"] for record in found)
                bad = median(record["refused"] + record["wrong"] + record["broken"] for record in found) / found[0]["seconds"]
                rows.append([count, words, f"{good:.0f}", f"{bad:.0f}", *(f"{it:.1f}" for it in latency)])
    return table(["connections", "", "good/s", "bad/s", "p50 ms", "p99 ms", "p99.9 ms"], rows)


def overload(results):
    rows = []
    for candidate, words in (("ours", "ours"), ("node", "Node")):
        facts = results.facts[f"overload {candidate}"]
        if not facts["capacity"]:
            rows.append([words, "no rate held with p99 within 50 ms", *[""] * 8])
            continue
        cases = [(f"{times} × C", it) for times, it in facts["open"].items()]
        cases += [(f"{count} connections, closed loop", it) for count, it in facts["closed"].items()]
        for name, it in cases:
            figures = [f"{it['good']:.0f}", f"{it['of_capacity']:.0%}", f"{it['bound']:.0%}", f"{it['refused']:.0f}", f"{it['rejection']:.2f}", f"{it['rejection_us']:.1f}"]
            rows.append([words, f"{facts['capacity']:.0f}", name, *figures, f"{it['p99_us'] / 1e3:.0f}" if it['p99_us'] else "–"])
    return table(["", "C /s", "load", "good/s", "of C", "bound", "refused/s", "r", "r µs", "p99 ms"], rows)


def back(results):
    lines = []
    for candidate, words in (("ours", "ours"), ("node", "Node")):
        shares = results.facts[f"overload {candidate}"].get("back", [])
        lines.append(f"{words} {', '.join(f'{share:.0%}' for share in shares)}")
    return "; ".join(lines)


def process(results):
    rows = []
    for candidate, words in (("ours", "ours"), ("node", "Node"), ("python", "FastAPI")):
        fact = results.facts.get(f"start {candidate}")
        if fact:
            loaded = [record["memory_mb"] for record in results.of("hit", candidate)]
            many = [record["memory_mb"] for record in results.of("hit", candidate, 4000)]
            rows.append([words, f"{fact['ms']:.0f}", f"{fact['memory_mb']:.0f}", spread(loaded), spread(many)])
    return table(["Vehicle", "start ms", "at rest MB", "64 connections MB", "4,000 connections MB"], rows)


def limits(results):
    names = [("hyper", "hyper"), ("axum", "axum"), ("edge", "axum behind our edge")]
    rows = [[words, results.cost("static", name), results.ratio("static", "axum", name)] for name, words in names]
    rows.append(["wrong key at our edge", results.cost("401 at the edge", "edge"), ""])
    rows.append(["a token for RS256, verified (goal: 150)", f"{results.facts['token_us']:.0f}", ""])
    if results.facts.get("pgbench"):
        rows.append(["one row by `pgbench`, PostgreSQL only", f"{results.facts['pgbench']:.0f}", ""])
    return table(["static answer", "µs", "of axum"], rows)


def beside_goals(results, of):
    return table(["", "seen", "goal"], map(Figure.row, figures(results.facts, of)))


def split(text):
    """The sections of a page by their names."""
    names, found = list(HEADS), {}
    for name in reversed(names):
        text, head, section = text.partition(HEADS[name])
        if head:
            found[name] = section
    return {"reads": text, **found}


def write_page(results):
    """The sections of the parts that the run has; the others stay as they are."""
    found = Results(results)
    sections = split(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    if found.records:
        sections["reads"] = reads(results, found)
        CHART.write_text(chart(found), encoding="utf-8")
    if "kills" in found.facts:
        sections["writes"] = changes(results, found)
    if "replica" in found.facts:
        sections["replica"] = copy(results, found)
    heads = {"reads": "", **HEADS}
    parts = [f"{head}\n{sections[name].strip(chr(10))}\n".lstrip("\n") for name, head in heads.items() if name in sections]
    PAGE.write_text("\n".join(parts), encoding="utf-8")
    print(f"wrote {PAGE}")


def copy(results, found):
    form = "--full " if results["full"] else ""
    return f"""
Written by `benchmarks/run.py {form}--write replica` on {results['date']} from commit {results['commit']}, on {results['machine']}. [How it is measured](../benchmarks/README.md).

{beside_goals(found, OF_COPY)}
"""


def changes(results, found):
    form = f"{'--full ' if results['full'] else ''}--events {results['facts']['log']['events']}"
    return f"""
Written by `benchmarks/run.py {form} --write writes log kills` on {results['date']} from commit {results['commit']}, on {results['machine']}. [How it is measured](../benchmarks/README.md).

{beside_goals(found, OF_CHANGES)}

A change is a policy that is suspended or resumed over HTTP, and the plain update locks and changes one row in a transaction, over HTTP and by the same driver, too. Neither waits for a disk: the private PostgreSQL does not sync.
"""


def reads(results, found):
    form = "--full " if results["full"] else ""
    small = found.ratio("hit", "ours, 10,000", "ours")
    return f"""# Performance

Written by `benchmarks/run.py {form}--write` on {results['date']} from commit {results['commit']}, on {results['machine']}, where the load and PostgreSQL share the cores with what is measured. Single times hold for that machine only: the ratios come from rounds in turn, each median [least..most] of {results['rounds']} rounds of {results['seconds']} s. [How it is measured](../benchmarks/README.md).

![CPU for each request, Node = 1](performance.svg)

## CPU for each request

Microseconds of service, upstream and PostgreSQL together, at 64 connections in closed loop; the generator is not in it. Every answer is compared with the one that is due; with more than 0.1 % wrong ones a figure is INVALID. Node and FastAPI have the same duties as ours: key check, one log line, one request metric; the bare Node has the key check only.

{vehicle(found)}

A hit among 1,000,000 vehicles costs {small} times as much as one among 10,000.

{insurance(found)}

The peers keep no cache, so the rows with a warm one compare what a caller gets, those without compare like with like. Without the cache our cap of single calls is raised from 5 to the peers' 64.

## Connections

{connections(found)}

## Overload

C is the highest rate of hits with p99 within 50 ms and no error. Open loop over 4,000 connections, latency from when a request was due. Shares of C count on the cores that the generator leaves. r is what a rejection costs, in hits and in microseconds (goal: 1.5 static answers of axum); the bound is what rejecting leaves of C, (1 − k·r)/(1 − r).

{overload(found)}

Good answers in the seconds right after it, closed loop with 64 connections, of C: {back(found)}.

## Start and memory

{process(found)}

## Limits

{limits(found)}

A vehicle hit costs {found.middle("hit", "ours") / found.middle("static", "edge"):.1f} times as much as a static answer behind the same edge (goal: 2.2), and that one {found.ratio("static", "axum", "edge")} times as much as bare axum (goal: 1.5).
"""


STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #1c2b45 }
.small { font-size: 11px }
.ours { fill: #36507a } .node { fill: #d39b2c } .python { fill: #b9c3d3 }
</style>
<rect width="100%" height="100%" fill="#ffffff"/>"""
WIDTH, LABEL, BAR, GAP = 760, 255, 11, 12


def chart(results):
    """Bars of CPU for each request, Node = 1; FastAPI is cut where the picture ends."""
    rows = [(name, f"Vehicle, {words}") for name, words, _ in VEHICLE] + [(name, f"Insurance, {name}") for name, _ in INSURANCE]
    scale, most = 160, (WIDTH - LABEL - 60) / 160
    parts, y = [], 34
    for scenario, words in rows:
        node = results.middle(scenario, "node")
        bars = [(kind, results.middle(scenario, kind) / node) for kind in ("ours", "node", "python") if results.of(scenario, kind)]
        parts.append(f'<text x="8" y="{y + BAR}">{words}</text>')
        for kind, share in bars:
            length = min(share, most) * scale
            parts.append(f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{length:.0f}" height="{BAR}"/>')
            parts.append(f'<text x="{LABEL + length + 4:.0f}" y="{y + BAR - 1}" class="small">{share:.2f}</text>')
            y += BAR + 1
        y += GAP
    legend = "".join(
        f'<rect class="{kind}" x="{LABEL + 130 * place}" y="4" width="{BAR}" height="{BAR}"/>'
        f'<text x="{LABEL + 130 * place + 16}" y="14">{words}</text>'
        for place, (kind, words) in enumerate([("ours", "ThreadPilot"), ("node", "Node, tuned"), ("python", "FastAPI, tuned")])
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img" '
        f'aria-label="CPU for each request, Node = 1">{STYLE}\n<text x="8" y="14">CPU for each request, Node = 1</text>\n'
        + legend + "\n" + "\n".join(parts) + "\n</svg>\n"
    )
