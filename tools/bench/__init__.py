# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks (bench_*.py, zoo.py) are made of; knows the package and ``training``."""
