#!/usr/bin/env python3
"""Runs a program that was compiled with ThreadSanitizer: tsan.py clean|race PROGRAM

clean: the program must succeed, without a report. race: it must be stopped by a report of a data race, and by nothing
else; a mutant that survives fails the test.
"""
import os
import shutil
import subprocess
import sys

REPORTED = 66

expected, program = sys.argv[1:]
environment = dict(os.environ, TSAN_OPTIONS=f"exitcode={REPORTED} halt_on_error=1")


def run(command):
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=240, check=False)


result = run([program])
if "unexpected memory mapping" in result.stdout and shutil.which("setarch"):
    # The sanitizer of older compilers cannot live with all the address randomisation that newer kernels give.
    result = run(["setarch", "-R", program])

raced = result.returncode == REPORTED and "WARNING: ThreadSanitizer: data race" in result.stdout
passed = raced if expected == "race" else result.returncode == 0
print(result.stdout)
print(f"{'passed' if passed else 'FAILED'}: expected {expected}, exit status {result.returncode}")
sys.exit(0 if passed else 1)
