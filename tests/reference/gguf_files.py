#!/usr/bin/env python3
"""Compares two GGUF files as llama.cpp's own Python package (`pip install gguf`) reads them: named values that both state,
and every tensor's type, shape and bytes. Fails on any difference.

usage: gguf_files.py OURS THEIRS
"""

import sys

import numpy
from gguf import GGUFReader

# Where a file came from, not what it is.
ORIGIN = ("general.name", "general.organization", "general.finetune", "general.basename", "general.size_label")


def values(reader):
    return {
        name: field.contents()
        for name, field in reader.fields.items()
        if not name.startswith("GGUF.") and name not in ORIGIN
    }


def main():
    ours, theirs = GGUFReader(sys.argv[1]), GGUFReader(sys.argv[2])
    a, b = values(ours), values(theirs)
    both = sorted(a.keys() & b.keys())
    wrong = [f"{name}: {str(a[name])[:80]} and {str(b[name])[:80]}" for name in both if a[name] != b[name]]
    types = {name: ours.fields[name].types == theirs.fields[name].types for name in both}
    wrong += [f"{name}: of another type" for name, same in types.items() if not same]
    c = {tensor.name: tensor for tensor in ours.tensors}
    d = {tensor.name: tensor for tensor in theirs.tensors}
    wrong += [f"{name}: in one file only" for name in sorted(c.keys() ^ d.keys())]
    blocks = 0
    for name in sorted(c.keys() & d.keys()):
        x, y = c[name], d[name]
        if x.tensor_type != y.tensor_type or list(x.shape) != list(y.shape):
            wrong.append(f"{name}: {x.tensor_type.name} {list(x.shape)} and {y.tensor_type.name} {list(y.shape)}")
        elif not numpy.array_equal(x.data, y.data):
            differ = numpy.count_nonzero(x.data != y.data)
            wrong.append(f"{name}: {differ} of {x.data.size} elements differ")
        else:
            blocks += x.data.nbytes
    print(f"{len(both)} named values and {len(c)} tensors ({blocks} bytes) are equal" if not wrong else "\n".join(wrong))
    alone = sorted((a.keys() - b.keys()) | (b.keys() - a.keys()))
    print(f"stated by one file only: {', '.join(alone) or 'nothing'}")
    sys.exit(1 if wrong else 0)


main()
