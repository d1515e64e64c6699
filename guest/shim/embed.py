#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Turn a program into a C array.   usage: embed.py PROGRAM OUTPUT.c"""
import sys

with open(sys.argv[1], "rb") as program:
    data = program.read()
with open(sys.argv[2], "w", encoding="ascii") as out:
    out.write('#include "guest/shim_image.h"\n\nconst unsigned char bf_shim_image[] = {\n')
    for at in range(0, len(data), 16):
        out.write("    " + ", ".join(f"0x{byte:02x}" for byte in data[at:at + 16]) + ",\n")
    out.write("};\nconst size_t bf_shim_image_size = sizeof(bf_shim_image);\n")
