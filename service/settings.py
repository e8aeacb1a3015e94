"""Settings: one class, read from the environment; the defaults are the embedded mode."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024
GIB = 1024 * MIB


class Settings(BaseSettings):
    """Read once by the composition roots, then passed down as values."""

    model_config = SettingsConfigDict(
        env_prefix="REELSEEK_", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    # Where it listens and who may come in
    host: str = Field("127.0.0.1", description="Address that the API listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port that the API listens on.")
    admin_key: SecretStr | None = Field(
        None, description="Accepted as an admin key; if unset one is made at the first start."
    )
    public_url: str | None = Field(None, description="Address in links, if behind a proxy.")
    login_link_ttl_s: int = Field(3600, gt=0, description="How long the one-time login link works.")
    session_ttl_s: int = Field(14 * 86400, gt=0, description="How long a browser stays logged in.")
    allowed_hosts: str = Field(
        "", description="Other names it answers to, as `a.example, *.b.example`."
    )
    cors_origins: str = Field(
        "", description="Sites whose pages may ask with a key, as `https://a.example`; none."
    )
    requests_per_minute: int | None = Field(
        None, ge=0, description="Requests of one key; 0 = any number. 6000; on loopback any number."
    )
    searches_per_minute: int | None = Field(
        None, ge=0, description="Searches of one key; 0 = any number. 1200; on loopback any number."
    )
    failures_per_minute: int = Field(
        30, ge=0, description="Wrong keys from one address until 429; 0 = any number."
    )
    oidc_issuer: str | None = Field(
        None, description="OpenID Connect provider whose bearer tokens are accepted; none if unset."
    )
    oidc_audience: str | None = Field(None, description="What these tokens must be made for.")
    oidc_scope_claim: str = Field(
        "scope", description="Where their scopes are, as `scope` or `realm_access.roles`."
    )
    oidc_scope_prefix: str = Field(
        "reelseek:", description="What comes before `search`, `read`, `write`, `admin` there."
    )
    quota_upload_bytes_per_day: int | None = Field(
        None, gt=0, description="Bytes that one key may upload in a day of UTC; unbounded if unset."
    )
    quota_stored_bytes: int | None = Field(
        None, gt=0, description="Bytes of video that are kept; unbounded if unset."
    )
    quota_videos: int | None = Field(
        None, gt=0, description="Videos that are kept; unbounded if unset."
    )

    # What one API process takes on
    connections: int = Field(
        4096, ge=16, le=100_000, description="Connections of one API at most; then 503."
    )
    event_streams: int = Field(
        2500, ge=1, le=50_000, description="Event streams of one API at most; then 503."
    )
    event_streams_per_key: int = Field(
        500, ge=1, le=50_000, description="Event streams of one key or login at most; then 503."
    )
    answer_idle_s: float = Field(
        60.0, gt=0, description="A client that takes nothing of its answer for so long is let go."
    )
    database_wait_s: float = Field(
        10.0, gt=0, description="Longest wait of a request for the database; then 503."
    )
    drain_notice_s: float = Field(
        0.0, ge=0, description="An API told to stop says so on /readyz for so long, then stops."
    )

    # Where things are kept
    data_dir: Path = Field(Path("data"), description="Videos, bundles and index snapshots.")
    database_url: str | None = Field(
        None,
        description="SQLAlchemy URL, as postgresql://user:password@host/name; SQLite below "
        "data_dir if unset.",
    )
    broker_url: str | None = Field(
        None, description="Celery broker, as redis://host/0; a folder below data_dir if unset."
    )

    # The object store
    storage_url: str | None = Field(
        None,
        pattern=r"^s3://[^/]+",
        description="Bucket for videos and clips, as s3://bucket/prefix; below data_dir if unset.",
    )
    s3_endpoint: str | None = Field(
        None, pattern=r"^https?://", description="Address of the store, if it is not Amazon's."
    )
    s3_public_endpoint: str | None = Field(
        None, pattern=r"^https?://", description="Address at which browsers reach it, if another."
    )
    s3_region: str | None = Field(None, description="Region of the bucket.")
    s3_access_key: SecretStr | None = Field(
        None, description="Key of the store; the usual AWS_ variables work as well."
    )
    s3_secret_key: SecretStr | None = Field(None, description="The secret that belongs to it.")
    cache_bytes: int = Field(
        10 * GIB, gt=0, description="Copies of stored files that each machine keeps, roughly."
    )
    media: Literal["proxy", "redirect"] = Field(
        "proxy", description="Send videos through the API, or browsers to the store itself."
    )
    media_link_ttl_s: int = Field(
        3600, gt=0, le=604_800, description="How long a link to the store itself works."
    )

    # The model
    bundle: Path | None = Field(None, description="Bundle folder; if unset, the model in use.")
    device: Literal["auto", "cuda", "cpu"] = Field("auto", description="Where networks run.")
    torch_threads: int = Field(0, ge=0, description="CPU threads of one process; 0 = by cores.")

    # Uploads and ingest
    upload_limit_bytes: int = Field(20 * GIB, gt=0, description="Largest file accepted.")
    upload_idle_s: float = Field(
        60.0, gt=0, description="An upload that sends nothing for so long is ended."
    )
    upload_min_bytes_per_s: int = Field(
        1024, ge=0, description="A body that comes slower than this is ended; 0 = never."
    )
    upload_expires_s: int = Field(
        86400, gt=0, description="A resumable upload that stands still for so long is forgotten."
    )
    upload_piece_bytes: int = Field(
        64 * MIB, gt=0, description="Most of a resumable upload that a crash can make come again."
    )
    uploads_open: int = Field(
        600, ge=1, le=10_000, description="Uploads that one API receives at once; then 503."
    )
    jobs_waiting: int = Field(
        10_000, ge=1, description="Videos that may wait for their ingest; then uploads get 503."
    )
    disk_reserve_bytes: int = Field(512 * MIB, ge=0, description="Free disk that is kept free.")
    segment_s: float = Field(4.0, gt=0, le=600, description="Length of a segment.")
    segment_every_s: float = Field(
        4.0, gt=0, le=600, description="A segment starts every so often."
    )
    sampling: Literal["exact", "keyframes"] = Field(
        "exact", description="Decode the frames asked for, or the keyframes nearest to them."
    )
    reader: Literal["pyav", "decord"] = Field(
        "pyav", description="Library that decodes; decord is an extra to install."
    )
    video_limit_s: float = Field(12 * 3600.0, gt=0, description="Longest video accepted.")
    video_limit_pixels: int = Field(
        7680 * 4320, gt=0, description="Largest frame accepted, width x height."
    )
    decode_limit_cpu_s: float = Field(
        3600.0, gt=0, description="CPU time that decoding one video may take at most."
    )
    decode_limit_memory_bytes: int = Field(
        3 * GIB // 2, gt=0, description="Memory that decoding one video may take."
    )
    thumbnail_px: int = Field(320, ge=16, le=1920, description="Longest side of a thumbnail.")
    ingest_concurrency: int = Field(
        2, ge=1, le=64, description="Videos one worker decodes at once."
    )
    embed_batch: int = Field(16, ge=1, le=1024, description="Clips in one forward pass at most.")

    # Jobs
    job_lease_s: int = Field(30, gt=0, description="A silent worker loses its job after this.")
    job_attempts: int = Field(3, gt=0, description="A job that failed so often is given up.")
    drain_s: float = Field(
        20.0, ge=0, description="A process told to stop works so long on; then gives its work back."
    )
    sweep_every_s: float = Field(5.0, gt=0, description="How often lost jobs are sent again.")
    orphan_grace_s: float = Field(
        3600.0, gt=0, description="Age at which a file that no row names is removed."
    )

    courier_concurrency: int = Field(
        4, ge=1, le=64, description="Files fetched and webhooks told by one courier at once."
    )

    # Imports and webhooks: whom we speak to, and what is fetched
    outbound_allow: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._:/, -]*$",
        description="Hosts and networks that may be spoken to although they are private.",
    )
    outbound_ports: str = Field(
        "80,443",
        pattern=r"^ *\d{1,5}( *, *\d{1,5})* *$",
        description="Ports of others that may be spoken to.",
    )
    import_dir: Path | None = Field(None, description="Folders below it may be imported.")
    import_limit_items: int = Field(10_000, ge=1, description="Files of one import at most.")
    import_file_s: float = Field(
        4 * 3600.0, gt=0, description="Fetching one file may take so long."
    )
    import_idle_s: float = Field(
        30.0, gt=0, description="A server that sends nothing for so long is left."
    )
    import_s3_endpoint: str | None = Field(
        None, description="Object store that buckets are imported from; AWS if unset."
    )
    import_s3_region: str = Field("us-east-1", description="Its region.")
    import_s3_access_key: SecretStr | None = Field(
        None, description="Its access key; if unset, requests are not signed."
    )
    import_s3_secret_key: SecretStr | None = Field(None, description="Its secret key.")
    webhook_timeout_s: float = Field(
        15.0, gt=0, le=600, description="A webhook that has not answered after this is tried again."
    )
    webhook_secret_overlap_s: float = Field(
        86400.0, ge=0, description="How long the secret before still signs after a rotation."
    )

    # Tuning and switching
    tuner_concurrency: int = Field(
        3, ge=2, le=64, description="Tunings, switches and evaluations that one tuner runs at once."
    )
    tuning_checkpoint_s: float = Field(
        60.0, gt=0, description="How often a tuning run saves all that is needed to resume."
    )
    tuning_processes: int = Field(
        0, ge=0, le=64, description="Processes that share a tuning run; 0 = one per GPU."
    )
    reembed_share: float = Field(
        1.0, gt=0, le=1, description="Share of the time that embedding for a switch may take."
    )
    rollback_window_s: float = Field(
        7 * 86400.0, ge=0, description="How long the embeddings of the model before are kept."
    )

    # Search
    search_candidates: int = Field(100, ge=1, le=10_000, description="Segments FAISS returns.")
    rerank_depth: int = Field(16, ge=0, le=1000, description="Moments the fused pass re-ranks.")
    search_deadline_ms: int = Field(
        2000,
        gt=0,
        description="Time after which an answer is given without the rest of re-ranking.",
    )
    search_queue: int = Field(256, ge=1, description="Searches waiting at most; then 503.")
    replica_poll_ms: int = Field(200, gt=0, description="How often the change log is read.")
    index_kind: Literal[
        "auto", "flat_fp16", "flat_fp32", "flat_int8", "hnsw", "ivf_flat", "ivf_pq"
    ] = Field("auto", description="FAISS index of a replica; auto chooses by size and recall.")
    index_recall: float = Field(
        0.97, gt=0, le=1, description="Share of the exact answer that auto must find, as measured."
    )
    index_flat_below: int = Field(
        300_000, ge=0, description="With fewer segments auto keeps the exact, flat index."
    )
    milvus_uri: str | None = Field(
        None, description="Milvus server that holds the index in place of every API process."
    )
    milvus_token: SecretStr | None = Field(None, description="Of Milvus, as user:password.")
    milvus_prefix: str = Field(
        "reelseek",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,39}$",
        description="Of the names of our collections in Milvus.",
    )
    milvus_index: Literal["AUTOINDEX", "FLAT", "HNSW", "IVF_FLAT"] = Field(
        "AUTOINDEX", description="Index of our collections in Milvus."
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Events below it are not logged; `serve` starts with warning."
    )
    log_json: bool = Field(default=False, description="Log as JSON lines.")
    metrics_host: str = Field(
        "127.0.0.1", description="Address on which workers tell Prometheus their figures."
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65533,
        description="Port for that: of a worker that ingests; tuner + 1, courier + 2.",
    )
    otel_endpoint: str | None = Field(
        None, description="OTLP/HTTP address that traces are sent to, as http://host:4318."
    )

    @property
    def allowed_host_names(self) -> list[str]:
        """The names of `allowed_hosts`."""
        return _listed(self.allowed_hosts)

    @property
    def cors_origin_list(self) -> list[str]:
        """The sites of `cors_origins`."""
        return _listed(self.cors_origins)

    @property
    def sqlalchemy_url(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'reelseek.sqlite'}"

    @property
    def bundle_path(self) -> Path:
        """The folder of the configured bundle, or of the one that comes along."""
        return self.bundle or Path(__file__).parents[1] / "model" / "bundled"


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
