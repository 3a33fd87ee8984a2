# SPDX-License-Identifier: Apache-2.0
"""What the demo (demo.py) does and draws; knows the package, ``training`` and ``bench``."""
