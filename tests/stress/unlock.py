#!/usr/bin/env python3
"""Takes the lock out of one function in a copy of a C file: unlock.py INPUT OUTPUT FUNCTION"""
import re
import sys

source, output, function = sys.argv[1:]
with open(source, encoding="utf-8") as file:
    text = file.read()

# A function begins in the first column and ends at the first brace there.
found = re.findall(rf"^\S[^\n;]*\b{function}\([^;{{]*\)\n{{\n.*?^}}\n", text, re.MULTILINE | re.DOTALL)
if len(found) != 1:
    sys.exit(f"unlock.py: {len(found)} functions named {function} in {source}, not 1")
body = found[0]
if not body.count("pthread_mutex_lock(") == body.count("pthread_mutex_unlock(") == 1:
    sys.exit(f"unlock.py: {function} does not take and give back the lock once")

with open(output, "w", encoding="utf-8") as file:
    file.write(text.replace(body, re.sub(r"\tpthread_mutex_(un)?lock\([^;]*;\n", "", body)))
