//! One readable decoder, its loaders, tokenizers and training loop.
