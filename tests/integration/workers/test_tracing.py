"""Traces as a real OTLP collector gets them: a request, and the job that it asked for."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from service import tracing
from service.catalog.tables import JobState
from service.search.stopwatch import Stopwatch
from tests.factories_ingest import running_worker, wait_for, wait_for_state

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    """A collector on a free port; it keeps the spans that came."""

    def __init__(self):
        self.spans = []
        self.processes = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/traces":
                    collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def take(self, request):
        for of_process in request.resource_spans:
            named = {one.key: one.value.string_value for one in of_process.resource.attributes}
            self.processes.add(named["service.name"])
            self.spans += [span for scope in of_process.scope_spans for span in scope.spans]

    def named(self, name):
        return [span for span in self.spans if span.name == name]

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.stop()


def attributes(span):
    return {one.key: one.value for one in span.attributes}


@pytest.mark.usefixtures("database_url")
def test_stages_are_parts_of_what_they_are_done_for(collector):
    end = tracing.configure(collector.url, kind="test")
    with tracing.span("request", parent=CALLER, server=True, request_id="r1", nothing=None):
        with Stopwatch().stage("embed"):
            parent = tracing.traceparent()
        tracing.note({"status": 200}, name="POST /v1/search")
    end()

    (request,), (stage,) = collector.named("POST /v1/search"), collector.named("stage embed")
    assert request.trace_id.hex() == stage.trace_id.hex() == CALLER.split("-")[1]
    assert request.parent_span_id.hex() == CALLER.split("-")[2]
    assert stage.parent_span_id == request.span_id
    assert parent.split("-")[2] == stage.span_id.hex()
    assert attributes(request)["reelseek.request_id"].string_value == "r1"
    assert attributes(request)["reelseek.status"].int_value == 200
    assert "reelseek.nothing" not in attributes(request)
    assert collector.processes == {"reelseek-test"}
    assert tracing.traceparent() is None


@pytest.mark.usefixtures("database_url")
def test_a_failure_is_told(collector):
    end = tracing.configure(f"{collector.url}/v1/traces", kind="test")
    with pytest.raises(KeyError), tracing.span("fails"):
        raise KeyError
    end()
    (span,) = collector.named("fails")
    assert span.status.code == 2
    assert [event.name for event in span.events] == ["exception"]


@pytest.mark.usefixtures("database_url")
def test_without_an_endpoint_nothing_is_traced():
    end = tracing.configure(None, kind="test")
    with tracing.span("anything") as span:
        assert span is None
        assert tracing.traceparent() is None
        tracing.note({"a": 1})
    end()


def test_a_job_is_part_of_the_trace_of_its_request(
    *, collector, upload_file, make_video, settings, sessions, tmp_path
):
    # no sweep meanwhile: a message that is sent again belongs to no request
    traced = settings.model_copy(update={"otel_endpoint": collector.url, "sweep_every_s": 600})
    with running_worker(traced, tmp_path / "worker.log") as worker:
        end = tracing.configure(collector.url, kind="api")
        with tracing.span("request", parent=CALLER):
            accepted = upload_file(make_video())
        end()
        wait_for_state(sessions, accepted.job_id, JobState.DONE)
        assert worker.stop() == 0

    wait_for(lambda: collector.named("job ingest"))
    (job,), (request,) = collector.named("job ingest"), collector.named("request")
    assert job.trace_id == request.trace_id
    assert job.parent_span_id == request.span_id
    told = attributes(job)
    assert told["reelseek.job_id"].string_value == str(accepted.job_id)
    assert told["reelseek.outcome"].string_value == "done"
    assert told["reelseek.decode_ms"].double_value > 0
    assert collector.named("stage commit")[0].parent_span_id == job.span_id
    assert collector.processes == {"reelseek-api", "reelseek-worker"}
