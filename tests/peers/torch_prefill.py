"""Prefill of 512 tokens (logits of the last position only) and decode of 64, from the start and after 512, of a GGUF model in PyTorch, two threads.

usage: torch_prefill.py FILE.gguf     prints one JSON object: tokens a second by element type
Needs torch, transformers, accelerate and gguf.
"""
import json
import os
import sys
import time
import warnings

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

warnings.filterwarnings("ignore")
logging.set_verbosity_error()
logging.disable_progress_bar()
torch.set_num_threads(2)
folder, name = os.path.split(os.path.abspath(sys.argv[1]))
model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
prompt = torch.randint(0, model.config.vocab_size, (1, 512), generator=torch.Generator().manual_seed(1))
found = {"version": torch.__version__}
with torch.inference_mode():
    for dtype, called in ((torch.float32, "f32"), (torch.bfloat16, "bf16")):
        m = model.to(dtype)
        m(prompt, logits_to_keep=1)
        prefill = []
        for _ in range(3):
            start = time.perf_counter()
            m(prompt, logits_to_keep=1)
            prefill.append(time.perf_counter() - start)
        found[called] = {"prefill": 512 / sorted(prefill)[1]}
        for kind, tokens in (("decode", prompt[:, :1]), ("decode after 512", prompt)):
            cache = m(tokens, use_cache=True, logits_to_keep=1).past_key_values
            token = torch.tensor([[5]])
            start = time.perf_counter()
            for _ in range(64):
                cache = m(token, past_key_values=cache, use_cache=True).past_key_values
            found[called][kind] = 64 / (time.perf_counter() - start)
print(json.dumps(found))
