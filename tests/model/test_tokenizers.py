"""Tokenizers of transformers, such as SigLIP 2's, that of Gemma."""

import sys
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from hlclip.model import EncoderError, load_encoder
from tests.models import save_model, tiny_config

SENTENCES = ["a dog runs on the beach", "a woman in a red coat talks"]


def config_with_gemma() -> dict:
    """SigLIP 2's text tower: no mask, the last token of the context is pooled."""
    config = {**tiny_config(), "custom_text": True}
    both = {"no_causal_mask": True, "pool_type": "last"}
    gemma = {"hf_tokenizer_name": "org/gemma", "tokenizer_kwargs": {"clean": "canonicalize"}}
    config["text_cfg"] |= {**both, **gemma, "vocab_size": 500}
    return config


def save_gemma_tokenizer(folder: Path) -> None:
    """A small tokenizer of Gemma's class, which ends a text with its end-of-text token."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True))
    tokenizer.normalizer = tokenizers.normalizers.Replace(" ", "\u2581")
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=60, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    gemma = transformers.GemmaTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        add_bos_token=False,
        add_eos_token=True,
        padding_side="right",
    )
    gemma.save_pretrained(folder)


def test_the_tokenizer_in_a_models_folder_is_used(tmp_path: Path):
    name = save_model(tmp_path, config_with_gemma())
    save_gemma_tokenizer(tmp_path)
    encoder = load_encoder(name, None, cached_blocks=2)
    ids = encoder.tokenizer([SENTENCES[0]])[0].tolist()
    text = ids[: ids.index(1)]
    assert len(text) > 3
    assert ids == [*text, 1, *[0] * (16 - len(text) - 1)]  # end of text, padding
    # The text is cleaned as in SigLIP's training: lower case, no punctuation.
    assert encoder.tokenizer(["A dog runs, on the BEACH!"])[0].tolist() == ids
    # Padding takes part: the whole context is cached.
    assert encoder.text_tokens(SENTENCES[0]).shape == (16, 32)
    assert encoder.text_length(SENTENCES[0]) == 16
    assert not torch.equal(encoder.text_tokens(SENTENCES[0]), encoder.text_tokens(SENTENCES[1]))


def test_without_transformers_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    name = save_model(tmp_path, config_with_gemma())
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(EncoderError, match=r"(?s)'org/gemma' cannot be loaded.*pip install trans"):
        load_encoder(name, None, cached_blocks=2)


def test_a_hub_that_does_not_answer_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("transformers")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    nobody = "http://127.0.0.1:9"
    monkeypatch.setattr(constants, "ENDPOINT", nobody)
    template = nobody + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it is asked again"))
    with pytest.raises(EncoderError, match=r"tokenizer_config\.json: cannot be fetched: the conn"):
        load_encoder("ViT-B-32-SigLIP2-256", "webli", cached_blocks=2)


def test_without_its_files_the_error_names_them(tmp_path: Path):
    pytest.importorskip("transformers")
    name = save_model(tmp_path, config_with_gemma())
    with pytest.raises(EncoderError, match=r"needs tokenizer\.json and tokenizer_config\.json"):
        load_encoder(name, None, cached_blocks=2)
