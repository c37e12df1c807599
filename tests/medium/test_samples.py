"""All regions of tests/data/samples through the command that reads what somebody sent."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path

import pytest

from lastlog_py.medium import pstorefs
from lastlog_py.service import decode
from tests import samples


@pytest.mark.parametrize("name", sorted(samples.manifest()))
def test_every_region_and_file_is_decoded_without_an_exception(name: str, tmp_path: Path) -> None:
    row = samples.manifest()[name]
    files = {"region.bin": samples.region(name),
             **{file: samples.kernel_file(name, file) for file in row["kernel_files"]}}
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
        answer = decode([str(tmp_path / file)])
        assert answer["records"] or answer["problems"] or row["format"] != "ramoops"
        json.dumps(answer)


@pytest.mark.parametrize("name", sorted(samples.manifest()))
def test_the_manifest_tells_the_truth(name: str) -> None:
    row = samples.manifest()[name]
    told = {"region.bin": row["region"], **row["kernel_files"]}
    for file, facts in told.items():
        content = samples.kernel_file(name, file)
        assert (len(content), hashlib.sha256(content).hexdigest()) == (facts["size"],
                                                                       facts["sha256"])
    kept = {path.name.removesuffix(".xz") for path in (samples.FOLDER / name).iterdir()}
    assert kept - {"log"} == set(told)


@pytest.mark.parametrize(("name", "file"), samples.undeflated())
def test_what_the_kernel_cannot_unpack_is_read_up_to_the_damage(name: str, file: str) -> None:
    """At least what zlib gives when it is fed byte by byte."""
    content = samples.kernel_text(name, file)
    least, stream = 0, zlib.decompressobj(-15)
    try:
        for byte in content:
            least += len(stream.decompress(bytes([byte])))
    except zlib.error:
        pass
    record, problem = pstorefs.record_of(file, samples.kernel_file(name, file), 1.0)
    assert record is not None and problem is not None
    assert len(record.text.encode()) >= least
