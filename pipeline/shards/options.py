"""What `duet predict-batch` is asked for where it writes a folder of answers."""

import re
from dataclasses import dataclass
from pathlib import Path

from backbone.remote.addresses import is_url
from pipeline.batch_rows import AnswerOptions
from pipeline.shards.tables import table_files
from tickets.errors import InputError

SHARD_ROWS = 2000
THREADS = 2
AUTO, LOCAL = "auto", "local"
_SHARE = re.compile(r"([1-9]\d{0,5})/([1-9]\d{0,5})")


@dataclass(frozen=True)
class Share:
    """The shards that one of several commands answers of the same folder."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Share":
        """Return the share that `3/8` names, the third of eight.

        Raises:
            InputError: no share.
        """
        match = _SHARE.fullmatch(text)
        if match is None or int(match[1]) > int(match[2]):
            raise InputError(f"--share: found {text[:100]!r}, expected NUMBER/COUNT such as 3/8, the third of eight")
        return cls(int(match[1]), int(match[2]))

    def holds(self, shard: int) -> bool:
        """Return whether a shard, counted from 0, belongs to it."""
        return shard % self.count == self.number - 1


@dataclass(frozen=True)
class RayOptions:
    """Where workers run.

    Attributes:
        address: of the cluster; `auto` for the one that this machine belongs to, `local` for one that is started here.
        workers: how many; None for as many as the cluster has room for.
        threads: processor cores of each.
    """

    address: str
    workers: int | None = None
    threads: int = THREADS


@dataclass(frozen=True)
class ShardsOptions(AnswerOptions):
    """What to answer, and the folder to write.

    Attributes:
        out: its path or address.
        shard_rows: tickets per file, where one source is cut.
        share: which of the shards to answer; None for all.
        ray: where workers run; None for this process alone.
    """

    out: str
    restart: bool = False
    shard_rows: int = SHARD_ROWS
    share: Share | None = None
    ray: RayOptions | None = None


def ray_options(address: str | None, workers: int | None, threads: int | None) -> RayOptions | None:
    """Return what `--ray` and what belongs to it ask for; None without it.

    Raises:
        InputError: an option without `--ray`, or an address in another form.
    """
    if address is None:
        if workers is not None or threads is not None:
            raise InputError(
                f"found {'--threads' if workers is None else '--workers'} without --ray; workers run on a Ray cluster: "
                "add --ray auto or --ray local, or leave it out"
            )
        return None
    if address not in (AUTO, LOCAL) and not re.fullmatch(r"[\w.\-\[\]:]+:\d{1,5}", address):
        raise InputError(f"--ray: found {address[:100]!r}, expected auto, local, or an address such as 10.0.0.1:6379")
    return RayOptions(address, workers, threads or THREADS)


def shards_options(
    options: AnswerOptions, out: str, restart: bool, shard_rows: int | None, share: str | None, ray: RayOptions | None
) -> ShardsOptions | None:
    """Return what is asked for where answers go into a folder; None where they go into a file.

    Raises:
        InputError: options or a source that need a folder, where `--out` names a file; or options against each other.
    """
    if not (is_url(out) or out.endswith(("/", "\\")) or Path(out).expanduser().is_dir()):
        given = {"--shard-rows": shard_rows, "--share": share, "--ray": ray}
        needed = next((name for name, value in given.items() if value is not None), None)
        if needed is None and _is_of_many_files(options.source):
            needed = options.source
        if needed is not None:
            raise InputError(f"--out {out}: names a file, and {needed} needs a folder; write it as {out}/")
        return None
    if share is not None and (ray or restart):
        other = "--ray" if ray else "--restart"
        raise InputError(f"found --share with {other}, expected one of them; leave one out")
    return ShardsOptions(
        out=out,
        restart=restart,
        shard_rows=shard_rows or SHARD_ROWS,
        share=Share.parse(share) if share is not None else None,
        ray=ray,
        **vars(options),
    )


def _is_of_many_files(source: str) -> bool:
    """Return whether a source is a pattern or a folder of tables, or lies on a store."""
    return is_url(source) or table_files(source) is not None
