# SPDX-License-Identifier: Apache-2.0
"""A server of a network by FastAPI: it takes a picture (PNG, JPEG, ...) and answers with its class and score.

    python examples/server.py 8000
    curl --data-binary @examples/seven.png http://127.0.0.1:8000/

MODEL in the environment names another .bnn file, one that says how a picture becomes its input (docs/howto/use.md).  In
this folder, `uvicorn server:app --workers 4` starts four processes, which share the pages of the file.

Install: pip install -e '.[serve]'
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request

import bnn

MOST_BYTES = 2**20  # of a picture
try:
    model = bnn.load(os.environ.get("MODEL") or Path(__file__).with_name("digits.bnn"))  # once, for all threads
except bnn.BnnError as error:
    sys.exit(f"error: {error}")
app = FastAPI()


async def body(request: Request) -> bytes:
    """What was sent; whoever sends too much gets an answer before the rest has arrived."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MOST_BYTES:
            raise HTTPException(413, f"expected a picture of at most {MOST_BYTES:,} bytes")
    return bytes(data)


@app.post("/")
def classify(data: Annotated[bytes, Depends(body)]) -> dict[str, Any]:
    """Without `async`, so that FastAPI runs it in one of its threads: Python's lock is released while C runs."""
    try:
        scores = model(bnn.read_picture(model, data))[0]
    except bnn.InputError as error:  # damaged, too large, of another size
        raise HTTPException(400, str(error)) from None
    best = int(scores.argmax())
    return {"class": model.labels[best] if model.labels else best, "score": float(scores[best])}


if __name__ == "__main__":
    port = sys.argv[1] if len(sys.argv) > 1 else "8000"
    if not port.isdigit() or int(port) >= 2**16:
        sys.exit(f"error: found the port {port}, expected 0 to 65535 (0: a free one)")
    uvicorn.run(app, port=int(port))  # on 127.0.0.1
