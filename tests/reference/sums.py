"""Sums by pairs of digits, apart from the Rust code: the prompts that a loop gives to a right net, and the sums. Plain Python.

    python tests/reference/sums.py            rewrites tests/reference/sums.json
    python tests/reference/sums.py --check    exits 1 when the committed file differs
"""

import json
import pathlib
import random
import sys

TARGET = pathlib.Path(__file__).with_suffix(".json")


def steps(a, b):
    """The prompts of every step, from the right digit to the left; the output of each is the sum of its pair and the carry."""
    width = max(len(a), len(b))
    a, b = a.zfill(width), b.zfill(width)
    prompts, last = [], None
    for left, right in zip(reversed(a), reversed(b)):
        prompt = left + right if last is None else f"{last}C{left}{right}"
        prompts.append(prompt.ljust(5, "P"))
        last = str(int(left) + int(right) + (last is not None and int(last) >= 10))
    return prompts


random.seed(7)
problems = [("57", "68"), ("999", "999"), ("999999", "1"), ("0", "0"), ("105", "7")]
problems += [
    (str(random.randrange(10 ** (m - 1), 10**m)), str(random.randrange(10 ** (n - 1), 10**n)))
    for m, n in [(1, 1), (2, 5), (5, 2), (12, 12), (40, 3), (100, 100)]
]
found = json.dumps(
    [{"a": a, "b": b, "prompts": steps(a, b), "sum": str(int(a) + int(b))} for a, b in problems], indent=1
) + "\n"
if "--check" in sys.argv:
    sys.exit(TARGET.read_text() != found)
TARGET.write_text(found)
