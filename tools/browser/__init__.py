# SPDX-License-Identifier: Apache-2.0
"""What the page of web.py is made of: the runtime as WebAssembly (runtime.c), its face in JavaScript (bnn.js), and the
page (page.html, page.js)."""
