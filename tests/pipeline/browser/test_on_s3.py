"""The label browser over a store and shards on a real S3 server."""

from dataclasses import replace
from pathlib import Path

import pytest
import simplejpeg

from pipeline.labels import LabelStore
from pipeline.labels.files.reviews import read_reviews
from pipeline.shards import list_shards, write_shard
from tests.pipeline.browser.small_store import serving
from tests.pipeline.labels.label_tables import SHARDS, lineage, stage
from tests.pipeline.shards.samples import sample
from tests.services.s3_server import S3Server

pytestmark = pytest.mark.slow


def test_pages_pictures_and_reviews(s3_server: S3Server, tmp_path: Path) -> None:
    for dataset, shard in SHARDS:
        samples = [replace(sample(n_people=2, seed=i), key=f"{i:06d}") for i in range(10)]
        write_shard(s3_server.url(f"browsed/{dataset}/{shard}.tar"), samples)
    store = LabelStore(s3_server.url("browsed/labels"), f"sqlite:///{tmp_path}/catalog.db")
    inputs = tuple(
        list_shards(s3_server.url("browsed/photos/*.tar")) + list_shards(s3_server.url("browsed/video/*.tar"))
    )
    for k in (0, 1):
        parent = store.generation(0).snapshot_id if k else None
        record = replace(lineage(k, f"run-{k}", parent_snapshot_id=parent), inputs=inputs)
        store.publish(record, stage(store, k, f"run-{k}"))
    with serving(store, tmp_path, reviewer="anna") as served:
        rows = served.ask("people", ("a", 0), ("b", 1), ("sort", "px_b"), ("limit", 100))["rows"]
        assert len(rows) == 60
        who = {name: rows[0][name] for name in ("dataset", "shard", "key", "person")}
        query = "&".join(f"{name}={value}" for name, value in who.items())
        status, _, picture = served.raw(f"/api/picture?{query}&round=1&layers=keypoints&size=256")
        assert status == 200, picture
        assert simplejpeg.decode_jpeg(picture).shape == (256, 256, 3)
        assert [item["round"] for item in served.ask("person", *who.items())["rounds"]] == [0, 1]
        assert served.post(who | {"round": 1, "verdict": "bad_label", "note": ""})[0] == 201
        found = served.ask("people", ("a", 0), ("b", 1), ("reviewed", "bad_label"))["rows"]
        assert [{name: row[name] for name in who} for row in found] == [who]
        shards = served.raw("/api/download/shards?a=0&b=1&dataset=video")[2].decode().split()
        assert shards == [s3_server.url("browsed/video/000000.tar")]
    assert [item.reviewer for item in read_reviews(store.storage).values()] == ["anna"]
