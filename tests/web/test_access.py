"""Who may ask, and what a browser may do with the answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.web.serving import REGION, TOKEN, client_of

from prometheus.app import App
from prometheus.errors import FileAccessError, UsageError
from prometheus.web.access import LOOPBACK_HOSTS, SECURITY_HEADERS, AccessRules, read_token
from prometheus.web.server import create_app

pytest_plugins = ["tests.web.fixtures"]


@pytest.fixture
def guarded(reading_app: App) -> Iterator[TestClient]:
    """A client of a server that wants a token."""
    rules = AccessRules(LOOPBACK_HOSTS | {"desk.example"}, TOKEN)
    with client_of(create_app(reading_app, rules)) as client:
        yield client


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8321", "LOCALHOST", "[::1]:9"])
def test_this_machine_goes_by_its_own_names(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil", "evil:8321", "", "127.0.0.1:x", "a b"]
)
@pytest.mark.parametrize("address", ["/healthz", "/v1/regions", "/nothing"])
def test_a_foreign_host_is_refused_everywhere(client: TestClient, host: str, address: str) -> None:
    response = client.get(address, headers={"Host": host})
    assert response.status_code == 400
    assert response.json()["error"] == "foreign_host"
    assert "--allow-host" in response.json()["detail"]


def test_another_name_can_be_allowed(guarded: TestClient) -> None:
    headers = {"Host": "desk.example", "Authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/v1/regions", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [None, "", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer ", f"Basic {TOKEN}", "Bearer é"],
)
def test_a_missing_or_wrong_token_is_refused(guarded: TestClient, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode()}
    response = guarded.get("/v1/regions", headers=headers)  # type: ignore[arg-type]
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in response.text


def test_the_right_token_is_let_in_and_health_needs_none(guarded: TestClient) -> None:
    for scheme in ("Bearer", "bearer"):
        assert guarded.get("/v1/regions", headers={"Authorization": f"{scheme} {TOKEN}"}).status_code == 200
    assert guarded.get("/healthz").status_code == 200
    assert guarded.get("/readyz").status_code == 200
    assert guarded.get("/metrics").status_code == 401
    assert guarded.get("/v1/openapi.json").status_code == 401


@pytest.mark.parametrize(
    "query", [f"token={TOKEN}", f"x={TOKEN}", "access_token=1", "API_KEY=", f"{'a=1&' * 20}bearer=2"]
)
def test_a_token_in_the_address_is_refused_even_beside_the_right_header(guarded: TestClient, query: str) -> None:
    response = guarded.get(f"/v1/regions?{query}", headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 400
    assert response.json()["error"] == "token_in_url"
    assert TOKEN not in response.text


def test_a_token_is_told_in_the_openapi_document_and_shown_nowhere(guarded: TestClient) -> None:
    document = guarded.get("/v1/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    assert document["paths"]["/v1/regions"]["get"]["security"] == [{"HTTPBearer": []}]
    assert TOKEN not in repr(AccessRules(frozenset(), TOKEN))


@pytest.mark.parametrize(
    "address",
    ["/v1/regions", "/v1/regions/X/regimes", "/v1/regions?x=1", "/nothing", "/metrics", "/static/uplot.js"],
)
def test_every_answer_tells_the_browser_what_it_may_do(client: TestClient, address: str) -> None:
    response = client.get(address, headers={"Origin": "https://evil.example"})
    assert {name: response.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert not [name for name in response.headers if name.startswith("access-control-")]
    assert "script-src 'self';" in response.headers["content-security-policy"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("address", ["/v1/regions", f"/v1/regions/{REGION}/regimes", "/nothing"])
def test_only_reading_is_allowed(client: TestClient, method: str, address: str) -> None:
    response = client.request(method, address)
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD"
    assert response.json()["error"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (TOKEN, 0o640, "chmod 600"),
        (TOKEN, 0o604, "mode 0604"),
        ("short", 0o600, "at least 16 characters"),
        ("", 0o600, "one line"),
        ("two words are no token at all", 0o600, "one line"),
        ("schlüsselschlüsselschlüssel", 0o600, "one line"),
        ("x" * 5000, 0o600, "one line"),
    ],
)
def test_a_token_file_that_keeps_no_secret_is_refused(tmp_path: Path, content: str, mode: int, said: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(FileAccessError, match=said) as caught:
        read_token(file)
    assert content == "" or content not in str(caught.value)


def test_a_token_file_is_read_without_its_line_end_and_a_missing_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    assert read_token(file) == TOKEN
    with pytest.raises(FileAccessError, match="nothing here"):
        read_token(tmp_path / "nothing here")


def test_a_browser_trades_the_token_for_a_cookie(guarded: TestClient) -> None:
    browser = {"Accept": "text/html"}
    asked = guarded.get(f"/regions/{REGION}?model_id=x", headers=browser, follow_redirects=False)
    assert (asked.status_code, asked.headers["location"]) == (303, "/login?next=%2Fregions%2FUS_INDEX%3Fmodel_id%3Dx")
    assert TOKEN not in guarded.get("/login").text

    wrong = guarded.post("/login?next=/", data={"secret": f"{TOKEN}x"})
    assert (wrong.status_code, "That is not the token." in wrong.text, wrong.cookies.get("prometheus_session")) == (
        401, True, None,
    )  # fmt: skip
    right = guarded.post(f"/login?next=/regions/{REGION}", data={"secret": TOKEN}, follow_redirects=False)
    assert (right.status_code, right.headers["location"]) == (303, f"/regions/{REGION}")
    said = right.headers["set-cookie"]
    assert all(word in said for word in ("HttpOnly", "SameSite=strict", "Path=/"))
    assert TOKEN not in said
    assert guarded.get(f"/regions/{REGION}", headers=browser).status_code == 200
    guarded.get("/logout")
    assert guarded.get("/v1/regions").status_code == 401


@pytest.mark.parametrize("changed", ["9999999999.00", "9999999999.", "0.{}", "", "x.y", "1.é"])
def test_a_cookie_of_anyones_own_making_or_an_old_one_lets_no_one_in(guarded: TestClient, changed: str) -> None:
    old = AccessRules(frozenset(), TOKEN).session(0.0)
    for cookie in (
        changed.format(old.partition(".")[2]),
        old,
        AccessRules(frozenset(), "another-token-entirely").session(1e12),
    ):
        headers = {"Cookie": f"prometheus_session={cookie}".encode()}
        assert guarded.get("/v1/regions", headers=headers).status_code == 401  # type: ignore[arg-type]


@pytest.mark.parametrize("to", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:1", "/a\nb"])
def test_a_log_in_leads_to_this_server_alone(guarded: TestClient, to: str) -> None:
    done = guarded.post("/login", params={"next": to}, data={"secret": TOKEN}, follow_redirects=False)
    assert done.headers["location"] == "/"


def test_a_log_in_from_another_page_is_refused_and_so_is_a_long_one(guarded: TestClient) -> None:
    foreign = guarded.post("/login", data={"secret": TOKEN}, headers={"Sec-Fetch-Site": "cross-site"})
    assert (foreign.status_code, "set-cookie" in foreign.headers) == (400, False)
    assert guarded.post("/login", data={"secret": "x" * 10_000}).status_code == 401
    assert guarded.post("/login", data={"secret": TOKEN}, headers={"Host": "evil.example"}).status_code == 400


def test_without_a_token_there_is_nothing_to_log_in_to(client: TestClient) -> None:
    assert client.get("/login").status_code == 404
    assert client.post("/login").status_code == 405


def test_named_origins_may_read_and_frame_and_no_others(reading_app: App) -> None:
    desk = "https://desk.example"
    rules = AccessRules(LOOPBACK_HOSTS, None, frozenset({desk}), (desk,))
    with client_of(create_app(reading_app, rules)) as client:
        friend = client.get("/v1/regions", headers={"Origin": desk})
        assert friend.headers["access-control-allow-origin"] == desk
        assert "Origin" in friend.headers["vary"]
        assert f"frame-ancestors {desk}" in friend.headers["content-security-policy"]
        assert "x-frame-options" not in friend.headers
        asked = client.options("/v1/regions", headers={"Origin": desk, "Access-Control-Request-Method": "GET"})
        assert (asked.status_code, asked.headers["access-control-allow-methods"]) == (204, "GET, HEAD")
        for other in ("https://evil.example", f"{desk}.evil.example", "null"):
            assert "access-control-allow-origin" not in client.get("/v1/regions", headers={"Origin": other}).headers
        assert client.options("/v1/regions", headers={"Origin": "https://evil.example"}).status_code == 405


@pytest.mark.parametrize(
    "origin", ["*", "desk.example", "https://desk.example/", "https://u@desk.example", "ftp://x", "HTTPS://A"]
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    for named in ({"origins": frozenset({origin})}, {"frames": (origin,)}):
        with pytest.raises(UsageError, match="--allow-"):
            AccessRules(LOOPBACK_HOSTS, **named)
