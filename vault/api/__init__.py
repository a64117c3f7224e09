"""The HTTP door for apps: FastAPI on uvicorn, everything under ``/v1``."""
