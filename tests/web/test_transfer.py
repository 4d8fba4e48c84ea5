"""What goes over the wire: tags, compression, HEAD, assets, figures, and no endless waiting."""

from __future__ import annotations

import gzip
import hashlib

import pytest
from starlette.testclient import TestClient
from tests.web.serving import REGION, client_of

from prometheus.app import App
from prometheus.web.access import LOOPBACK_HOSTS, AccessRules
from prometheus.web.assets import STATIC, Assets
from prometheus.web.load import Limits
from prometheus.web.middleware import ARROW
from prometheus.web.server import create_app

pytest_plugins = ["tests.web.fixtures"]

REGIMES = f"/v1/regions/{REGION}/regimes"
UPLOT = Assets().address("uplot.js")


def test_an_unchanged_answer_is_not_sent_twice(client: TestClient) -> None:
    first = client.get(REGIMES)
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["etag"] == client.get(REGIMES).headers["etag"]
    strong = first.headers["etag"].removeprefix("W/")
    for known in (strong, f"W/{strong}", f'"other", {strong}', "*"):
        again = client.get(REGIMES, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert (again.headers["etag"], again.headers["vary"]) == (first.headers["etag"], first.headers["vary"])
        assert "content-length" not in again.headers
        assert "content-type" not in again.headers
    assert client.get(REGIMES, headers={"If-None-Match": '"other"'}).status_code == 200


def test_long_answers_are_compressed_for_those_who_can_read_it(client: TestClient) -> None:
    packed, plain = (client.get(REGIMES, headers={"Accept-Encoding": each}) for each in ("gzip", "identity"))
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 3
    assert packed.headers["etag"] == f"W/{plain.headers['etag']}"  # a strong tag is of one encoding's bytes alone
    assert all("Accept-Encoding" in each.headers["vary"] for each in (packed, plain))
    assert "content-encoding" not in client.get(REGIMES, headers={"Accept-Encoding": "gzip;q=0, br"}).headers
    assert "content-encoding" not in client.get("/healthz").headers


def test_vectors_as_arrow_are_not_compressed(client: TestClient) -> None:
    response = client.get(f"/v1/regions/{REGION}/embeddings", headers={"Accept": ARROW, "Accept-Encoding": "gzip"})
    assert "content-encoding" not in response.headers
    assert {each.strip() for each in response.headers["vary"].split(",")} == {"Accept", "Accept-Encoding"}
    again = client.get(
        f"/v1/regions/{REGION}/embeddings", headers={"Accept": ARROW, "If-None-Match": response.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "address", [REGIMES, "/healthz", "/readyz", "/metrics", "/v1/nothing", "/v1/openapi.json", UPLOT]
)
def test_head_is_get_without_the_body(client: TestClient, address: str) -> None:
    head, get = client.head(address), client.get(address)
    assert (head.status_code, head.content) == (get.status_code, b"")
    if address != "/metrics":
        assert head.headers == get.headers


def test_errors_are_not_kept(client: TestClient) -> None:
    assert client.get("/v1/regions/X/regimes").headers["cache-control"] == "no-store"


def test_the_charts_library_is_the_one_told_of_and_is_kept_for_good(client: TestClient) -> None:
    script = (STATIC / "vendor" / "uplot.js").read_bytes()
    for name in ("uplot.js", "uplot.css"):
        content = (STATIC / "vendor" / name).read_bytes()
        assert f"`{hashlib.sha256(content).hexdigest()}`" in (STATIC / "vendor" / "README.md").read_text()
    assert "Leon Sorokin" in (STATIC / "vendor" / "LICENSE").read_text()
    with client.stream("GET", UPLOT) as response:
        raw = b"".join(response.iter_raw())
    assert gzip.decompress(raw) == script
    assert len(raw) < len(script) / 2
    assert response.headers["content-type"].startswith("text/javascript")
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    again = client.get(UPLOT, headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for name in ("etag", "cache-control", "vary"):
        assert again.headers[name] == response.headers[name]
    assert client.get(UPLOT, headers={"Accept-Encoding": "identity"}).content == script
    assert client.get("/static/uplot.js?v=older").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "name",
    [
        "nothing.js",
        "..%2Faccess.py",
        "%2e%2e%2fserver.py",
        "access.py",
        "LICENSE",
        "README.md",
        "vendor",
        "%2Fetc%2Fpasswd",
    ],
)
def test_no_other_file_is_served(client: TestClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


def test_figures_are_by_route_and_of_each_server_alone(client: TestClient, reading_app: App) -> None:
    client.get(f"{REGIMES}/2020-03-16")
    client.get(f"{REGIMES}/1980-01-01")
    client.head("/healthz")
    text = client.get("/metrics").text
    template = "/v1/regions/{region}/regimes/{as_of_date}"
    assert f'regime_http_requests_total{{method="GET",route="{template}",status="200"}}' in text
    assert f'regime_http_requests_total{{method="GET",route="{template}",status="404"}}' in text
    assert 'regime_http_requests_total{method="HEAD",route="/healthz",status="200"}' in text
    assert "1980-01-01" not in text
    assert "regime_database_ready 1.0" in text
    assert "process_resident_memory_bytes" in text
    with client_of(create_app(reading_app, AccessRules(LOOPBACK_HOSTS))) as other:
        assert template not in other.get("/metrics").text


def test_too_many_at_once_and_too_slow_are_told_to_come_again(reading_app: App) -> None:
    for limits, error in ((Limits(most_waiting=0), "busy"), (Limits(deadline_s=0.0005), "too_slow")):
        with client_of(create_app(reading_app, AccessRules(LOOPBACK_HOSTS), limits)) as client:
            response = client.get(REGIMES)
            assert (response.status_code, response.json()["error"]) == (503, error)
            assert response.headers["retry-after"] == "2"
            assert client.get("/healthz").status_code == 200


def test_a_defect_is_told_without_its_traceback(reading_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prometheus.data.timelines.RegimeTimelines.histories", None)
    with client_of(create_app(reading_app, AccessRules(LOOPBACK_HOSTS))) as client:
        response = client.get("/v1/regions")
    assert response.status_code == 500
    assert response.json()["error"] == "internal"
    assert response.json()["detail"] == "an error of the server; its log says more"
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_compression_says_the_same_bytes_at_any_time(client: TestClient) -> None:
    with client.stream("GET", REGIMES, headers={"Accept-Encoding": "gzip"}) as response:
        raw = b"".join(response.iter_raw())
    assert (
        response.headers["etag"].removeprefix("W/").strip('"') == hashlib.sha256(gzip.decompress(raw)).hexdigest()[:32]
    )
