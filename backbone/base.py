"""The Qwen2 base: finding it, checking that it is one, identifying it and loading it."""

import hashlib
import json
import os
import warnings
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from safetensors import SafetensorError, safe_open

from backbone.config import MINI, BaseConfig, LinearLayer, LoraSettings
from tickets.errors import InputError

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig

SUPPORTED = ("qwen2",)
ALL_LINEAR: tuple[str, ...] = get_args(LinearLayer)
_WANTED = ["*.json", "*.safetensors", "*.txt"]
_SAMPLED_BYTES = 1 << 20  # of every weight file, hashed for the fingerprint


@dataclass(frozen=True)
class BaseIdentity:
    """What a run remembers of its base: the name it was given, a fingerprint of its weights and tokenizer, and the
    folder it was found in, where a relative name leads nowhere."""

    name: str
    revision: str | None
    fingerprint: str
    folder: str = field(default="", compare=False)

    def to_json(self) -> str:
        """JSON text that `from_json` reads."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def load(cls, path: Path) -> "BaseIdentity":
        """Read a base.json."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path}: not the identity of a base ({error}); train the run again") from None


def mini_folder() -> Path:
    """The shipped model folder."""
    return Path(str(resources.files("backbone"))) / "mini"


def find_base(path: str, revision: str | None = None) -> Path:
    """Resolve `mini`, a local folder or a hub id to a local folder with config, weights and tokenizer.

    Raises:
        InputError: not there, or not a Qwen2 model.
    """
    folder = mini_folder() / "base" if path == MINI else Path(path).expanduser()
    if not folder.is_dir():
        folder = _download(path, revision)
    _check(folder)
    return folder


def identify(folder: Path, name: str, revision: str | None = None) -> BaseIdentity:
    """Fingerprint a base: SHA-256 over the shape in its config, its tokenizer, and size, header and first and last
    megabyte of each weight file, so that 15 GB cost milliseconds."""
    digest = hashlib.sha256()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shape = {key: config.get(key) for key in ("hidden_size", "num_hidden_layers", "vocab_size", "model_type")}
    digest.update(json.dumps(shape, sort_keys=True).encode())
    digest.update((folder / "tokenizer.json").read_bytes())
    for weights in sorted(folder.glob("*.safetensors")):
        size = weights.stat().st_size
        digest.update(f"{weights.name}:{size}".encode())
        with weights.open("rb") as file:
            digest.update(file.read(_SAMPLED_BYTES))
            file.seek(max(0, size - _SAMPLED_BYTES))
            digest.update(file.read())
    return BaseIdentity(name, revision, digest.hexdigest(), str(folder.resolve()))


def read_shape(folder: Path) -> dict[str, Any]:
    """The config.json of a base."""
    try:
        record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: no readable config.json ({error}); expected a Qwen2 model folder") from None
    if not isinstance(record, dict):
        raise InputError(f"{folder}/config.json: found {type(record).__name__}, expected the config of a Qwen2 model")
    return record


def computes_bf16() -> bool:
    """Whether the device that trains has arithmetic for bf16; an x86 CPU without emulates it, eight times slower."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in ("amx_bf16", "avx512_bf16"))


def settled_format(name: str) -> str:
    """A format as configured, `auto` chosen for this machine."""
    return name if name != "auto" else "bf16" if computes_bf16() else "fp32"


def settled(config: BaseConfig) -> BaseConfig:
    """The configuration with its formats chosen for this machine."""
    formats = {"precision": settled_format(config.precision), "compute": settled_format(config.compute)}
    return config.model_copy(update=formats)


def unquantised_bytes(config: BaseConfig) -> int:
    """Bytes per parameter of embeddings and vocabulary head.

    Four under an NF4 base with fp32 compute too: its norms are fp32, and without autocast nothing would cast between.
    """
    return 4 if config.precision == "fp32" or (config.precision, config.compute) == ("nf4", "fp32") else 2


def load_options(config: BaseConfig, device: "torch.device", attention: str = "sdpa") -> dict[str, Any]:
    """Arguments of `from_pretrained` for the wanted weight format; NF4 leaves heads and lm_head unquantised."""
    import torch
    from transformers import BitsAndBytesConfig

    quiet_libraries()
    options: dict[str, Any] = {
        "dtype": torch.float32 if unquantised_bytes(config) == 4 else torch.bfloat16,
        "attn_implementation": attention,
        "device_map": {"": device},
        "use_safetensors": True,
    }
    if config.precision == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16 if config.compute == "bf16" else torch.float32,
            llm_int8_skip_modules=["lm_head", "heads"],
        )
    return options


def prepare_for_training(model: Any, config: BaseConfig, recompute: bool) -> None:
    """Freeze the base, keep its norms in fp32 when it is quantised, and switch recomputation on where wanted."""
    import torch

    for name, parameter in model.named_parameters():
        parameter.requires_grad = False
        if config.precision == "nf4" and "norm" in name:
            parameter.data = parameter.data.to(torch.float32)
    if recompute:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()


def autocast(config: BaseConfig, device: "torch.device") -> "torch.autocast":
    """The context in which a model is trained and evaluated: products in bf16 where the configuration says so."""
    import torch

    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.compute == "bf16")


def on_cuda() -> bool:
    """Whether there is a CUDA device to train on."""
    import torch

    return torch.cuda.is_available()


def uses_liger() -> bool:
    """Whether Liger kernels replace layers of the base: on CUDA, where the package is installed."""
    from transformers.utils import is_liger_kernel_available

    return on_cuda() and bool(is_liger_kernel_available())


def pick_device() -> "torch.device":
    """This process's CUDA device, else the CPU."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", torch.cuda.current_device())))


def lora_config(settings: LoraSettings, saved_modules: list[str] | None = None) -> "LoraConfig":
    """peft's configuration of one adapter; `saved_modules` are trained whole beside it."""
    from peft import LoraConfig
    from torch import nn

    from backbone.lora_layers import FusedLoraLinear

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.scale,  # an int by its annotation, but peft only divides by it
        lora_dropout=settings.dropout,
        # named, because peft's own "all-linear" would also take the classifier heads
        target_modules=list(ALL_LINEAR if settings.targets == "all-linear" else settings.targets),
        modules_to_save=saved_modules,
        bias="none",
    )
    config._register_custom_module({nn.Linear: FusedLoraLinear})
    return config


def quiet_libraries() -> None:
    """Keep stderr for our own lines: no bars for loading weights, no notices about the libraries' own next versions."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft)\.")


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if os.sep in name and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise InputError(f"base {name!r}: no such folder; expected a Qwen2 model folder, a hub id, or `mini`")
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_WANTED))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = type(error).__name__
        raise InputError(
            f"base {name!r}: neither a folder nor to be had from the hub ({reason}); set base.path to a local Qwen2 "
            "model folder, or check the name and the network"
        ) from None


def _check(folder: Path) -> None:
    found = read_shape(folder).get("model_type")
    if found not in SUPPORTED:
        raise InputError(
            f"{folder}: architecture {found!r}; supported are Qwen2 and Qwen2.5 (model_type 'qwen2') of any size; set "
            "base.path to one of them"
        )
    if not (folder / "tokenizer.json").is_file():
        raise InputError(f"{folder}: no tokenizer.json; copy it (and tokenizer_config.json) from the original model")
    _check_weights(folder)


def _check_weights(folder: Path) -> None:
    """Every weight file is there and its header fits its size: a broken download is told before anything is loaded."""
    files = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        files = [folder / name for name in sorted(names)]
    if not files:
        raise InputError(f"{folder}: no *.safetensors weights; expected safetensors, pickled weights are not loaded")
    for file in files:
        try:
            with safe_open(file, framework="numpy"):
                pass
        except (OSError, SafetensorError) as error:
            raise InputError(f"{file}: missing or damaged ({error}); download or copy the base again") from None
