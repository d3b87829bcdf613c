"""Commands on bundles: export, verify."""

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from backbone.hub.address import model_path
from commands.options import path


def export(
    out: Annotated[Path, typer.Option("--out", parser=path, help="Folder to write.")],
    model: Annotated[
        Optional[Path],
        typer.Option(
            "--model",
            parser=model_path,
            metavar="MODEL",
            help="Run folder, model folder, hf://OWNER/NAME[@REVISION], `smollm2` or `mini` (default: a shipped "
            "model).",
        ),
    ] = None,
    generator: Annotated[
        Optional[Path],
        typer.Option(
            "--generator", parser=path, help="Run folder of the generator where it is not beside the classifier."
        ),
    ] = None,
    quant: Annotated[
        str,
        typer.Option(
            "--quant",
            help="Format of the base: f16, q8_0, q5_k_m, q4_k_m, q4_0, none, or auto: q4_k_m, q8_0 for narrow bases.",
        ),
    ] = "auto",
    onnx: Annotated[bool, typer.Option("--onnx", help="Also write the classifier as ONNX; bases up to 1.5B.")] = False,
    int8: Annotated[bool, typer.Option("--int8/--no-int8", help="With --onnx: its int8 form too.")] = True,
    merged: Annotated[
        bool, typer.Option("--merged", help="Also write a self-contained generator and an Ollama Modelfile.")
    ] = False,
    data: Annotated[
        Optional[str],
        typer.Option("--data", help="Folder of `duet prepare` to check on (default: the classifier's own data)."),
    ] = None,
    check: Annotated[int, typer.Option("--check", min=1, help="How many validation tickets to check on.")] = 256,
    memory: Annotated[
        bool,
        typer.Option("--memory", help="Keep the training tickets too, private data replaced, for `predict --similar`."),
    ] = False,
) -> None:
    """Turn trained runs into a bundle for the CPU.

    It is checked against them first; prints the check.

    Example: duet export --model runs/mini --out bundle --onnx
    """
    from pipeline.export.export import export as run
    from pipeline.export.options import ExportOptions

    print(run(ExportOptions(model, out, generator, quant.lower(), onnx, int8, merged, data, check, memory)))


def verify(
    folder: Annotated[
        Path, typer.Argument(parser=path, help="Bundle, finished run of one stage, or SQLite file of `duet serve`.")
    ],
) -> None:
    """Check the files of a bundle or run, or a store of `serve`.

    Files are compared with the SHA-256 sums of the manifest; of a store the audit chain is checked.

    Other commands check the files they read. Example: duet verify bundle
    """
    if folder.is_file():
        from commands.serving import verify_store

        verify_store(folder)
        return
    from backbone.runs.folder import verify as run
    from backbone.runs.manifest import read_manifest, unlisted

    run(folder)
    files = read_manifest(folder)["files"]
    for name in unlisted(folder):
        print(f"warning: {folder / name}: not in the manifest; it is not of this bundle or run", file=sys.stderr)
    print(f"{folder}: {len(files):,} files as they were written")
