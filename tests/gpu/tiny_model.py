"""Make a model folder that vLLM can serve, without a network.

It runs inside the image under test, so it imports nothing but what that image has:

    python tiny_model.py /tmp/tiny && vllm serve /tmp/tiny --dtype float32 --load-format dummy
    python tiny_model.py --weights=7 /tmp/tiny && vllm serve /tmp/tiny --dtype float32

Dummy weights are so small that every prompt gets much the same answer; ``--weights`` draws 6 MB of real
ones with that seed, wide enough for greedy answers to differ.  Byte-level tokenizer (every text has
tokens), two layers, head size 64 (vLLM for CPU refuses 16).  The folder appears whole or not at all;
an existing one is an error.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # type: ignore[import-not-found]
from transformers import LlamaConfig, PreTrainedTokenizerFast  # type: ignore[import-not-found]

SPECIAL = ("<unk>", "<s>", "</s>")
MAX_LENGTH = 4096
SPREAD = 0.1
"""Standard deviation of drawn weights; with Llama's usual 0.02 the answers are nearly the same."""


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with one token per byte and no merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=SPECIAL[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=SPECIAL[0],
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[2],
        model_max_length=MAX_LENGTH,
    )


def tiny_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """The smallest Llama that vLLM for CPU accepts."""
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
        initializer_range=SPREAD,
        dtype="float32",
    )


def draw_weights(config: LlamaConfig, seed: int, folder: Path) -> None:
    """Write weights as safetensors; the same seed gives the same ones."""
    import torch  # type: ignore[import-not-found]
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    LlamaForCausalLM(config).save_pretrained(folder)


def make(folder: Path, seed: int | None = None) -> None:
    """Write configuration, tokenizer and, with a ``seed``, weights; FileExistsError if there is a ``folder``."""
    if folder.exists():
        raise FileExistsError(f"{folder} exists; name a new folder or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        whole = Path(scratch) / "model"
        tokenizer = byte_tokenizer()
        tokenizer.save_pretrained(whole)
        config = tiny_config(tokenizer)
        config.save_pretrained(whole)
        if seed is not None:
            draw_weights(config, seed, whole)
        whole.rename(folder)


def main(argv: list[str]) -> int:
    """Make the folder and print its path; 2 if it exists."""
    parser = argparse.ArgumentParser(description="Make a small model folder for vLLM.")
    parser.add_argument("--weights", type=int, metavar="SEED", help="real weights, drawn with this seed")
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args(argv)
    folder: Path = chosen.folder
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        make(folder, chosen.weights)
    except FileExistsError as error:
        sys.stderr.write(f"tiny_model.py: {error}\n")
        return 2
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
