# SPDX-License-Identifier: Apache-2.0
"""A benchmark each: a function of the same name, whose options are its own ones and those of ``bench.runner``."""
