"""The server answers its own page alone; it reads nothing but labels and photos, whatever it is asked for."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.browser.browse_config import BrowseConfig
from pipeline.browser.security import MAX_BODY_BYTES
from pipeline.labels import LabelStore
from tests.pipeline.browser.small_store import Served, made_store, serving

TOKEN = "a secret of more than 16 characters"
A = {"a": 0, "b": 1}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LabelStore:
    return made_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def served(store: LabelStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(store, tmp_path_factory.mktemp("cache")) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(store: LabelStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With a token and another name, as on a host that others reach."""
    with serving(store, tmp_path_factory.mktemp("cache"), token=TOKEN, name="labels.lab", reviewer="anna") as server:
        yield server


def test_the_page_and_its_parts_are_served_with_a_policy(served: Served) -> None:
    for path in ("/", "/static/main.js", "/static/vendor/three.min.js", "/api/rounds"):
        status, headers, body = served.raw(path)
        assert status == 200
        assert body
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.", "", "x@127.0.0.1"]
)
def test_another_name_is_refused(host: str, served: Served) -> None:
    assert served.raw("/api/rounds", headers={"Host": host})[0] in (400, 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]", "[::1]:8765"])
def test_our_own_names_are_known(host: str, served: Served) -> None:
    assert served.raw("/api/rounds", headers={"Host": host})[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    ],
)
def test_requests_of_other_sites_are_refused(headers: dict[str, str], served: Served) -> None:
    assert served.raw("/api/rounds", headers=headers)[0] == 403


def test_a_link_from_elsewhere_opens_the_page(served: Served) -> None:
    came = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert served.raw("/?a=0&b=1", headers=came)[0] == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_other_methods_are_refused(method: str, served: Served) -> None:
    assert served.raw("/api/rounds", method=method)[0] in (400, 404, 405)


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/..%2f..%2f..%2f..%2fetc/passwd",
        "/static//etc/passwd",
        "/static/%00",
        "/static/vendor/..%5c..%5capp.py",
        "//etc/passwd",
        "/etc/passwd",
        "/api/../static/../app.py",
        "/static/",
        "/static",
    ],
)
def test_paths_do_not_escape(path: str, served: Served) -> None:
    status, _, body = served.raw(path)
    assert status in (307, 400, 404, 405)
    assert b"root:" not in body
    assert b"import" not in body


@pytest.mark.parametrize("api", ["person", "picture", "body", "video"])
@pytest.mark.parametrize(
    ("dataset", "shard", "key"),
    [
        ("..", "..", "../../etc/passwd"),
        ("photos", "../000000", "000000"),
        ("photos", "000000", "/etc/passwd"),
        ("photos", "000000", "<script>"),
        ("photos", "000000", "\x00"),
        ("\x00", "%2e%2e", "a\r\nSet-Cookie: a=b"),
        ("photos", "000000*", "*"),
        ("s3://bucket", "http://127.0.0.1:9", "x"),
        ("x" * 1101, "y", "z"),
        ("\ud800", "y", "z"),
    ],
)
def test_a_name_that_leads_elsewhere_finds_nobody(api: str, dataset: str, shard: str, key: str, served: Served) -> None:
    from urllib.parse import quote

    dataset, shard, key = (quote(name.encode("utf-8", "surrogatepass"), safe="") for name in (dataset, shard, key))
    path = f"/api/{api}?dataset={dataset}&shard={shard}&key={key}&person=0&round=1&a=0&b=1&layers=skin"
    status, headers, body = served.raw(path)
    assert status in (200, 400, 404)
    assert headers["content-type"] == "application/json"
    assert "error" in json.loads(body) or json.loads(body)["frames"] == []
    assert "set-cookie" not in headers


@pytest.mark.parametrize(
    "query",
    [
        "person?person=0",
        "people?a=0",
        "people?a=0&b=9",
        "people?a=0&b=1&limit=x",
        "people?a=0&b=1&sort=nothing",
        "people?a=-1&b=1",
        "people?a=0&b=99999999999999999999",
        "histogram?a=0&b=1&x=key",
        "picture?dataset=a&shard=b&key=c&person=0&size=9999",
        "picture?dataset=a&shard=b&key=c&person=0&layers=x",
        "download/exe?a=0&b=1",
        "people?a=0&b=1&where=getenv('A')=''",
    ],
)
def test_what_means_nothing_is_said_to_mean_nothing(query: str, served: Served) -> None:
    served.ask("people", *A.items())  # the index is there
    status, _, body = served.raw(f"/api/{query}")
    assert status == 400
    assert json.loads(body)["error"]


def test_a_read_only_server_writes_no_review(served: Served, store: LabelStore) -> None:
    row = store.read_all(1).to_pylist()[0]
    who = {name: row[name] for name in ("dataset", "shard", "key", "person")}
    status, answer = served.post(who | {"round": 1, "verdict": "good", "note": ""})
    assert status == 400
    assert "browse.reviewer" in answer["error"]
    assert not (Path(store.storage.root) / "reviews").exists()


def test_a_token_is_needed_and_becomes_a_cookie(guarded: Served) -> None:
    own = {"Host": f"labels.lab:{guarded.port}"}
    assert guarded.raw("/api/rounds", headers=own)[0] == 401
    assert guarded.raw("/", headers=own)[0] == 401
    assert guarded.raw("/?token=wrong", headers=own)[0] == 401
    assert guarded.raw("/api/rounds", headers=own | {"Authorization": "Bearer wrong"})[0] == 401
    assert guarded.raw("/api/rounds", headers=own | {"Authorization": f"Bearer {TOKEN}"})[0] == 200
    status, headers, _ = guarded.raw(f"//evil.example/?a=1&token={TOKEN.replace(' ', '%20')}", headers=own)
    assert (status, headers["location"]) == (303, "/evil.example/?a=1")
    assert TOKEN not in headers["location"]
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert guarded.raw("/api/rounds", headers=own | {"Cookie": cookie.partition(";")[0]})[0] == 200


def test_a_change_must_come_from_our_own_page(guarded: Served) -> None:
    host = f"labels.lab:{guarded.port}"
    base = {"Host": host, "Authorization": f"Bearer {TOKEN}"}

    def post(body: str = "{}", **headers: str) -> int:
        given = base | {name.replace("_", "-"): value for name, value in headers.items()}
        return guarded.raw("/api/review", method="POST", headers=given, body=body)[0]

    assert post(Content_Type="text/plain") == 403
    assert post(Content_Type="application/x-www-form-urlencoded", Origin=f"http://{host}") == 403
    assert post(Content_Type="application/json", Origin="https://evil.example") == 403
    assert post(Content_Type="application/json", Origin=f"http://{host}") == 400
    assert post("[" * 5000, Content_Type="application/json", Origin=f"http://{host}") == 400
    assert post("x" * (MAX_BODY_BYTES + 1), Content_Type="application/json", Origin=f"http://{host}") == 413
    assert post("{}", Content_Type="application/json", Content_Length="-1") in (400, 413)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"host": "0.0.0.0"}, "set browse.token"),
        ({"host": "::"}, "set browse.token"),
        ({"host": "gpu7.lab"}, "set browse.token"),
        ({"host": "0.0.0.0", "token": "short"}, "at least 16"),
        ({"token": ""}, "at least 16"),
        ({"port": 65536}, "browse.port"),
        ({"threads": 0}, "must be positive"),
        ({"reviewer": " "}, "printable"),
        ({"reviewer": "a\nb"}, "printable"),
    ],
)
def test_unsafe_settings_are_refused(settings: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        BrowseConfig(**settings)  # type: ignore[arg-type]


def test_this_machine_needs_no_token() -> None:
    assert BrowseConfig(host="127.0.0.1").is_local
    assert BrowseConfig(host="::1").is_local
    assert BrowseConfig(host="localhost").is_local
