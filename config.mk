# SPDX-License-Identifier: MIT
# Knobs. Override on the command line: make DEBUG=1
DEBUG ?= 0
B ?= build
CC = gcc
CLANG = clang-14
CPUS ?= 2
SOAK_SECONDS ?= 1800
FUZZ_SECONDS ?= 60
