# SPDX-License-Identifier: MIT
# Knobs. Override on the command line: make DEBUG=1
DEBUG ?= 0
B ?= build
CC = gcc
CLANG = clang-14
CPUS ?= 2
# make soak and make fuzz: how long (each fuzz target gets FUZZ_SECONDS)
SOAK_SECONDS ?= 5400
FUZZ_SECONDS ?= 60
# make fuzz-diff: cases or states of each differential test
FUZZ_CASES ?= 10000000
# make bench: how often each side runs: bare, Trapeze and Xen in turn
PAIRS ?= 3
# make run: seconds after which the demo gives up when there is no terminal
RUN_SECONDS ?= 300
