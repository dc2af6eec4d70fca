"""Reads llama2.c files independently of `harness`: the model as a transformers Llama, and the tokenizer as run.c has it."""

import os
import struct

import numpy
import torch
from transformers import LlamaConfig, LlamaForCausalLM


def load_model(path):
    """A version 0 file as LlamaForCausalLM in f32; rotary pairs are moved from neighbours to halves."""
    data = open(path, "rb").read()
    dim, hidden, layers, heads, kv_heads, vocabulary, context = struct.unpack("7i", data[:28])
    tied, vocabulary = vocabulary > 0, abs(vocabulary)
    head_dim = dim // heads
    values, place = numpy.frombuffer(data, dtype="<f4", offset=28), 0

    def take(*shape):
        nonlocal place
        size = int(numpy.prod(shape))
        place += size
        return torch.from_numpy(values[place - size : place].reshape(shape).copy())

    def halves(weight, count):
        return weight.view(count, head_dim // 2, 2, dim).transpose(1, 2).reshape(count * head_dim, dim)

    stacks = [
        ("input_layernorm", None),
        ("self_attn.q_proj", (heads * head_dim, dim)),
        ("self_attn.k_proj", (kv_heads * head_dim, dim)),
        ("self_attn.v_proj", (kv_heads * head_dim, dim)),
        ("self_attn.o_proj", (dim, dim)),
        ("post_attention_layernorm", None),
        ("mlp.gate_proj", (hidden, dim)),
        ("mlp.down_proj", (dim, hidden)),
        ("mlp.up_proj", (hidden, dim)),
    ]
    state = {"model.embed_tokens.weight": take(vocabulary, dim)}
    for name, shape in stacks:
        for layer in range(layers):
            weight = take(*(shape or (dim,)))
            if name.endswith("q_proj"):
                weight = halves(weight, heads)
            elif name.endswith("k_proj"):
                weight = halves(weight, kv_heads)
            state[f"model.layers.{layer}.{name}.weight"] = weight
    state["model.norm.weight"] = take(dim)
    take(context * head_dim)
    state["lm_head.weight"] = state["model.embed_tokens.weight"] if tied else take(vocabulary, dim)
    assert place == len(values), "the file has another length than its header calls for"
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=dim,
        intermediate_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=context,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=tied,
        attn_implementation="eager",
    )
    model = LlamaForCausalLM(config)
    model.load_state_dict(state)
    return model.float().eval()


def tokenize(model_path, texts):
    """Ids by run.c's rule: a space in front, characters (else their bytes), then the pair whose union scores highest, again
    and again. The byte tokens 3..258 print like ordinary pieces, so they are left out of the look-up. The sign U+2581 in a text
    is a space, as in SentencePiece (run.c takes it for three bytes)."""
    data = open(os.path.join(os.path.dirname(model_path), "tokenizer.bin"), "rb").read()
    pieces, scores, at = [], [], 4
    while at < len(data):
        score, length = struct.unpack("fi", data[at : at + 8])
        pieces.append(data[at + 8 : at + 8 + length])
        scores.append(score)
        at += 8 + length
    index = {piece: id for id, piece in enumerate(pieces) if id >= 259}

    def encode(text):
        if not text:
            return []
        ids = []
        for character in " " + text.replace("\u2581", " "):
            raw = character.encode()
            ids += [index[raw]] if raw in index else [byte + 3 for byte in raw]
        while True:
            best = None
            for i in range(len(ids) - 1):
                union = None if ids[i] < 259 or ids[i + 1] < 259 else index.get(pieces[ids[i]] + pieces[ids[i + 1]])
                if union is not None and (best is None or scores[union] > best[0]):
                    best = (scores[union], i, union)
            if best is None:
                return ids
            ids[best[1] : best[1] + 2] = [best[2]]

    return [encode(text) for text in texts]
