# SPDX-License-Identifier: Apache-2.0
# The front door.  The build itself is meson's.
#   make demo            the main job on a real guest
#   make check           every test; SUITE=unit|engine|libvirt|guest|daemon|crash runs one
#   make bench           the ratios, written to docs/benchmarks.md
#   make build, make install (DESTDIR), make clean

SUITE ?=

all: build

packages:
	@scripts/install-packages

build: packages
	@scripts/build gcc

demo: build
	@tests/demo/demo

check: packages
	@tests/check $(SUITE)

bench: build
	@tests/bench/bench

install: build
	@meson install -C build/gcc --no-rebuild

clean:
	@rm -rf build

.PHONY: all packages build demo check bench install clean
