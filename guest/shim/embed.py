#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Turn a program into a C array.   usage: embed.py PROGRAM OUTPUT.c [NAME]

The array is bf_NAME_image of guest/NAME_image.h (NAME: shim).  Without a program ("-") its size is 0.
"""
import sys

data = b""
if sys.argv[1] != "-":
    with open(sys.argv[1], "rb") as program:
        data = program.read()
name = sys.argv[3] if len(sys.argv) > 3 else "shim"
with open(sys.argv[2], "w", encoding="ascii") as out:
    out.write(f'#include "guest/{name}_image.h"\n\nconst unsigned char bf_{name}_image[] = {{\n')
    for at in range(0, len(data), 16):
        out.write("    " + ", ".join(f"0x{byte:02x}" for byte in data[at:at + 16]) + ",\n")
    if not data:
        out.write("    0,\n")
    out.write(f"}};\nconst size_t bf_{name}_image_size = {len(data)};\n")
