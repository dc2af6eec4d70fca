"""Tasks of long contexts computed apart from the Rust code: how answers are scored, how often words stand in counting tasks, and
which length is the effective one. Plain Python; every rule is written out from its description, not from the program.

    python tests/reference/long_context.py            rewrites tests/reference/long_context.json
    python tests/reference/long_context.py --check    exits 1 when the committed file differs
"""

import json
import math
import pathlib
import re
import sys

TARGET = pathlib.Path(__file__).with_suffix(".json")


def score(rule, text, references):
    """RULER's two matches, the first whole number of passkeys, the last one of lines, and the first word."""
    numbers = [int(run) for run in re.findall(r"[0-9]+", text)]
    if rule == "first-integer":
        return float(bool(numbers) and numbers[0] == int(references[0]))
    if rule == "last-integer":
        return float(bool(numbers) and numbers[-1] == int(references[0]))
    if rule == "first-word":
        return float(text.split()[:1] == [references[0]])
    found = [reference.lower() in text.lower() for reference in references]
    return sum(found) / len(found) if rule == "all" else float(any(found))


TEXTS = [
    (" 48213 is the code.", ["48213"]),
    (" The code is 48213, not 99.", ["48213"]),
    ("line 7: 48213", ["48213"]),
    ("Nothing is said about it.", ["48213"]),
    (" 0048213", ["48213"]),
    (" 482131", ["48213"]),
    (" 48,213", ["48213"]),
    (" -48213.0", ["48213"]),
    (" Amber, LANTERN and oak", ["amber", "lantern", "willow"]),
    (" the lanterns", ["amber", "lantern"]),
    (" 4821377, 1200045 and 9999999", ["1200045", "4821377", "3000001", "9999999"]),
    (" Bado sees", ["Bado"]),
    ("Badon", ["Bado"]),
    ("", ["Bado"]),
]


def rules(references):
    numeric = all(reference.isdigit() for reference in references)
    return ["first-integer", "last-integer", "all", "any", "first-word"] if numeric else ["all", "any", "first-word"]


def zeta_counts(words):
    """Rank k of a Zeta law of exponent 2 stands floor(words / (k^2 zeta(2))) times."""
    zeta = sum(1.0 / k**2 for k in range(1, 2_000_000)) + 1.0 / 2_000_000.5
    assert abs(zeta - math.pi**2 / 6) < 1e-9
    counts, rank = [], 1
    while (count := math.floor(words / (rank**2 * math.pi**2 / 6))) > 0:
        counts.append(count)
        rank += 1
    return counts


def effective(lengths, scores, threshold, drop, lower):
    """The largest length with a passing score there and at all smaller lengths; 0 where the smallest does not pass."""
    best = 0
    for length, value in sorted(zip(lengths, scores)):
        own = scores[lengths.index(min(lengths))]
        good = value <= threshold if lower else value >= threshold
        if drop is not None:
            good = good and (value <= own + drop if lower else value >= own - drop)
        if not good:
            break
        best = length
    return best


LENGTHS = [
    ([4096, 8192, 16384, 32768], [0.946, 0.937, 0.923, 0.905], 0.856, None, False),
    ([4096, 8192, 16384, 32768], [0.919, 0.879, 0.847, 0.688], 0.856, None, False),
    ([4096, 8192, 16384, 32768], [0.8, 0.9, 0.9, 0.9], 0.856, None, False),
    ([128, 256, 512, 1024], [1.0, 0.98, 0.94, 0.97], 0.5, 0.05, False),
    ([1024, 256, 512, 128], [0.6, 0.98, 0.94, 0.99], 0.5, 0.05, False),
    ([256, 512, 1024, 2048], [1.0, 1.02, 1.2, 1.05], 1.1, None, True),
    ([256, 512, 1024], [1.0, 1.02, 1.05], 1.1, 0.03, True),
]


def main():
    counts = zeta_counts(100)
    assert counts == [60, 15, 6, 3, 2, 1, 1], counts
    document = {
        "scores": [
            {"rule": rule, "text": text, "references": references, "score": score(rule, text, references)}
            for text, references in TEXTS
            for rule in rules(references)
        ],
        "frequent_words": [{"words": words, "counts": zeta_counts(words)} for words in (1, 27, 42, 100, 1000, 7321)],
        "common_words": [
            {"length": length, "common": 6 if length < 4096 else 30, "uncommon": 1 if length < 4096 else 3}
            for length in (512, 4095, 4096, 131072)
        ],
        "effective_lengths": [
            {
                "lengths": lengths,
                "scores": scores,
                "threshold": threshold,
                "drop": drop,
                "lower": lower,
                "effective": effective(lengths, scores, threshold, drop, lower),
            }
            for lengths, scores, threshold, drop, lower in LENGTHS
        ],
    }
    text = json.dumps(document, indent=1) + "\n"
    if "--check" in sys.argv[1:]:
        sys.exit(0 if TARGET.read_text() == text else f"{TARGET} differs from what this program computes")
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
