"""What the compiler and the linker were asked for against exploits is in the programs that were built. Each is looked for in
the binary itself, and binaries that lack one of them are made here, to see that each lack is found."""
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile
import unittest

from common import BUILD, LOOM, LOOMCTL, main, said

ENDBR64 = bytes.fromhex("f30f1efa")       # what CET lets an indirect jump land on
TOUCHES = bytes.fromhex("4883" "0c2400")  # or QWORD PTR [rsp], 0: a page of a large frame is touched before the next
# What only level 3 has checked, of objects whose size is known when they are there: any of these will do.
OF_LEVEL_3 = {"__read_chk", "__memset_chk", "__memmove_chk"}
ALWAYS_CHECKED = {"printf", "fprintf", "vprintf", "vfprintf"}  # other names become plain ones where all is proven


def readelf(option, path):
    return said("readelf", "-W", option, path, env={**os.environ, "LC_ALL": "C"})


class Elf:
    def __init__(self, path):
        self.data = pathlib.Path(path).read_bytes()
        self.header, self.segments = readelf("-h", path), readelf("-l", path)
        self.dynamic, self.notes, self.relocations = (readelf(option, path) for option in ("-d", "-n", "-r"))
        self.undefined = set(re.findall(r" UND (\w+)(?:@|$)", readelf("--dyn-syms", path), re.M))
        self.texts = [tuple(int(one, 16) for one in match) for match in re.findall(
            r" \.text +PROGBITS +(\w+) (\w+) (\w+)", readelf("-S", path))]  # address, offset, size
        self.x86 = "X86-64" in self.header

    def at(self, address, length):
        """The bytes of .text there, or None when it is elsewhere."""
        for start, offset, size in self.texts:
            if start <= address < start + size:
                return self.data[offset + address - start:][:length]
        return None

    def taken(self):
        """Functions whose addresses stand in tables: what they begin with."""
        targets = {int(one, 16) for one in re.findall(r"R_X86_64_RELATIVE +(\w+)$", self.relocations, re.M)}
        return [found for found in (self.at(one, 4) for one in sorted(targets)) if found is not None]


def lacking(path, optimised=True):
    """What a binary has not, by name."""
    elf, lacks = Elf(path), set()

    def want(name, there):
        if not there:
            lacks.add(name)

    # Of an executable; FLAGS_1 tells it from a library.
    want("PIE", re.search(r"Type: +DYN", elf.header) and re.search(r"FLAGS_1\).*\bPIE\b", elf.dynamic))
    want("RELRO", re.search(r"^ +GNU_RELRO ", elf.segments, re.M))
    want("BIND_NOW", re.search(r"FLAGS\).*BIND_NOW|FLAGS_1\).*\bNOW\b", elf.dynamic))
    stack = re.search(r"^ +GNU_STACK +(?:\w+ +){5}([RWE ]+?) +0x", elf.segments, re.M)
    want("a stack that is no code", stack and "E" not in stack[1])
    want("W^X", not re.search(r"^ +LOAD +(?:\w+ +){5}RWE ", elf.segments, re.M))
    want("no path for libraries", not re.search(r"\((RPATH|RUNPATH|TEXTREL)\)", elf.dynamic))
    want("stack protector", "__stack_chk_fail" in elf.undefined)
    if optimised:
        want("_FORTIFY_SOURCE", any(name.endswith("_chk") for name in elf.undefined) and
             not elf.undefined & ALWAYS_CHECKED)
        want("_FORTIFY_SOURCE=3", elf.undefined & OF_LEVEL_3)
    if elf.x86:
        want("stack clash protection", any(TOUCHES in elf.data[offset:offset + size] for _, offset, size in elf.texts))
        want("SHSTK", re.search(r"x86 feature:.*\bSHSTK\b", elf.notes))
        taken = elf.taken()
        want("IBT", taken and all(found == ENDBR64 for found in taken))
    return lacks


PT_LOAD, PF_X, PF_RW = 1, 1, 6

# One of each of what is looked for.
PLANT = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int one(int n) { return n + 1; }
static int two(int n) { return n + 2; }
int (*const table[])(int) = { one, two };

int main(int argc, char **argv)
{
	char frame[20000], *heap = malloc((size_t)argc * 10);

	snprintf(frame, sizeof(frame), "%s", argv[0]);
	memset(heap, argc, strlen(argv[0]));
	printf("%s %d %d", frame, heap[0], table[argc & 1](argc));
	free(heap);
	return 0;
}
"""
WHOLE = ["-O2", "-fPIE", "-fstack-protector-strong", "-fstack-clash-protection", "-fcf-protection=full", "-U_FORTIFY_SOURCE",
         "-D_FORTIFY_SOURCE=3", "-pie", "-Wl,-z,relro,-z,now,-z,noexecstack"]
SHSTK = "-Wl,-z,shstk"  # cannot be taken back
PLANTED = {
    # Of what has no PIE no relocation tells the tables, and it has a RELRO all the same.
    "PIE": (["-fno-pie", "-no-pie"], {"PIE", "IBT"}),
    "RELRO": (["-Wl,-z,norelro"], {"RELRO"}),
    "BIND_NOW": (["-Wl,-z,lazy"], {"BIND_NOW"}),
    "a stack that is no code": (["-Wl,-z,execstack"], {"a stack that is no code"}),
    "no path for libraries": (["-Wl,-rpath,/nowhere"], {"no path for libraries"}),
    "stack protector": (["-fno-stack-protector"], {"stack protector"}),
    "_FORTIFY_SOURCE": (["-U_FORTIFY_SOURCE"], {"_FORTIFY_SOURCE", "_FORTIFY_SOURCE=3"}),
    "_FORTIFY_SOURCE=3": (["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"], {"_FORTIFY_SOURCE=3"}),
    "stack clash protection": (["-fno-stack-clash-protection"], {"stack clash protection"}),
    "IBT": (["-fcf-protection=none"], {"IBT"}),
}


class Hardening(unittest.TestCase):
    def test_the_programs_have_all_of_it(self):
        options = {one["name"]: one["value"] for one in json.loads(said("meson", "introspect", "--buildoptions", BUILD))}
        for program in (LOOM, LOOMCTL):
            with self.subTest(program.name):
                lacks = lacking(program, options["optimization"] != "0")
                if program == LOOMCTL:  # has no large frame, and few tables
                    lacks -= {"stack clash protection", "_FORTIFY_SOURCE=3"}
                self.assertEqual(lacks, set())

    @unittest.skipUnless(os.uname().machine == "x86_64", "what is planted is of x86-64")
    def test_each_lack_is_found(self):
        directory = pathlib.Path(tempfile.mkdtemp(prefix="loom-hardening-"))
        self.addCleanup(shutil.rmtree, directory)
        (directory / "plant.c").write_text(PLANT, encoding="ascii")

        def built(*flags):
            subprocess.run(["gcc", *WHOLE, *flags, "-o", "plant", "plant.c"], cwd=directory, check=True, capture_output=True)
            return lacking(directory / "plant")

        self.assertEqual(built(), {"SHSTK"})
        self.assertEqual(built(SHSTK), set())
        writable = bytearray((directory / "plant").read_bytes())
        headers, = struct.unpack_from("<Q", writable, 0x20)
        size, count = struct.unpack_from("<HH", writable, 0x36)
        for at in range(headers, headers + size * count, size):
            if struct.unpack_from("<II", writable, at) == (PT_LOAD, PF_RW):
                struct.pack_into("<I", writable, at + 4, PF_RW | PF_X)
        (directory / "plant").write_bytes(writable)
        self.assertEqual(lacking(directory / "plant"), {"W^X"})
        for name, (flags, lacks) in PLANTED.items():
            with self.subTest(name):
                self.assertEqual(built(SHSTK, *flags), lacks)


if __name__ == "__main__":
    main()
