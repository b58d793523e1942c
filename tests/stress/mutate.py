#!/usr/bin/env python3
"""Weakens one memory order in a copy of a C file: mutate.py INPUT OUTPUT FUNCTION ORDER

In the body of FUNCTION the one memory_order_ORDER becomes memory_order_relaxed. Anything but exactly one is an error:
the mutant would not be the one that the test believes in.
"""
import re
import sys

source, output, function, order = sys.argv[1:]
with open(source, encoding="utf-8") as file:
    text = file.read()

# A function begins in the first column and ends at the first brace there.
found = re.findall(rf"^\S[^\n;]*\b{function}\([^;{{]*\)\n{{\n.*?^}}\n", text, re.MULTILINE | re.DOTALL)
if len(found) != 1:
    sys.exit(f"mutate.py: {len(found)} functions named {function} in {source}, not 1")
body = found[0]
if body.count(f"memory_order_{order}") != 1:
    sys.exit(f"mutate.py: {function} has memory_order_{order} {body.count('memory_order_' + order)} times, not once")

with open(output, "w", encoding="utf-8") as file:
    file.write(text.replace(body, body.replace(f"memory_order_{order}", "memory_order_relaxed")))
