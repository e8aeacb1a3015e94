# One image for every process: `reelseek serve` alone, or the services of docker-compose.yml.
#   docker build -t reelseek .                          FAISS on the CPU
#   docker build -t reelseek --build-arg EXTRA=gpu .    FAISS on the GPU
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS environment
ARG EXTRA=cpu
# "milvus", "otel" or "milvus,otel"
ARG MORE
# pip reads these by itself: a package index or a folder of wheels of your own
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
RUN python -m venv /venv
COPY LICENSE README.md constraints.txt pyproject.toml ./
# Empty packages first: the layer with the dependencies outlives changes of the code.
RUN mkdir model service workers \
    && touch model/__init__.py service/__init__.py workers/__init__.py \
    && /venv/bin/pip install -c constraints.txt -e ".[${EXTRA},decord,postgres${MORE:+,${MORE}}]"

FROM python:${PYTHON_VERSION}-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin reelseek \
    && mkdir /data \
    && chown reelseek:reelseek /data
COPY --from=environment /venv /venv
WORKDIR /app
COPY . .
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=passive \
    REELSEEK_DATA_DIR=/data \
    REELSEEK_HOST=0.0.0.0 \
    REELSEEK_PORT=8000
# Only /data and /tmp are written, so the image runs with a read-only root.
USER reelseek
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["reelseek", "serve"]
