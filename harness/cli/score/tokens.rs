//! What `harness score --per-token` prints of every scored token.

use harness_model::tokenizer::Tokenizer;
use serde_json::{Value, json};

/// One scored token.
struct Scored {
    window: usize,
    /// In the window, from 0.
    position: usize,
    token: u32,
    /// As the vocabulary spells it; none without a tokenizer.
    text: Option<String>,
    /// In nats.
    nll: f64,
}

/// All of them, in the order of the text: `each` has the scored targets of every window of `tokens`, from target `skip_first + 1`.
fn scored<'a>(
    each: &'a [Vec<f64>],
    tokens: &'a [Vec<u32>],
    skip_first: usize,
    tokenizer: Option<&'a Tokenizer>,
) -> impl Iterator<Item = Scored> + 'a {
    let of_window = move |(window, (nlls, ids)): (usize, (&'a Vec<f64>, &'a Vec<u32>))| {
        let targets = ids.iter().enumerate().skip(skip_first + 1);
        targets.zip(nlls).map(move |((position, token), nll)| {
            let text = tokenizer.and_then(|tokenizer| tokenizer.token(*token));
            Scored { window, position, token: *token, text, nll: *nll }
        })
    };
    each.iter().zip(tokens).enumerate().flat_map(of_window)
}

/// As an array.
pub fn listed(each: &[Vec<f64>], tokens: &[Vec<u32>], skip_first: usize, tokenizer: Option<&Tokenizer>) -> Value {
    scored(each, tokens, skip_first, tokenizer)
        .map(|Scored { window, position, token, text, nll }| {
            json!({ "window": window, "position": position, "token": token, "text": text, "nll": nll })
        })
        .collect()
}

/// As a table. A token that is not printable is escaped.
pub fn print(each: &[Vec<f64>], tokens: &[Vec<u32>], skip_first: usize, tokenizer: Option<&Tokenizer>) {
    println!("{:>6} {:>8} {:>8} {:>12}  text", "window", "position", "token", "nll");
    for Scored { window, position, token, text, nll } in scored(each, tokens, skip_first, tokenizer) {
        let text = text.map_or_else(|| "-".to_owned(), |text| format!("{text:?}"));
        println!("{window:>6} {position:>8} {token:>8} {nll:>12.6}  {text}");
    }
}
