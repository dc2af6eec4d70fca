"""Runs a small suite, exports it to every format, and lets the reader of each format read it.

Usage: check.py HARNESS CACHE, see `run` beside it. Every check compares with the run's own records.parquet, so that a
format which is well formed and wrong fails too.
"""

import json
import math
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import jsonschema
import junitparser
import pyarrow.csv
import pyarrow.parquet
from lxml import etree
from pydantic import TypeAdapter

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
HARNESS, CACHE = Path(sys.argv[1]), Path(sys.argv[2])
FAILED_CELL = "wanda(pattern=2:5)"
TIMED = {"prefill_tps", "decode_tps", "apply_s"}


def run(*command, code=0):
    """Standard output of a command that must end with an exit code."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != code:
        raise AssertionError(f"{command} ended with {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}")
    return done.stdout


class Exports:
    """A run in every format."""

    def __init__(self, folder):
        self.folder, self.run = folder, folder / "first"
        for name in ["first", "second"]:
            # One cell fails on purpose.
            run(HARNESS, "run", HERE / "suite.toml", "--out", folder / name, code=3)
        records = pyarrow.parquet.read_table(self.run / "records.parquet").to_pylist()
        cells = {row["id"]: row for row in pyarrow.parquet.read_table(self.run / "cells.parquet").to_pylist()}
        self.cells = cells
        self.values = {(row["id"], row["metric"]): row for row in records}
        self.name = {
            id: " / ".join(["exports"] + [at["label"] for at in json.loads(row["cell"])["coordinates"].values()])
            for id, row in cells.items()
        }
        self.id = {name: id for id, name in self.name.items()}
        assert len(cells) == 3 and sum(row["failure"] is not None for row in cells.values()) == 1

    def export(self, form, target, of="first"):
        run(HARNESS, "export", self.folder / of, "--format", form, "--output", self.folder / target)
        return self.folder / target


def junit(exports):
    path = exports.export("junit", "junit.xml")
    document = etree.parse(path)
    etree.XMLSchema(etree.parse(CACHE / "jenkins-junit.xsd")).assertValid(document)
    suites = list(junitparser.JUnitXml.fromfile(str(path)))
    cases = [case for suite in suites for case in suite]
    kinds = sorted(type(result).__name__ for case in cases for result in case.result)
    assert kinds == ["Error", "Failure", "Skipped"], kinds
    assert len(cases) == 6 and suites[0].tests == 6 and suites[0].errors == 1 and suites[0].failures == 1
    failed = [case for case in cases if case.result and type(case.result[0]).__name__ == "Error"]
    assert FAILED_CELL in failed[0].name and failed[0].result[0].message
    properties = {item.name: item.value for item in suites[0].properties()}
    for (id, metric), row in exports.values.items():
        assert float(properties[f"{id}.{metric}"]) == row["value"]
    return "Jenkins' schema, junitparser"


def bmf(exports):
    data = json.loads(exports.export("bmf", "bmf.json").read_text())
    jsonschema.validate(data, json.loads((HERE / "bmf.schema.json").read_text()))
    count = 0
    for name, measures in data.items():
        for slug, metric in measures.items():
            row = exports.values[exports.id[name], slug.replace("-", "_")]
            assert metric["value"] == row["value"] and metric.get("lower_value") == row["low"]
            assert metric.get("upper_value") == row["high"]
            count += 1
    assert count == len(exports.values) and not any(FAILED_CELL in name for name in data)
    return "schema from Bencher's field list"


def benchmark_action(exports):
    folder = exports.export("github-action-benchmark", "action")
    schema = json.loads((HERE / "github-action-benchmark.schema.json").read_text())
    for name, direction in [("bigger.json", "higher"), ("smaller.json", "lower")]:
        entries = json.loads((folder / name).read_text())
        jsonschema.validate(entries, schema)
        found = {entry["name"]: entry["value"] for entry in entries}
        wanted = {
            f"{exports.name[id]}: {metric}": row["value"]
            for (id, metric), row in exports.values.items()
            if row["direction"] == direction
        }
        assert found == wanted, (found, wanted)
    return "schema from the action's reader"


def tables(exports):
    parquet = pyarrow.parquet.read_table(exports.export("parquet", "rows.parquet")).to_pylist()
    quoted = pyarrow.csv.ParseOptions(newlines_in_values=True)
    csv = pyarrow.csv.read_csv(exports.export("csv", "rows.csv"), parse_options=quoted).to_pylist()
    lines = [json.loads(line) for line in exports.export("jsonl", "rows.jsonl").read_text().splitlines()]
    for name, rows in [("parquet", parquet), ("csv", csv), ("jsonl", lines)]:
        assert len(rows) == len(exports.values) + 1, name
        for row in rows:
            if row["status"] == "failed":
                assert row["value"] is None and row["reason"] and FAILED_CELL in exports.name[row["id"]]
            else:
                # Equal to the bit.
                assert row["value"] == exports.values[row["id"], row["metric"]]["value"], (name, row)
    samples = pyarrow.parquet.read_table(exports.run / "samples.parquet").to_pylist()
    assert sum(len(row["samples"]) for row in parquet) == len(samples)
    return "pyarrow"


def lm_eval(exports):
    from lm_eval.result_schema import EvalResults, SampleResult
    from lm_eval.utils import get_latest_filename, get_results_filenames, get_sample_results_filenames, make_table

    folder = exports.export("lm-eval", "lm-eval")
    models = sorted(folder.iterdir())
    assert len(models) == 2
    for model in models:
        files = [path.as_posix() for path in model.iterdir()]
        latest = get_latest_filename(get_results_filenames(files))
        results = json.loads(Path(latest).read_text())
        # The schema says that settings of a task are flat, and lm-eval's own are not.
        flat = {key: None for key in ("metric_list", "metadata")}
        configs = {task: config | flat for task, config in results["configs"].items()}
        TypeAdapter(EvalResults).validate_python(results | {"configs": configs})
        table = make_table(results)
        (task,) = results["results"]
        id = next(id for id, name in exports.name.items() if results["model_name"] in name.replace(" / ", " "))
        for metric in {metric for _, metric in exports.values} - TIMED:
            assert results["results"][task][f"{metric},none"] == exports.values[id, metric]["value"]
            assert re.search(rf"\|{metric} *\|", table), (metric, table)
        (rows,) = get_sample_results_filenames(files)
        rows = [json.loads(line) for line in Path(rows).read_text().splitlines()]
        adapter = TypeAdapter(SampleResult)
        for row in rows:
            # Metric values may be pairs, which the schema's own note leaves out.
            adapter.validate_python({key: value for key, value in row.items() if key not in row["metrics"]})
        losses = [row["ppl"] for row in rows]
        perplexity = math.exp(-sum(loss for loss, _ in losses) / sum(count for _, count in losses))
        assert math.isclose(perplexity, exports.values[id, "ppl"]["value"], rel_tol=1e-12)
        assert results["n-samples"][task]["effective"] == len(rows) == 8
    return "lm-eval's result schema, file names and table"


def llama_bench(exports):
    path = exports.export("llama-bench", "llama-bench.json")
    rows = json.loads(path.read_text())
    # One pp and one tg row for each measured cell.
    assert [(row["n_prompt"], row["n_gen"]) for row in rows] == [(64, 0), (0, 16)] * 2
    for row in rows:
        assert math.isclose(row["avg_ts"], sum(row["samples_ts"]) / len(row["samples_ts"]))
    commit = rows[0]["build_commit"]
    table = run(sys.executable, CACHE / "compare-llama-bench.py", "-t", "llama-bench", "-i", path, "-b", commit, "-c", commit)
    assert table.count("pp64") == 2 and table.count("tg16@d64") == 2 and "1.00" in table, table
    for row in rows:
        assert f"{row['avg_ts']:.2f}" in table, table
    return "llama.cpp's compare-llama-bench.py"


def criterion(exports):
    folder = exports.export("criterion", "target")
    exports.export("criterion", "target", of="second")
    command = [CACHE / "bin" / "critcmp", "--target-dir", folder]
    assert run(*command, "--baselines").split() == ["first", "second"]
    data = json.loads(run(*command, "--export", "first"))
    assert len(data["benchmarks"]) == 4
    for name, benchmark in data["benchmarks"].items():
        cell, metric = name.rsplit("/", 1)
        (id,) = [id for id, full in exports.name.items() if full.replace("exports / ", "exports/", 1) == cell]
        median = benchmark["criterion_estimates_v1"]["median"]["point_estimate"]
        assert math.isclose(1e9 / median, exports.values[id, metric]["value"], rel_tol=1e-12)
    table = run(*command, "first", "second")
    assert table.count("decode_tps") == 2 and table.count("prefill_tps") == 2, table
    return "critcmp"


def imports(exports):
    """Whatever reads back is the same run: the same values to the bit, and `compare` finds no difference."""
    for form, target in [
        ("csv", "rows.csv"), ("jsonl", "rows.jsonl"), ("parquet", "rows.parquet"), ("lm-eval", "lm-eval"),
        ("llama-bench", "llama-bench.json"), ("criterion", "target"),
    ]:
        out = exports.folder / f"imported-{form}"
        baseline = ["--baseline", "first"] if form == "criterion" else []
        summary = json.loads(run(HARNESS, "import", exports.folder / target, "--out", out, "--json", *baseline))
        assert summary["tool"] == "harness" and summary["cells"] in (2, 3), summary
        rows = pyarrow.parquet.read_table(out / "records.parquet").to_pylist()
        for row in rows:
            original = exports.values[row["id"], row["metric"]]
            assert [row[key] for key in ("value", "low", "high")] == [original[key] for key in ("value", "low", "high")]
        compared = json.loads(run(HARNESS, "compare", exports.run, out, "--json"))
        verdicts = {row["verdict"] for row in compared["rows"] if row["b"] is not None}
        assert verdicts <= {"same", "cannot tell"}, (form, compared)
        run(HARNESS, "report", out)
        assert (out / "report.md").exists() or (out / "report" / "report.md").exists()
    return "export, import, compare, report"


def main():
    checks = [junit, bmf, benchmark_action, tables, lm_eval, llama_bench, criterion, imports]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        exports = Exports(Path(folder))
        for check in checks:
            try:
                print(f"{check.__name__}: {check(exports)}")
            except Exception:
                failed += 1
                print(f"{check.__name__}: FAILED\n{traceback.format_exc()}")
    print(f"{len(checks) - failed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
