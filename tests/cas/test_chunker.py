from __future__ import annotations

import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.chunker import Chunker, ChunkParameters
from cas.errors import InvalidInputError

SMALL = ChunkParameters(1_024, 2_048, 16_384)
SMALLEST_STEPS = ChunkParameters(1_024, 1_024, 1_024)
MIB = 1024 * 1024


def cut(data: bytes, parameters: ChunkParameters = SMALL) -> list[bytes]:
    return [bytes(chunk) for chunk in Chunker(parameters).cut(data)]


@settings(max_examples=settings().max_examples // 2)
@given(st.integers(0, 100_000), st.integers(0, 2**32), st.integers(1, 256))
def test_chunks_are_the_data_in_pieces_of_bounded_size(size: int, dice: int, letters: int) -> None:
    data = bytes(random.Random(dice).choices(range(letters), k=size))
    for parameters in (SMALL, ChunkParameters(64, 256, 1_024), SMALLEST_STEPS):
        chunks = cut(data, parameters)
        assert b"".join(chunks) == data
        assert all(0 < len(chunk) <= parameters.maximum for chunk in chunks)
        assert all(len(chunk) >= parameters.minimum for chunk in chunks[:-1])
        assert cut(data, parameters) == chunks


def test_no_data_has_no_chunks() -> None:
    assert cut(b"") == []
    assert cut(b"x") == [b"x"]


def test_ordinary_data_comes_out_at_the_size_that_is_documented(seed: int) -> None:
    chunks = cut(random.Random(seed).randbytes(2_000_000))
    average = 2_000_000 / len(chunks)
    assert 0.7 * 3_072 < average < 1.3 * 3_072


@pytest.mark.parametrize("at", [0.0, 0.1, 0.5, 0.99])
def test_an_edit_changes_the_chunks_around_it_only(at: float, seed: int) -> None:
    dice = random.Random(seed)
    data = dice.randbytes(300_000)
    place = int(at * len(data))
    before = set(cut(data))
    for edited in (
        data[:place] + b"inserted" + data[place:],
        data[:place] + data[place + 8 :],
        data[:place] + bytes(8) + data[place + 8 :],
    ):
        assert len(set(cut(edited)) - before) <= 8


def test_any_buffer_of_bytes_is_cut_alike(seed: int) -> None:
    data = random.Random(seed).randbytes(50_000)
    chunks = cut(data)
    views = Chunker(SMALL).cut
    for other in (bytearray(data), memoryview(data), memoryview(data).cast("I")):
        assert [bytes(chunk) for chunk in views(other)] == chunks


def test_chunks_share_the_memory_of_the_data() -> None:
    data = bytearray(range(256)) * 100
    first = next(Chunker(SMALL).cut(data))
    data[0] = 77
    assert first[0] == 77
    first.release()


def test_a_chunker_is_shared_by_threads(seed: int) -> None:
    dice = random.Random(seed)
    chunker = Chunker(SMALL)
    texts = [dice.randbytes(100_000) for _ in range(8)]
    found: dict[int, list[bytes]] = {}

    def work(index: int) -> None:
        for _ in range(20):
            found[index] = [bytes(chunk) for chunk in chunker.cut(texts[index])]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {index: cut(text) for index, text in enumerate(texts)}


@pytest.mark.parametrize(
    "sizes", [(64, 256, 1_024), (MIB, 4 * MIB, 8 * MIB), (64, 4 * MIB, 4 * MIB)], ids=str
)
def test_sizes_at_the_bounds_are_taken(sizes: tuple[int, int, int]) -> None:
    data = random.Random(1).randbytes(300_000)
    assert b"".join(cut(data, ChunkParameters(*sizes))) == data


@pytest.mark.parametrize(
    "sizes",
    [
        (63, 256, 1_024),
        (64, 255, 1_024),
        (64, 256, 1_023),
        (0, 0, 0),
        (-1, 256, 1_024),
        (2_048, 1_024, 4_096),
        (1_024, 4_096, 2_048),
        (MIB + 1, 2 * MIB, 4 * MIB),
        (64, 4 * MIB + 1, 8 * MIB),
        (64, 256, 8 * MIB + 1),
    ],
    ids=str,
)
def test_sizes_out_of_order_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(InvalidInputError, match="must satisfy"):
        ChunkParameters(*sizes)
