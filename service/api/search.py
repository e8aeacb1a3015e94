"""/v1/search: a sentence in, moments out."""

from fastapi import APIRouter

router = APIRouter(prefix="/v1/search", tags=["search"])
