"""The feature store's promises to whoever computes and reads rows: the right row or an error."""

import json
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from style_match.backbone.feature_store import HEAD_BYTES, FeatureStore, MissingRows
from style_match.utils.errors import UserError


def shards(store: FeatureStore):
    return sorted(store.folder.glob("*.safetensors"))


@given(
    num_rows=st.integers(0, 23),
    shard_rows=st.integers(1, 9),
    poolings=st.sets(st.sampled_from(["eos", "mean", "mean_image", "mean_text", "a", "z", "own"]), min_size=1),
    dim=st.integers(1, 9),
    data=st.data(),
)
def test_rows_come_back_as_written(tmp_path_factory, rows, num_rows, shard_rows, poolings, dim, data):
    root = tmp_path_factory.mktemp("store")
    written = {rows.address(i): {name: torch.randn(dim) for name in poolings} for i in range(num_rows)}
    store = rows.store(root, shard_rows=shard_rows)
    with store.writer() as writer:
        for address, vectors in written.items():
            writer.add(address, vectors)
    assert len(shards(store)) == -(-num_rows // shard_rows)
    wanted = data.draw(st.lists(st.sampled_from(list(written)), max_size=40)) if written else []
    for opened in (store, rows.store(root)):
        assert opened.missing(list(written)) == []
        assert opened.num_rows == num_rows
        for pooling in poolings:
            loaded = opened.load(wanted, pooling)
            assert loaded.dtype == torch.float32
            assert torch.equal(loaded, torch.stack([written[a][pooling] for a in wanted]) if wanted else loaded[:0])


def test_missing_rows_are_told_once_and_in_order(tmp_path, rows):
    store = rows.store(tmp_path)
    rows.write(store, range(5))
    asked = [rows.address(i) for i in (7, 2, 9, 7, 4, 6, 9)]
    assert store.missing(asked) == [rows.address(i) for i in (7, 9, 6)]
    assert store.missing([]) == []
    with pytest.raises(MissingRows, match=r"4 of 7 rows are not in the feature store") as caught:
        store.load([rows.address(i) for i in (2, 7, 9, 7, 4, 1, 9)], "mean")
    assert rows.address(7) in str(caught.value)


def test_a_reordered_dataset_computes_nothing(tmp_path, rows):
    assert rows.compute_missing(rows.store(tmp_path), range(11)) == list(range(11))
    order = [3, 10, 0, 7, 7, 1, 9, 2, 8, 5, 6, 4]
    store = rows.store(tmp_path)
    assert rows.compute_missing(store, order) == []
    rows.check(store, order)


def test_an_added_row_is_the_only_one_computed(tmp_path, rows):
    rows.compute_missing(rows.store(tmp_path), range(9))
    store = rows.store(tmp_path)
    assert rows.compute_missing(store, [*range(9), 40, 41]) == [40, 41]
    rows.check(store, [41, 3, 40])


def test_a_changed_component_of_the_identity_is_a_new_computation(tmp_path, rows, component):
    first = rows.store(tmp_path)
    rows.write(first, range(3))
    other = rows.store(tmp_path, identity=rows.mutated(component))
    assert other.folder != first.folder and other.key != first.key
    assert rows.compute_missing(other, range(3)) == [0, 1, 2]
    assert rows.compute_missing(rows.store(tmp_path), range(3)) == []


def test_a_component_more_or_less_is_another_identity(tmp_path, rows):
    less = {name: value for name, value in rows.identity.items() if name != "layer"}
    identities = (rows.identity, less, {**rows.identity, "more": None}, {})
    assert len({rows.store(tmp_path, identity=identity).key for identity in identities}) == 4


def test_the_identity_is_its_content(tmp_path, rows):
    shuffled = dict(reversed(rows.identity.items())) | {"poolings": ("eos", "mean")}
    assert rows.store(tmp_path, identity=shuffled).key == rows.store(tmp_path).key


def test_a_shard_is_an_ordinary_safetensors_file(tmp_path, rows):
    store = rows.store(tmp_path)
    rows.write(store, range(3))
    (path,) = shards(store)
    with safe_open(path, framework="pt") as file:
        assert sorted(file.keys()) == ["checksums", "eos", "mean", "rows"]
        assert file.metadata()["key"] == store.key
        addresses = [bytes(row.tolist()).hex() for row in file.get_tensor("rows")]
        assert addresses == [rows.address(i) for i in range(3)]
        for pooling in ("eos", "mean"):
            expected = torch.stack([rows.vectors(i)[pooling] for i in range(3)])
            assert torch.equal(file.get_tensor(pooling), expected)
        assert file.get_tensor("checksums").shape == (3, 2, 8)


def test_the_manifest_is_readable_and_believed_only_when_right(tmp_path, rows):
    store = rows.store(tmp_path)
    rows.write(store, range(3))
    path = store.folder / "manifest.json"
    text = path.read_text()
    assert json.loads(text) == {"key": store.key, "identity": rows.identity}
    assert store.folder.name == store.key[:16]
    for broken in ("", "[]", text[:-20], text.replace(store.key, "f" * 64)):
        path.write_text(broken)
        with pytest.raises(UserError, match="is not the manifest of this feature folder"):
            rows.store(tmp_path)
    path.unlink()  # shards carry the key themselves, so a lost manifest costs nothing
    assert rows.compute_missing(rows.store(tmp_path), [*range(3), 9]) == [9]
    assert path.read_text() == text


def test_a_tampered_manifest_is_told_with_the_component(tmp_path, rows, component):
    store = rows.store(tmp_path)
    rows.write(store, [1])
    path = store.folder / "manifest.json"
    path.write_text(json.dumps({"key": store.key, "identity": rows.mutated(component)}))
    with pytest.raises(UserError) as caught:
        rows.store(tmp_path)
    assert str(path) in str(caught.value) and "identity." + ".".join(component) in str(caught.value)


def test_rows_that_others_finish_meanwhile_are_seen(tmp_path, rows):
    reader, other = rows.store(tmp_path), rows.store(tmp_path)
    rows.write(other, range(3))
    rows.check(reader, range(3))
    rows.write(other, [5])
    assert reader.missing([rows.address(i) for i in (5, 6)]) == [rows.address(6)]
    rows.write(other, [6])
    rows.check(reader, [6, 0, 5])


def test_a_row_computed_twice_is_served_as_first_written(tmp_path, rows):
    store = rows.store(tmp_path)
    rows.write(store, [1, 2])
    for _ in range(4):
        with rows.store(tmp_path).writer() as writer:
            writer.add(rows.address(1), rows.vectors(100))
    rows.check(store, [1, 2])
    rows.check(rows.store(tmp_path), [1, 2])


def test_shards_that_vanish_are_missing_or_found_elsewhere(tmp_path, rows):
    store = rows.store(tmp_path)
    rows.write(store, [1, 2])
    (first,) = shards(store)
    rows.write(store, [2, 3])
    rows.check(store, [1, 2, 3])
    first.unlink()
    rows.check(store, [2, 3])  # 2 stands in the second shard as well
    with pytest.raises(MissingRows):
        store.load([rows.address(1)], "mean")
    shutil.rmtree(store.folder)
    assert store.missing([rows.address(2)]) == [rows.address(2)]
    assert rows.compute_missing(store, [1, 2]) == [1, 2]
    rows.check(store, [1, 2])


def test_a_pooling_that_is_not_stored_is_named(tmp_path, rows):
    store = rows.store(tmp_path)
    rows.write(store, [1])
    with pytest.raises(UserError, match="holds the poolings eos, mean, not mean_image"):
        store.load([rows.address(1)], "mean_image")


def test_rows_that_do_not_belong_together_are_refused(tmp_path, rows):
    store = rows.store(tmp_path)
    with store.writer() as writer:
        writer.add(rows.address(1), rows.vectors(1))
        for wrong in ({"mean": torch.zeros(6)}, rows.vectors(2, dim=7), {}, {"rows": torch.zeros(6)}):
            with pytest.raises(ValueError):
                writer.add(rows.address(2), wrong)
        for wrong_address in ("", "00", rows.address(2)[:-1] + "g", rows.address(2) + "00"):
            with pytest.raises(ValueError):
                writer.add(wrong_address, rows.vectors(2))
    rows.check(store, [1])
    assert store.missing([rows.address(2)]) == [rows.address(2)]


def test_vectors_are_kept_as_they_were_when_added(tmp_path, rows):
    store, buffer = rows.store(tmp_path), torch.zeros(6)
    with store.writer() as writer:
        for number in range(3):
            buffer.fill_(number)
            writer.add(rows.address(number), {"mean": buffer})
    assert store.load([rows.address(number) for number in range(3)], "mean")[:, 0].tolist() == [0, 1, 2]


def test_vectors_of_any_precision_are_kept_as_float32(tmp_path, rows):
    store = rows.store(tmp_path)
    batch = torch.randn(2, 6, requires_grad=True).to(torch.bfloat16)
    with store.writer() as writer:
        writer.add(rows.address(0), {"mean": batch[0]})
        writer.add(rows.address(1), {"mean": batch[:, :][1]})
    assert torch.equal(store.load([rows.address(0), rows.address(1)], "mean"), batch.detach().float())


def test_a_header_of_many_poolings(tmp_path, rows):
    poolings = {f"a pooling of number {number}": torch.full((2,), float(number)) for number in range(90)}
    store = rows.store(tmp_path)
    with store.writer() as writer:
        writer.add(rows.address(0), poolings)
    (path,) = shards(store)
    assert int.from_bytes(path.read_bytes()[:8], "little") > HEAD_BYTES
    for name, vector in poolings.items():
        assert torch.equal(rows.store(tmp_path).load([rows.address(0)], name), vector[None])


def test_addresses_that_begin_alike_are_told_apart(tmp_path, rows):
    alike = [f"{'ab' * 8}{i:048x}" for i in range(20)]
    store = rows.store(tmp_path)
    with store.writer() as writer:
        for i, address in enumerate(alike[:15]):
            writer.add(address, {"mean": torch.tensor([float(i)])})
    assert store.missing(alike) == alike[15:]
    assert store.load(alike[:15][::-1], "mean").flatten().tolist() == list(range(14, -1, -1))
