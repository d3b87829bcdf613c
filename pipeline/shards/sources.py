"""The files that are answered apart: those of a folder or a pattern, or those that one source is cut into."""

import hashlib
import sys
from collections.abc import Sequence

from backbone.packaged_base import making
from backbone.remote.addresses import is_url
from backbone.remote.places import Place
from pipeline.batch_rows import source_rows
from pipeline.model_folder import ModelFolder
from pipeline.shards.cut import FOLDER, cut, cut_name
from pipeline.shards.folder import has_success
from pipeline.shards.options import ShardsOptions
from pipeline.shards.plan import Shard, read_plan
from pipeline.shards.tables import other_files, table_files
from pipeline.shards.worker import on_this_machine
from tickets.errors import InputError
from tickets.formats.archives import named_as
from tickets.preparation.rows import Source
from tickets.sources import source_fingerprint
from tickets.terminal import json_text

_MOST_NAMES = 3


def find_shards(options: ShardsOptions, opened: ModelFolder, out: Place) -> Sequence[Shard]:
    """Return the files to answer, by name; where the source is one file, it is cut into the folder of answers first.

    Raises:
        InputError: no such source, or nothing in it that can be answered.
        WorkError: a store does not answer.
    """
    files = table_files(options.source)
    if files is None:
        if not out.is_local:
            return _cut(options, opened, out)
        with making(out.local / FOLDER):  # of several commands with a share of one source, the first cuts it
            return _cut(options, opened, out)
    others = other_files(options.source)
    if others:
        more = f" and {len(others) - _MOST_NAMES} more" if len(others) > _MOST_NAMES else ""
        print(f"Not read, because they are no tables: {', '.join(others[:_MOST_NAMES])}{more}.", file=sys.stderr)
    return [Shard(number, file.address, file.fingerprint(), is_cut=False) for number, file in enumerate(files)]


def _cut(options: ShardsOptions, opened: ModelFolder, out: Place) -> Sequence[Shard]:
    """Read and clean one source, and write its tickets to files of so many rows."""
    if options.share and not out.is_local:
        raise InputError(
            f"--share: {options.source} is one source, which several commands cannot cut together on a store; give a "
            "folder of files, or use --ray"
        )
    place = Place.parse(options.source, "SOURCE") if is_url(options.source) else None
    cleaning = options.cleaning(opened)
    with on_this_machine(place, options.source) as name, named_as(name, options.source):
        content = source_fingerprint(name)
        decisive = [content, options.shard_rows, options.preset, options.encoding, list(options.maps), options.escapes]
        plan = hashlib.sha256(json_text([*decisive, cleaning.to_dict()]).encode()).hexdigest()
        if has_success(out) and (old := read_plan(out)) and old.shards[0].content == _content(plan, 0):
            return old.shards  # the files that it was cut into are gone
        source = Source.open(name, options.preset, options.maps, keep=(), encoding=options.encoding)
        cleaner = cleaning.cleaner(options.escapes)
        cleaner.decide_escapes(source.sample)
        files = cut(source_rows(source, cleaner), options.shard_rows, out, plan)
        for note in source.log.all_notes():
            print(note, file=sys.stderr)
    # the contents follow from the plan; to read them again would tell nothing more
    folder = out / FOLDER
    return [Shard(n, (folder / cut_name(n)).address, _content(plan, n), is_cut=True) for n in range(files)]


def _content(plan: str, number: int) -> str:
    """Return the fingerprint of a file that a source was cut into."""
    return f"{plan}/{number}"
