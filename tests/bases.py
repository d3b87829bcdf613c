"""Tiny random bases of every family, with tokenizers that have the structure of the family's own."""

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from backbone.dataset import load_part, resolve_data
from backbone.prompts import END, END_OF_TEXT, END_THINK, START, THINK, PromptEncoder
from backbone.training.pretrain import train_tokenizer

VOCABULARY = 2000  # large enough to keep sequences, and so the tests, short
SIZES = {
    "hidden_size": 64,  # a multiple of 64, the NF4 block, which bitsandbytes needs on the CPU
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
# what Qwen3's own template writes for turns without tools, and for an answer without thinking
QWEN3_TEMPLATE = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
SMOLLM2_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def sample_texts() -> list[str]:
    return [ticket.text + "\n" + ticket.reply for ticket in load_part(resolve_data("sample"), "train", 200)]


def build_base(
    folder: Path, tokenizer: Path | None = None, seed: int = 0, tied: bool = True, bias: float = 0.0
) -> Path:
    """A random Qwen2 of two layers, with its own small tokenizer or a copy of a real one."""
    folder.mkdir(parents=True)
    if tokenizer is None:
        train_tokenizer(sample_texts(), VOCABULARY, folder)
    else:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).write_bytes((tokenizer / name).read_bytes())
    encoder = PromptEncoder(folder, "")
    torch.manual_seed(seed)
    config = Qwen2Config(
        **SIZES,
        vocab_size=encoder.vocabulary_size,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=encoder.end_id,
        pad_token_id=encoder.pad_id,
    )
    model = Qwen2ForCausalLM(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=bias)  # zero would hide one that is left out
    model.save_pretrained(folder)
    return folder


def build_qwen3(folder: Path) -> Path:
    """A random Qwen3: norms on queries and keys, heads larger than hidden / heads, tokens for thoughts."""
    folder.mkdir(parents=True)
    train_tokenizer(sample_texts(), VOCABULARY, folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in (THINK, END_THINK)])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": QWEN3_TEMPLATE}))
    encoder = PromptEncoder(folder, "")
    torch.manual_seed(0)
    config = Qwen3Config(
        **SIZES,
        head_dim=32,
        vocab_size=encoder.vocabulary_size,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=encoder.end_id,
        pad_token_id=encoder.pad_id,
    )
    model = Qwen3ForCausalLM(config)
    for name, parameter in model.named_parameters():
        if "q_norm" in name or "k_norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)  # one by default, which would hide one that is left out
    model.save_pretrained(folder)
    return folder


def build_smollm2(folder: Path) -> Path:
    """A random SmolLM2: Llama blocks, digits split one by one, chat tokens at the lowest ids."""
    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample_texts(), trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "GPT2Tokenizer", "eos_token": END, "pad_token": END, "bos_token": START}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": SMOLLM2_TEMPLATE}))
    torch.manual_seed(0)
    config = LlamaConfig(
        **SIZES,
        vocab_size=VOCABULARY,
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
