"""The smallest FastAPI application."""

import platform

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def hello():
    return {"hello": "from FastAPI", "python": platform.python_version()}
