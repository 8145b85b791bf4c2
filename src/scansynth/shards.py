"""Work that is shared out over jobs: which run of it a job has, and what the jobs' records say together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scansynth import digest
from scansynth.errors import ScansynthError
from scansynth.files import read_json
from scansynth.stage import loaded, record_path


def share(name: str, total: int) -> range:
    """The run of ``total`` pieces that the shard ``name`` has, as ``2-of-8``; all shards in a row have all of them."""
    number, _, count = name.partition("-of-")
    return range(total * (int(number) - 1) // int(count), total * int(number) // int(count))


def facts(shards: Sequence[Path]) -> dict[str, Any]:
    """The facts of the shards' records: a list of what there is where they differ, as between kinds of GPU.

    Raises:
        ScansynthError: if a shard was made by other code than the present one, which would vouch for it from now on.
    """
    records = [read_json(record_path(shard)) for shard in shards]
    present = {stage: digest.of_modules(*loaded(stage)) for stage in {record["stage"] for record in records}}
    for shard, record in zip(shards, records, strict=True):
        if record["digests"]["modules"] != present[record["stage"]]:
            raise ScansynthError(f"{shard} was made by other code than the present one: start again, it is made anew")
    named: dict[str, list[Any]] = {}
    for record in records:
        for key, value in (record["facts"] | {"shard_code": record["digests"]["code"]}).items():
            if value not in named.setdefault(key, []):
                named[key].append(value)
    return {key: values[0] if len(values) == 1 else values for key, values in named.items()}
